"""`python -m tests.benchmarks.disk [CASE ...]`: the disk tier beside nginx, one worker on one core, in one run.

Needs wrk and nginx (Debian: wrk, nginx-light), 12 GB in the temporary directory and as much page cache as the
objects take: what is measured is a cache whose files are in memory, as they are for whatever is hot. Servers on
core 0, load and origin on core 1; they take turns, three times, and the medians count.
"""

import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.benchmarks.nginx import caching_nginx
from tests.benchmarks.processes import origin, process, wrk
from yatagarasu.bench.origin import EmbeddedOrigin

ROUNDS = 3
MIB = 1024**2
BOTH = "0,1"


@dataclass(frozen=True)
class Server:
    """What is measured: its port, and the process at the root of its tree."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """CPU time of the whole tree so far."""
        return sum(_cpu_seconds(pid) for pid in _tree(self.pid))


@dataclass(frozen=True)
class Speed:
    """Median rate of some unit per second, and per second of CPU that the server spent."""

    rate: float
    per_core: float


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _tree(int(child))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ourselves(
    origin_port: int,
    folder: Path,
    *,
    max_size: str = "8GiB",
    memory: str = "",
    workers: int = 1,
    cores: str = "0",
) -> Iterator[tuple[Server, float]]:
    """`yatagarasu serve` with a disk tier in `folder`; yields it and the seconds it took to its ready line.

    A second start in the same folder finds the cache of the first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "yatagarasu.toml"
    config.write_text(
        f"""
[server]
listen = ["127.0.0.1:0"]
workers = {workers}
max_connections = 20_000
[admin]
listen = "127.0.0.1:0"
[cache]
ttl = "1h"
disk = {{ path = "{folder}/cache", max_size = "{max_size}" }}
{memory}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bench"
endpoint = "http://127.0.0.1:{origin_port}"
anonymous = true
"""
    )
    stderr = folder / "stderr"
    command = [sys.executable, "-m", "yatagarasu", "serve", "-c", str(config)]
    with open(folder / "access.log", "ab") as access, open(stderr, "wb") as errors:
        began = time.monotonic()
        with process(command, cores, stdout=access, stderr=errors) as running:  # type: ignore[arg-type]
            while (ready := re.search(r"ready on http://127\.0\.0\.1:(\d+)", stderr.read_text())) is None:
                if running.poll() is not None or time.monotonic() - began > 300:
                    raise RuntimeError(stderr.read_text())
                time.sleep(0.005)
            seconds = time.monotonic() - began
            yield Server("ours", int(ready[1]), running.pid), seconds


@contextmanager
def everybody(origin_port: int, **arguments: object) -> Iterator[list[Server]]:
    """Ourselves, nginx with whole objects, nginx with slices: each with an empty cache."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = [stack.enter_context(ourselves(origin_port, folder / "ours", **arguments))[0]]  # type: ignore[arg-type]
        for name, is_sliced in (("nginx", False), ("nginx slice 1m", True)):
            running = stack.enter_context(
                caching_nginx(origin_port, folder / name.replace(" ", "-"), is_sliced=is_sliced)
            )
            found.append(Server(name, running.port, running.pid))
        yield found


def in_turns(servers: Sequence[Server], run: Callable[[Server], float]) -> dict[str, Speed]:
    """Medians of what `run` says, in units per second."""
    rates: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            before, began = server.cpu_seconds(), time.monotonic()
            rate = run(server)
            busy = (server.cpu_seconds() - before) / (time.monotonic() - began)
            rates[server.name].append((rate, rate / max(busy, 0.01)))
    return {
        name: Speed(statistics.median(rate for rate, _ in found), statistics.median(value for _, value in found))
        for name, found in rates.items()
    }


def tell(name: str, unit: str, speeds: dict[str, Speed], *, scale: float = 1.0) -> None:
    """A row for each server; ratios are ours by theirs."""
    print(f"{name}\n{'':<18}{unit:>14}{'ours / it':>11}{'per core':>14}{'ours / it':>11}")
    we = speeds["ours"]
    for server, speed in speeds.items():
        print(
            f"  {server:<16}{speed.rate / scale:>14,.0f}{we.rate / speed.rate:>11.2f}"
            f"{speed.per_core / scale:>14,.0f}{we.per_core / speed.per_core:>11.2f}",
            flush=True,
        )


def fetch(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[bytes, str]:
    """A whole answer, 2xx, and its X-Cache."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        if answer.status not in (200, 206):
            raise RuntimeError(f"{path} is {answer.status}")
        return answer.read(), answer.headers.get("x-cache", "")
    finally:
        connection.close()


