"""`python -m tests.benchmarks.speed [CASE ...]`: ourselves beside nginx, one worker on one core, in one run.

Needs wrk and nginx (Debian: wrk, nginx-light). Each pair runs in turn, three times; the ratio of the medians
counts, the rest is the machine.
"""

import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.benchmarks.processes import memory_bytes, nginx, origin, ourselves, wrk

ROUNDS = 3


def pair(name: str, path: str, unit: str, column: int, *, memory: str = "", size: str, connections: int = 32) -> None:
    with (
        origin("--object", f"bench/x={size}", signed=False) as upstream,
        ourselves(upstream, memory=memory, signed=False) as (ours, _),
        nginx(upstream) as theirs,
    ):
        for port in (ours, theirs):
            subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}{path}"], check=True)
        results: dict[int, list[float]] = {ours: [], theirs: []}
        for _ in range(ROUNDS):
            for port in (ours, theirs):
                results[port].append(wrk(f"http://127.0.0.1:{port}{path}", connections=connections)[column])
    we, they = statistics.median(results[ours]), statistics.median(results[theirs])
    scale = 1e6 if unit == "MB/s" else 1
    print(f"{name}: we {we / scale:,.0f} {unit}, nginx {they / scale:,.0f} {unit}, ratio {we / they:.2f}", flush=True)


def hit() -> None:
    pair("memory hit, 10 KiB, 32 connections", "/b/x", "requests/s", 0, size="10KiB")


def large() -> None:
    memory = 'memory = { max_size = "1GiB", max_object_size = "128MiB" }'
    pair("64 MiB from the cache, 8 connections", "/b/x", "MB/s", 1, memory=memory, size="64MiB", connections=8)


def miss() -> None:
    """Distinct cold keys; then what plain httpx does with the same origin, in requests per second of one core."""
    count = 200_000
    script = "local n = {start}\nrequest = function() n = n + 1; return wrk.format('GET', '/b/k' .. n) end\n"
    with (
        origin("--keys", f"bench/k={count},10KiB") as upstream,
        tempfile.TemporaryDirectory() as folder,
    ):
        rates = []
        with ourselves(upstream) as (port, pid):
            for turn in range(ROUNDS):
                lua = Path(folder, f"{turn}.lua")
                lua.write_text(script.format(start=turn * 60_000))
                before = cpu_seconds(pid)
                began = time.monotonic()
                rate, _ = wrk(f"http://127.0.0.1:{port}/b/", script=str(lua))
                busy = (cpu_seconds(pid) - before) / (time.monotonic() - began)
                rates.append((rate, rate / busy))
    rate = statistics.median(rate for rate, _ in rates)
    per_core = statistics.median(value for _, value in rates)
    with origin("--keys", f"bench/k={count},10KiB", signed=False) as upstream:
        theirs = httpx_rate(upstream)
    print(f"cold misses, 10 KiB, 32 connections: {rate:,.0f}/s, {per_core:,.0f} per second of our core", flush=True)
    print(f"  plain httpx, unsigned: {theirs:,.0f} per second of its core, ratio {per_core / theirs:.1f}", flush=True)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def httpx_rate(port: int) -> float:
    import httpx

    async def run() -> float:
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
        async with httpx.AsyncClient(limits=limits) as client:
            numbers = iter(range(3000))

            async def worker() -> None:
                for number in numbers:
                    response = await client.get(f"http://127.0.0.1:{port}/bench/k{number}")
                    assert len(response.content) == 10_240

            used = time.process_time()
            async with trio.open_nursery() as nursery:
                for _ in range(32):
                    nursery.start_soon(worker)
            return 3000 / (time.process_time() - used)

    return trio.run(run)


def coalescer() -> None:
    """What a leader and a follower pay: the tables alone, a join, and a whole flight with its task."""
    from tests.fakes import Rig, ScriptedOrigin
    from yatagarasu.http.headers import Headers
    from yatagarasu.http.wire import HeaderBlock

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            rig = Rig(nursery, ScriptedOrigin())
            made, count = rig.coalescer, 200_000
            block = HeaderBlock(Headers([("host", "x")]))
            fetch = rig.pipeline.finder._fetch(rig.pipeline.line(b"GET /b/k HTTP/1.1"), block, "id")
            flight, _ = made.launch_or_join(fetch)
            slot = (fetch.key, "GET")
            began = time.perf_counter()
            for _ in range(count):
                made._heads.get(slot)
                made._heads[slot] = flight
                if made._heads.get(slot) is flight:
                    del made._heads[slot]
            tables = (time.perf_counter() - began) / count
            made._heads[slot] = flight
            began = time.perf_counter()
            for _ in range(count):
                made.launch_or_join(fetch)
            join = (time.perf_counter() - began) / count
            flight.scope.cancel()
            await trio.sleep(0.1)
            flights = 3_000
            began = time.perf_counter()
            for number in range(flights):
                await rig.ask(f"key{number}")
            whole = (time.perf_counter() - began) / flights
            nursery.cancel_scope.cancel()
        print(
            f"coalescer: tables of acquire + release {tables * 1e6:.2f} µs, join {join * 1e6:.2f} µs, "
            f"a whole cold request with its flight over a fake origin {whole * 1e6:.0f} µs",
            flush=True,
        )

    trio.run(run)


def idle() -> None:
    """Memory of 10,000 idle keep-alive connections, each of which has made a request."""
    count = 10_000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with origin("--object", "bench/x=10KiB") as upstream, ourselves(upstream) as (port, pid):
        request = b"GET /b/x HTTP/1.1\r\nHost: x\r\n\r\n"

        def connect(number: int) -> list[socket.socket]:
            sockets = []
            for _ in range(number):
                sock = socket.create_connection(("127.0.0.1", port))
                sock.sendall(request)
                received = 0
                while received < 10_240:
                    received += len(sock.recv(65_536))
                sockets.append(sock)
            return sockets

        warm = connect(200)
        before = memory_bytes(pid)
        sockets = connect(count)
        each = (memory_bytes(pid) - before) / count
        for sock in (*warm, *sockets):
            sock.close()
    print(f"idle connections: {each / 1024:.2f} KiB each, over {count:,}", flush=True)


def huge() -> None:
    """2 GiB, cold, to 32 clients at once: growth of memory, and bytes the origin sent."""
    size = 2 * 1024**3
    with origin("--object", f"bench/x={size}") as upstream, ourselves(upstream) as (port, pid):
        subprocess.run(["curl", "-sf", "-r", "0-0", "-o", "/dev/null", f"http://127.0.0.1:{port}/b/x"], check=True)
        before, peak = memory_bytes(pid), 0
        began = time.monotonic()
        clients = [
            subprocess.Popen(
                ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}\n", f"http://127.0.0.1:{port}/b/x"],
                stdout=subprocess.PIPE,
            )
            for _ in range(32)
        ]
        while any(client.poll() is None for client in clients):
            peak = max(peak, memory_bytes(pid))
            time.sleep(0.05)
        seconds = time.monotonic() - began
        sizes = [int(client.stdout.read()) for client in clients]  # type: ignore[union-attr]
    assert sizes == [size] * 32, sizes
    growth = (peak - before) / 1024**2
    rate = 32 * size / seconds / 1e9
    print(f"2 GiB to 32 clients: {rate:.2f} GB/s in all, memory grew by {growth:.0f} MiB", flush=True)


CASES = {"hit": hit, "large": large, "miss": miss, "coalescer": coalescer, "idle": idle, "huge": huge}

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        CASES[case]()
