"""Bad days one after the other in one process: what it holds after the tenth is what it held after the fourth.

Objects are new in every round and described by their keys, so anything that is kept for each of them, or for each
fault, grows from round to round.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from tests.chaos.clients import BEHAVIOURS, Answer
from tests.e2e.conftest import Served, embedded, serve
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes, seed_of

__all__ = ["embedded", "serve"]

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

ROUNDS, WARM_UP = int(os.environ.get("YATAGARASU_ROUNDS", "10")), 4
CLIENTS = 400
KIB = 1024
# Sizes in memory, on disk, beyond what either keeps; faults of the first answers, then all is well, or never.
SIZES = (500, 20 * KIB, 100 * KIB, 700 * KIB)
FAULTS = (
    "",
    "",
    ";reset_head",
    ";close_head",
    ";cut={half}",
    ";reset={half}",
    ";status=503",
    ";garbage",
    ";huge_head",
    ";cut={half};wrong_etag",
    ";cut={half};ignore_range",
    ";cut={half};wrong_range",
    ",no_etag;cut={half}",
    ",chunked;cut={half}",
    ",weak_etag;reset={half}",
    ";lie=1000",
    ";stall={half}",
    ",status=500",
    ",ttl=0",
    ",change={half}",
)


def size_of(key: str) -> int:
    return int(key.partition("B")[0])


async def play_round(port: int, number: int) -> int:
    """New objects for everybody; how many answers were whole. Each of them is right, whatever it is."""
    rng, whole = random.Random(number), 0
    limit = trio.CapacityLimiter(40)

    async def one(index: int) -> None:
        nonlocal whole
        size = rng.choice(SIZES)
        fault = rng.choice(FAULTS).format(half=f"{size // 2}B")
        # Now and then two of three neighbours want the same.
        key = f"{size}B{fault}/{number}-{index - index % 3}"
        fields = [f"Range: bytes={size // 3}-"] if rng.random() < 0.2 else []
        async with limit:
            answers = await BEHAVIOURS[rng.choice(list(BEHAVIOURS))](port, f"/b/{key}", "/b/500B/good", *fields)
        for answer in answers[::2]:  # The second of a pipeline is another object.
            whole += answer.is_whole
            check(key, answer, partial=bool(fields))

    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            for index in range(CLIENTS):
                nursery.start_soon(one, index)
    return whole


def check(key: str, answer: Answer, *, partial: bool) -> None:
    if answer.status not in (200, 206):
        assert answer.status in (0, 502, 503, 504), (key, answer.status)
        return
    size = size_of(key)
    start = size // 3 if partial and answer.status == 206 else 0
    seed = seed_of(key)
    versions = [bytes(pattern_bytes(seed + version, start, size)) for version in (0, 1)]
    if answer.is_whole and "lie=" not in key:
        assert answer.body in versions, key
    else:
        assert any(data.startswith(answer.body) for data in versions), key


class Process:
    """What a process holds."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._folder = Path(f"/proc/{served.process.pid}")

    def settle(self) -> None:
        """Wait until nothing is in the air and nobody is connected (F12)."""
        deadline = time.monotonic() + 20
        names = ("yatagarasu_flights", "yatagarasu_waiters", "yatagarasu_connections_open")
        while any(self._gauge(name) for name in names):
            assert time.monotonic() < deadline, [(name, self._gauge(name)) for name in names]
            time.sleep(0.1)

    def _gauge(self, name: str) -> float:
        text = httpx.get(f"{self._served.admin_url}/metrics", trust_env=False).text
        values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")]
        assert values, f"no metric is called {name}"
        return sum(values)

    @property
    def files(self) -> list[str]:
        """What is open, but for sockets."""
        found = []
        for name in os.listdir(self._folder / "fd"):
            try:
                found.append(os.readlink(self._folder / "fd" / name))
            except FileNotFoundError:
                continue
        return [name for name in found if not name.startswith("socket:")]

    @property
    def memory_bytes(self) -> int:
        """Anonymous memory in use."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * KIB
        raise AssertionError


def test_nothing_grows_from_bad_day_to_bad_day(serve: Callable[..., Served], embedded: EmbeddedOrigin, tmp_path: Path):
    embedded.store.on_demand.add("bkt")
    embedded.store.make_bucket("bkt")
    cache = tmp_path / "cache"
    served = serve(
        f"""
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "{embedded.endpoint}"
anonymous = true
""",
        top=f"""
[log]
level = "error"
[cache]
ttl = "1h"
memory = {{ max_size = "4MiB", max_object_size = "64KiB" }}
disk = {{ path = "{cache}", max_size = "20MiB", max_object_size = "200KiB", open_files = 8 }}
[coalescing]
stall_timeout = "300ms"
[origin]
retry = {{ attempts = 3, backoff = "5ms", max_backoff = "20ms" }}
""",
    )
    process, port = Process(served), int(served.url.rpartition(":")[2])
    held: list[int] = []
    for number in range(ROUNDS):
        assert trio.run(play_round, port, number) > CLIENTS // 2
        process.settle()
        held.append(process.memory_bytes)
        files = process.files
        assert not [name for name in files if "(deleted)" in name or "/tmp/" in name.removeprefix(str(tmp_path))], files
        assert len(files) < 40, files
    assert os.listdir(cache / "tmp") == []
    print("anonymous memory after each round, MB:", *(round(size / 1e6, 1) for size in held))
    # A round has some 380 objects. What may be kept of each is its line in the router's table, which is bounded.
    growth = (held[-1] - held[WARM_UP - 1]) / (ROUNDS - WARM_UP)
    assert growth < 1_000_000, held
    assert served.stop() == 0
    assert "connection_failed" not in served.stderr()
    assert "flight failed" not in served.stderr()