# MSG_TRUNC throws bytes away in the kernel: 64 clients on one core must not be what is measured.
DISCARD = """
import json, selectors, socket, sys, time
port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
selector, buffer, sizes = selectors.DefaultSelector(), bytearray(1 << 20), []
began = time.perf_counter()
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    sock.setblocking(False)
    selector.register(sock, selectors.EVENT_READ, [b"", 0])
while len(sizes) < count:
    for key, _ in selector.select():
        sock, state = key.fileobj, key.data
        try:
            if state[0] is None:
                got = sock.recv_into(buffer, 0, socket.MSG_TRUNC)
                state[1] += got
            else:
                data = sock.recv(4096)
                got = len(data)
                state[0] += data
                head, end, rest = state[0].partition(b"\\r\\n\\r\\n")
                if end:
                    state[:] = [None, len(rest)]
        except BlockingIOError:
            continue
        except ConnectionResetError:
            got = 0
        if not got:
            sizes.append(state[1])
            selector.unregister(sock)
            sock.close()
print(json.dumps({"seconds": time.perf_counter() - began, "sizes": sizes}))
"""


def discard(server: Server, path: str, clients: int, *, size: int) -> float:
    """Read `size` bytes with each of some clients at once and throw them away; bytes/s of all together."""
    command = ["taskset", "-c", "1", sys.executable, "-c", DISCARD, str(server.port), path, str(clients)]
    done = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    short = sum(found != size for found in done["sizes"])
    if short:
        print(f"  {server.name}: {short} of {clients} clients did not get all of it", flush=True)
    return float(sum(done["sizes"]) / done["seconds"])


def large() -> None:
    """1 GiB out of the cache to 8 clients, each of which reads it once a round."""
    with origin("--object", f"bench/x={1024 * MIB}", signed=False) as upstream, everybody(upstream) as servers:
        for server in servers:
            subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{server.port}/b/x"], check=True)
        speeds = in_turns(servers, lambda server: discard(server, "/b/x", 8, size=1024 * MIB))
    tell("1 GiB object from the cache, 8 clients", "MB/s", speeds, scale=1e6)


RANDOM_RANGES = """
math.randomseed(os.time())
request = function()
  local start = math.random(0, {last})
  return wrk.format("GET", "/b/x", {{ ["Range"] = "bytes=" .. start .. "-" .. start + {size} - 1 }})
end
"""


def ranges() -> None:
    """Random 64 KiB ranges, at any byte, of a 1 GiB object in the cache."""
    whole, size = 1024 * MIB, 64 * 1024
    with (
        origin("--object", f"bench/x={whole}", signed=False) as upstream,
        everybody(upstream) as servers,
        tempfile.NamedTemporaryFile("w", suffix=".lua") as script,
    ):
        script.write(RANDOM_RANGES.format(last=whole - size, size=size))
        script.flush()
        for server in servers:
            subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{server.port}/b/x"], check=True)
            for start in (0, 12_345_678, whole - size):
                field = {"Range": f"bytes={start}-{start + size - 1}"}
                assert fetch(server.port, "/b/x", field)[0] == fetch(upstream, "/bench/x", field)[0]
        speeds = in_turns(servers, lambda server: wrk(f"http://127.0.0.1:{server.port}/b/", script=script.name)[0])
    tell("random 64 KiB ranges of a cached 1 GiB object, 32 connections", "requests/s", speeds)


def run_origin() -> None:
    """A process of `counting_origin`: objects on the command line; a key on stdin is answered by its counts."""
    served = EmbeddedOrigin()
    for key, size in json.loads(sys.argv[1]).items():
        served.store.put_pattern("bench", key, size)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            print(await nursery.start(served.serve), flush=True)
            while line := await trio.to_thread.run_sync(sys.stdin.readline):
                key = line.strip()
                print(json.dumps([served.request_count(key), served.bytes_sent(key)]), flush=True)
            nursery.cancel_scope.cancel()

    trio.run(run)


