"""`python -m tests.benchmarks.hit_ratio [--seed N]`: our S3-FIFO beside libcachesim's policies, in hit ratios.

Both tiers keep what `cache.eviction.S3Fifo` says, so this is what each of them holds on to. Traces are
libcachesim's own Zipf generator's, as they are, with a scan mixed in, and with sizes; no clock counts, so the
table is the same on every machine. Percent of requests, and of bytes where sizes differ.
"""

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libcachesim import ARC, LRU, S3FIFO, Request, Sieve, WTinyLFU, create_zipf_requests

from yatagarasu.cache.eviction import MAX_FREQ, S3Fifo

OBJECTS, REQUESTS = 100_000, 1_000_000
ALPHAS = (0.8, 1.0, 1.2)
SHARES = (0.01, 0.1)
# Table of 2**16 slots, which grows; the default of 2**24 is 128 MiB each.
HASH_POWER = 16
POLICIES = {"S3-FIFO": S3FIFO, "LRU": LRU, "W-TinyLFU": WTinyLFU, "ARC": ARC, "Sieve": Sieve}


@dataclass(frozen=True)
class Trace:
    """Requests in order: `keys` and, as long, their `sizes` in bytes; one size for a key."""

    name: str
    keys: Sequence[int]
    sizes: Sequence[int]

    @property
    def footprint(self) -> int:
        """Bytes of all keys together, each once."""
        return sum(dict(zip(self.keys, self.sizes, strict=True)).values())


@dataclass(frozen=True)
class Ratio:
    """Hits, as shares of all requests and of their bytes."""

    requests: float
    bytes: float


def zipf(alpha: float, seed: int, *, objects: int = OBJECTS, requests: int = REQUESTS) -> list[int]:
    return create_zipf_requests(objects, requests, alpha=alpha, seed=seed).obj_ids.tolist()  # type: ignore[no-any-return]


def with_scan(keys: list[int], *, every: int, length: int) -> list[int]:
    """After each `every` requests, `length` keys in a row that are never asked for again."""
    mixed_in: list[int] = []
    fresh = max(keys) + 1
    for start in range(0, len(keys), every):
        mixed_in += keys[start : start + every]
        mixed_in += range(fresh, fresh + length)
        fresh += length
    return mixed_in


def with_loop(keys: list[int], *, every: int, length: int) -> list[int]:
    """After each `every` requests, the same `length` keys in a row: a job that reads everything each night."""
    loop = range(max(keys) + 1, max(keys) + 1 + length)
    return [key for start in range(0, len(keys), every) for key in (*keys[start : start + every], *loop)]


def unit(name: str, keys: list[int]) -> Trace:
    return Trace(name, keys, [1] * len(keys))


def mixed(name: str, keys: list[int], seed: int, *, largest: int = 4 << 20) -> Trace:
    """Sizes of 1 KiB to `largest`, log-normal about 32 KiB, whatever the key's rank: as objects are."""
    draw = random.Random(seed).lognormvariate
    by_key = [min(max(int(draw(math.log(32_768), 1.5)), 1024), largest) for _ in range(max(keys) + 1)]
    return Trace(name, keys, [by_key[key] for key in keys])


def ours(trace: Trace, max_size: int) -> Ratio:
    policy: S3Fifo[int] = S3Fifo(max_size)
    nodes, insert = policy.nodes, policy.insert

    def get(key: int, size: int) -> bool:
        node = nodes.get(key)
        if node is None:
            insert(key, size)
            return False
        if node.freq < MAX_FREQ:
            node.freq += 1
        return True

    return play(trace, get)


def theirs(policy: Callable[..., object], trace: Trace, max_size: int) -> Ratio:
    cache = policy(max_size, hashpower=HASH_POWER)
    request = Request()

    def get(key: int, size: int) -> bool:
        request.obj_id, request.obj_size = key, size
        request.clock_time += 1
        return cache.get(request)  # type: ignore[attr-defined, no-any-return]

    return play(trace, get)


def play(trace: Trace, get: Callable[[int, int], bool]) -> Ratio:
    hits = hit_bytes = 0
    for key, size in zip(trace.keys, trace.sizes, strict=True):
        if get(key, size):
            hits += 1
            hit_bytes += size
    return Ratio(hits / len(trace.keys), hit_bytes / sum(trace.sizes))


def traces(seed: int) -> list[Trace]:
    made = []
    for alpha in ALPHAS:
        keys = zipf(alpha, seed)
        made += [unit(f"Zipf {alpha}", keys), mixed(f"Zipf {alpha}, sizes", keys, seed)]
    keys = zipf(1.0, seed)
    scan = with_scan(keys, every=50_000, length=20_000)
    loop = with_loop(keys, every=100_000, length=20_000)
    return [
        *made,
        unit("Zipf 1.0 + scan", scan),
        mixed("Zipf 1.0 + scan, sizes", scan, seed),
        unit("Zipf 1.0 + loop", loop),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hit_ratio", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    print(f"{'hit ratio, %':<38} {'ours':>7}" + "".join(f"{name:>11}" for name in POLICIES) + f"{'to best':>9}")
    for trace in traces(seed):
        for share in SHARES:
            max_size = int(trace.footprint * share)
            found = [ours(trace, max_size), *(theirs(policy, trace, max_size) for policy in POLICIES.values())]
            row(f"{trace.name}, cache {share:.0%}", [ratio.requests for ratio in found])
            if found[0].requests != found[0].bytes:
                row("  of bytes", [ratio.bytes for ratio in found])


def row(name: str, values: list[float]) -> None:
    """One line; the last number is how far ours is from the best of all, in points."""
    cells = "".join(f"{value * 100:>11.2f}" for value in values[1:])
    print(f"{name:<38} {values[0] * 100:>7.2f}{cells}{(values[0] - max(values)) * 100:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