@contextmanager
def counting_origin(objects: dict[str, int]) -> Iterator[tuple[int, Callable[[str], tuple[int, int]]]]:
    """The embedded origin as a process; yields its port, and what tells a key's requests and bytes sent."""
    code = "from tests.benchmarks.disk import run_origin; run_origin()"
    command = [sys.executable, "-c", code, json.dumps(objects)]
    with process(command, 1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        stdin, stdout = running.stdin, running.stdout
        port = int(stdout.readline())

        def count(key: str) -> tuple[int, int]:
            stdin.write(f"{key}\n")
            stdin.flush()
            requests, size = json.loads(stdout.readline())
            return requests, size

        yield port, count


def cold() -> None:
    """256 MiB that nobody has, to 64 clients at once."""
    size, clients = 256 * MIB, 64
    keys = [f"x{number}" for number in range(ROUNDS * 3)]
    left = iter(keys)
    seen: dict[str, list[tuple[int, float]]] = {}
    with counting_origin(dict.fromkeys(keys, size)) as (upstream, count), everybody(upstream) as servers:

        def run(server: Server) -> float:
            key = next(left)
            rate = discard(server, f"/b/{key}", clients, size=size)
            requests, sent = count(key)
            seen.setdefault(server.name, []).append((requests, sent / size))
            return rate

        speeds = in_turns(servers, run)
    tell("256 MiB cold to 64 clients, origin on the clients' core", "MB/s in all", speeds, scale=1e6)
    for name, found in seen.items():
        told = ", ".join(f"{requests} requests {copies:.2f} copies" for requests, copies in found)
        print(f"  {name}: origin was asked {told}", flush=True)


def workers() -> None:
    """One worker and the load on one core, then two workers and twice the load on two.

    Two workers alone take both cores of this machine, and wrk takes nearly as long for a 10 KiB hit as we do: only
    with the load's share of each core the same in both cases is it the workers that are compared.
    """
    whole, size = 256 * MIB, 64 * 1024
    with (
        origin("--object", "bench/small=10KiB", "--object", f"bench/x={whole}", signed=False) as upstream,
        tempfile.TemporaryDirectory() as folder,
    ):
        script = Path(folder, "ranges.lua")
        script.write_text(RANDOM_RANGES.format(last=whole - size, size=size))
        for name in ("ours", "nginx"):
            found: dict[str, list[Loaded]] = {}
            for count in (1, 2):
                with ExitStack() as stack:
                    home = Path(folder, f"{name}{count}")
                    cores = core = "0" if count == 1 else BOTH
                    if name == "ours":
                        server = stack.enter_context(ourselves(upstream, home, workers=count, cores=cores))[0]
                    else:
                        running = stack.enter_context(caching_nginx(upstream, home, workers=count, cores=cores))
                        server = Server(name, running.port, running.pid)
                    for key in ("small", "x"):
                        fetch(server.port, f"/b/{key}")
                    small = loaded(server, "/b/small", core, threads=count)
                    part = loaded(server, "/b/x", core, script=str(script), threads=count)
                    found.setdefault("10 KiB hits", []).append(small)
                    found.setdefault("64 KiB ranges", []).append(part)
            for what, (one, two) in found.items():
                print(
                    f"{name}, {what}: one worker {one}, two {two}: ratio {two.rate / one.rate:.2f}; per core "
                    f"{two.rate / two.server / (one.rate / one.server):.2f} of one worker's",
                    flush=True,
                )


@dataclass(frozen=True)
class Loaded:
    """Requests per second, and the cores that the server and the load took."""

    rate: float
    server: float
    load: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s (server {self.server:.2f} cores, load {self.load:.2f})"


def loaded(server: Server, path: str, core: str, *, script: str | None = None, threads: int = 1) -> Loaded:
    """The median of some rounds with the load on `core`, after a short one that counts for nothing."""
    url = f"http://127.0.0.1:{server.port}{path}"
    options = {"core": core, "script": script, "threads": threads, "connections": 32 * threads}
    wrk(url, seconds=1, **options)  # type: ignore[arg-type]
    rounds = []
    for _ in range(ROUNDS):
        before, load_before, began = server.cpu_seconds(), os.times(), time.monotonic()
        rate, _ = wrk(url, **options)  # type: ignore[arg-type]
        seconds, load = time.monotonic() - began, os.times()
        children = load.children_user + load.children_system
        children -= load_before.children_user + load_before.children_system
        rounds.append(Loaded(rate, (server.cpu_seconds() - before) / seconds, children / seconds))
    return sorted(rounds, key=lambda found: found.rate)[len(rounds) // 2]


def populate(url: str, count: int, folder: Path) -> None:
    """Ask for `count` objects `k0`, `k1`, …: wrk by turns, each from a little before where the last one stopped."""
    script = folder / "fill.lua"
    start = 0
    while start < count:
        script.write_text(
            f"local n = {start}\n"
            f"request = function() local k = n % {count}; n = n + 1; return wrk.format('GET', '/b/k' .. k) end\n"
        )
        command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", "-d10s", "-s", str(script), url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        done = re.search(r"(\d+) requests in", output)
        if done is None or "Non-2xx" in output:
            raise RuntimeError(output)
        start += max(int(done[1]) - 64, 1)  # those on their way when it ended may not have been answered


def startup(count: int = 200_000, sample: int = 2_000) -> None:
    """Time to the ready line with 200,000 objects of 1 KiB in the cache, and whether they are there then."""
    # Memory for a few of them only: they are to be on disk.
    memory = 'memory = { max_size = "1MiB" }'
    with (
        origin("--keys", f"bench/k={count},1KiB", signed=False) as upstream,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name, "ours")
        with ourselves(upstream, folder, memory=memory) as (server, empty):
            began = time.monotonic()
            populate(f"http://127.0.0.1:{server.port}/", count, Path(name))
            filling = time.monotonic() - began
        files, size = on_disk(folder / "cache")
        print(f"filled in {filling:.0f} s: {files:,} files, {size / MIB:,.0f} MiB on disk", flush=True)
        starts = []
        for turn in range(ROUNDS):
            with ourselves(upstream, folder, memory=memory) as (server, seconds):
                starts.append(seconds)
                keys = random.Random(turn).sample(range(count), sample)
                hits = sum(fetch(server.port, f"/b/k{key}")[1] == "HIT" for key in keys)
                print(f"  start {turn}: ready after {seconds:.2f} s, {hits} of {sample} keys hit", flush=True)
    print(f"start-up: {statistics.median(starts):.2f} s with {count:,} objects, {empty:.2f} s with none", flush=True)


def on_disk(folder: Path) -> tuple[int, int]:
    """Files below `folder`, and bytes of the blocks they take."""
    sizes = [size for _, size in _files(folder)]
    return len(sizes), sum(sizes)


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                yield name, os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                continue


def bounds() -> None:
    """How far over `max_size` the directory gets while it is filled as fast as it goes."""
    size, clients = 1_500_001, 8
    with (
        origin("--keys", f"bench/k=4000,{size}", signed=False) as upstream,
        tempfile.TemporaryDirectory() as name,
    ):
        script = Path(name, "fill.lua")
        script.write_text(
            "local n = 0\nrequest = function() n = n + 1; return wrk.format('GET', '/b/k' .. n % 4000) end\n"
        )
        for who, max_size in (("ours", 256 * MIB), ("ours", 1024 * MIB), ("nginx", 1024 * MIB)):
            folder = Path(name, f"{who}{max_size}")
            with ExitStack() as stack:
                if who == "ours":
                    server = stack.enter_context(ourselves(upstream, folder, max_size=f"{max_size}B"))[0]
                else:
                    running = stack.enter_context(caching_nginx(upstream, folder, max_size=f"{max_size // MIB}m"))
                    server = Server(who, running.port, running.pid)
                seconds = 5 if max_size < 1024 * MIB else 12
                peak, index, fetched = _fill(server, folder / "cache", script, clients, seconds)
            print(
                f"{who}, max_size {max_size // MIB} MiB, {fetched * size / max_size:.1f} times that fetched: at most "
                f"{peak / max_size:.4f} of it on disk; SQLite's files {index / max_size:.4f} of that, the {clients} "
                f"objects on their way up to {clients * size / max_size:.4f}",
                flush=True,
            )


def _fill(server: Server, cache: Path, script: Path, clients: int, seconds: int) -> tuple[int, int, int]:
    """Most bytes on disk, those of the index among them, and requests answered."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(script)]
    peak = index = 0
    with subprocess.Popen([*command, f"http://127.0.0.1:{server.port}/"], stdout=subprocess.PIPE, text=True) as load:
        while load.poll() is None:
            files = list(_files(cache))
            total = sum(size for _, size in files)
            if total > peak:
                peak, index = total, sum(size for name, size in files if "sqlite" in name or "index" in name)
            time.sleep(0.02)
        output = load.stdout.read()  # type: ignore[union-attr]
    done = re.search(r"(\d+) requests in ", output)
    if done is None or "Non-2xx" in output:
        raise RuntimeError(output)
    return peak, index, int(done[1])


CASES = {
    "large": large,
    "ranges": ranges,
    "cold": cold,
    "workers": workers,
    "startup": startup,
    "bounds": bounds,
}

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        CASES[case]()
