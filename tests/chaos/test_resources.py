"""Too little of something, or too many of them: what is served stays right, what is not is refused, nothing is left.

A full disk is in `tests/e2e/test_bad_disk.py`, killed and reloaded workers are in `tests/e2e/test_workers.py`.
"""

import itertools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio
import trio.lowlevel

from tests.chaos.clients import Answer, Wire, patient, request
from tests.chaos.test_herds import download, settle, whole
from tests.e2e.conftest import Served, embedded, launch
from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin
from tests.server.conftest import free_port, run_proxy
from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes
from yatagarasu.proxy.fetch import FlightSettings

__all__ = ["embedded"]

MB = 1_000_000


def raise_descriptor_limit() -> int:
    """As many descriptors as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# Memory


async def test_a_memory_tier_that_no_object_fits_into(tmp_path: Path):
    cache = {"memory": {"max_size": "50KB", "max_object_size": "50KB"}}
    async with run_proxy(cache=cache) as proxy:
        data = random.Random(1).randbytes(2 * MB)
        proxy.store.put("bkt", "large", data)
        proxy.faults.add(Fault(bandwidth=20 * MB))
        results: list[Answer] = []

        async def one() -> None:
            results.extend(await patient(proxy.port, "/b/large", ""))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert all(found.is_whole and found.body == data for found in results)
        assert proxy.origin.request_count("large") == 1
        assert (await patient(proxy.port, "/b/large", ""))[0].body == data  # There is no place to keep it: asked again.
        assert proxy.origin.request_count("large") == 2
        assert proxy.system.memory.statistics().bytes <= 50_000
        await settle(proxy)


async def test_a_thousand_cold_keys_at_once():
    raise_descriptor_limit()
    async with run_proxy() as proxy:
        for number in range(1000):
            proxy.store.put_pattern("bkt", f"k{number}", 5_000, seed=number)
        proxy.faults.add(Fault(latency=0.05))
        wrong: list[int] = []

        async def one(number: int) -> None:
            got = await download(proxy.port, f"/b/k{number}")
            if not (got.is_whole and got.body == pattern_bytes(number, 0, 5_000)):
                wrong.append(number)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(1000):
                    nursery.start_soon(one, number)
        assert wrong == []
        assert proxy.origin.request_count() == 1000
        assert proxy.origin.connections <= 256  # origin.max_connections
        await settle(proxy)


async def test_five_thousand_wait_for_one_key(autojump_clock, make_rig, origin: ScriptedOrigin):
    data = random.Random(2).randbytes(100_000)
    origin.objects["k"] = data
    origin.plays = [Play(latency=1.0, cut_after=50_000)]
    rig: Rig = make_rig()
    clients = await rig.herd(5_000, apart=0.0001)
    assert all(client.is_whole and client.body == data for client in clients)
    assert len(origin.requests) == 2
    await rig.settle()


async def test_one_more_than_may_wait_is_told_to_come_back(autojump_clock, make_rig, origin: ScriptedOrigin):
    origin.objects["k"] = b"data"
    origin.default = Play(latency=1.0)
    rig: Rig = make_rig(settings=FlightSettings(max_waiters=100))
    clients: list[RecordingClient] = await rig.herd(150)
    assert sorted(client.status for client in clients) == [200] * 100 + [503] * 50
    assert all(client.header("retry-after") for client in clients if client.status == 503)
    assert len(origin.requests) == 1
    await rig.settle()


# Slow clients


async def test_clients_that_drip_their_heads_starve_nobody():
    async with run_proxy(server={"header_timeout": "1s"}) as proxy:
        proxy.store.put("bkt", "k", b"0123456789")
        answers: list[bytes] = []

        async def drip() -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            async with stream:
                try:
                    for byte in itertools.chain(b"GET /b/k HTTP/1.1\r\nHost: x\r\n", itertools.cycle(b"X: y\r\n")):
                        await stream.send_all(bytes((byte,)))
                        await trio.sleep(0.05)
                except trio.BrokenResourceError:
                    pass
                try:
                    answers.append(await stream.receive_some(1000))
                except trio.BrokenResourceError:
                    answers.append(b"reset")

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(drip)
                await trio.sleep(0.3)
                for _ in range(20):
                    assert (await patient(proxy.port, "/b/k", ""))[0].body == b"0123456789"
        assert len(answers) == 100
        assert all(answer == b"reset" or answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        assert sum(answer.startswith(b"HTTP/1.1 408 ") for answer in answers) > 0
        await settle(proxy)


async def test_clients_that_never_read_hold_up_nobody():
    async with run_proxy(server={"write_timeout": "1s"}) as proxy:
        size = 8 * MB
        proxy.store.put_pattern("bkt", "large", size)
        proxy.faults.add(Fault(bandwidth=40 * MB))

        async def ask_and_stare(streams: ExitStack) -> None:
            sock = streams.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", proxy.port))
            sock.sendall(request("/b/large"))
            await trio.lowlevel.checkpoint()

        with ExitStack() as streams:
            for _ in range(30):
                await ask_and_stare(streams)
            results = [await download(proxy.port, "/b/large") for _ in range(3)]
            assert whole(results, pattern_bytes(0, 0, size)) == 3
            assert proxy.origin.request_count("large") == 1
            with trio.fail_after(8):
                while proxy.system.reactor.connections:
                    await trio.sleep(0.05)
            # The access log is written in lumps.
            with trio.fail_after(4):
                while b"took no byte" not in b"".join(proxy.access):
                    await trio.sleep(0.05)
        await settle(proxy)


# Processes


@dataclass
class Config:
    """A config file's text for a served process."""

    endpoint: str
    top: str = ""
    server: str = ""
    cache: str = ""

    def text(self) -> str:
        return f"""
[server]
listen = ["127.0.0.1:0"]
{self.server}
[admin]
listen = "127.0.0.1:0"
{self.top}
[cache]
ttl = "1h"
{self.cache}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "{self.endpoint}"
anonymous = true
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Config], Served]]:
    running: list[Served] = []

    def begin(config: Config) -> Served:
        folder = tmp_path / f"served{len(running)}"
        folder.mkdir()
        path = folder / "yatagarasu.toml"
        path.write_text(config.text())
        running.append(launch(["-c", str(path)], folder, path))
        return running[-1]

    yield begin
    for served in running:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def gauge(served: Served, name: str) -> float:
    text = httpx.get(f"{served.admin_url}/metrics", trust_env=False).text
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def ask(sock: socket.socket, target: str) -> bytes:
    """One answer of a small object on a connection that stays."""
    sock.sendall(request(target))
    data = b""
    while not data.endswith(b"0123456789"):
        more = sock.recv(4096)
        if not more:
            break
        data += more
    return data


@pytest.mark.e2e
def test_out_of_descriptors(start: Callable[[Config], Served], embedded: EmbeddedOrigin):
    """What has a connection is served, who comes too late waits, and with the descriptors everything comes back."""
    embedded.store.put("bkt", "k", b"0123456789")
    embedded.store.put("bkt", "cold", b"0123456789")
    served = start(Config(embedded.endpoint))
    resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (120, 120))
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(served)), timeout=10))
        assert ask(first, "/b/k").startswith(b"HTTP/1.1 200 ")
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", port_of(served)))) for _ in range(200)]
        deadline = time.monotonic() + 10
        while "accept_failed" not in served.stderr():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Out of memory no descriptor is needed; for a cold object there may be none: a clean error, then.
        for _ in range(20):
            assert ask(first, "/b/k").startswith(b"HTTP/1.1 200 ")
        first.sendall(request("/b/cold"))
        assert first.recv(4096).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 ", b"HTTP/1.1 503 "))
        assert served.stderr().count("accept_failed") < 15  # Said now and then, not with every try.
        for sock in crowd:
            sock.close()
        time.sleep(1.5)
        with socket.create_connection(("127.0.0.1", port_of(served)), timeout=10) as late:
            assert ask(late, "/b/k").startswith(b"HTTP/1.1 200 ")
            assert ask(late, "/b/cold").startswith(b"HTTP/1.1 200 ")
    assert served.stop() == 0


def leave_descriptors(pid: int, count: int) -> None:
    """Let a process have so many more than it has open; the kernel hands out the lowest that is free."""
    open_ones = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = [number for number in range(len(open_ones) + count + 1) if number not in open_ones]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count], 4096))


@pytest.mark.e2e
def test_however_few_descriptors_are_left(start: Callable[[Config], Served], embedded: EmbeddedOrigin, tmp_path: Path):
    """None for an origin, one for it but none for a file: right, or an error that says so; then all is well again."""
    cache = f'disk = {{ path = "{tmp_path}/cache", max_size = "1GiB" }}\nmemory = {{ max_object_size = "64KiB" }}'
    served = start(Config(embedded.endpoint, cache=cache))
    pid, outcomes = served.process.pid, Counter[int | str]()
    kinds = tuple(itertools.product((10_000, 300_000), (0, 5_000)))
    rounds = [
        [(f"{left}-{size}-{begin}", begin, bytes(pattern_bytes(left, begin, size))) for size, begin in kinds]
        for left in range(10)
    ]
    for left, (size, begin) in itertools.product(range(10), kinds):
        key = f"{left}-{size}-{begin}"
        embedded.store.put_pattern("bkt", key, size, seed=left)
        # They come together, and each takes its connection with it.
        embedded.faults.add(Fault(latency=0.05, cut_after=size - begin), key=key, count=1)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=served.url, trust_env=False, timeout=20))
            for _ in range(len(kinds))
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(kinds)))

        def get(index: int, key: str, begin: int) -> httpx.Response:
            return clients[index].get(f"/b/{key}", headers={"range": f"bytes={begin}-"} if begin else {})

        assert [get(index, "none", 0).status_code for index in range(len(kinds))] == [404] * len(kinds)
        for left, asked in enumerate(rounds):
            leave_descriptors(pid, left)
            loads = [pool.submit(get, index, key, begin) for index, (key, begin, _) in enumerate(asked)]
            wait(loads)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
            for load, (_, _, expected) in zip(loads, asked, strict=True):
                if isinstance(load.exception(), httpx.TransportError):
                    outcomes["cut"] += 1  # In the middle, where there was no descriptor to resume with.
                    continue
                got = load.result()
                outcomes[got.status_code] += 1
                assert got.status_code in (200, 206, 502, 503)
                assert got.status_code >= 500 or got.content == expected
        assert outcomes[502] > 0
        assert outcomes[200] > 0
        time.sleep(1.1)  # coalescing.failure_ttl
        for asked in rounds:
            assert [get(0, key, begin).content == expected for key, begin, expected in asked] == [True] * len(asked)
    assert served.stop() == 0
    assert "Traceback" not in served.stderr()
    assert "flight failed" not in served.stderr()


@pytest.mark.slow
@pytest.mark.e2e
def test_ten_thousand_connections(start: Callable[[Config], Served], embedded: EmbeddedOrigin):
    if raise_descriptor_limit() < 10_500:
        pytest.skip("needs 10,500 descriptors: ulimit -Hn")
    embedded.store.put("bkt", "k", b"0123456789")
    served = start(Config(embedded.endpoint, server="max_connections = 10_000\nidle_timeout = '60s'"))
    port = port_of(served)
    with ExitStack() as stack:
        socks = []
        for number in range(10_000):
            # Each loopback address has 28,000 ports towards one listener.
            sock = stack.enter_context(socket.socket())
            sock.settimeout(20)
            sock.connect(("127.0.0.1", port))
            socks.append(sock)
            if number % 100 == 0:
                assert ask(sock, "/b/k").startswith(b"HTTP/1.1 200 ")
        deadline = time.monotonic() + 10
        while gauge(served, "yatagarasu_connections_open") < 10_000:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as late:
            assert late.recv(4096).startswith(b"HTTP/1.1 503 ")
        for sock in random.Random(1).sample(socks, 1_000):
            assert ask(sock, "/b/k").startswith(b"HTTP/1.1 200 ")
        assert embedded.request_count("k") == 1
    deadline = time.monotonic() + 10
    while gauge(served, "yatagarasu_connections_open") > 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert served.stop() == 0


SIZE = 3 * MB
EXPECTED = [bytes(pattern_bytes(number, 0, SIZE)) for number in range(20)]


def _get(client: httpx.Client, url: str) -> bytes:
    """One object whole, or HTTPError."""
    has_begun = False
    try:
        with client.stream("GET", url) as found:
            has_begun = True
            return found.raise_for_status().read()
    except httpx.TransportError:
        if has_begun:
            raise
    # A kept-alive connection may end under a request, before any answer: then every client asks again, on a new
    # one (RFC 9112, section 9.3.1). Only httpx leaves that to its callers.
    return httpx.get(url, trust_env=False, timeout=20).raise_for_status().content


def _fetch(served: Served, number: int, until: float) -> list[str]:
    """Ask until the time is up; what was not whole, and why."""
    wrong = []
    with httpx.Client(trust_env=False, timeout=20) as client:
        while time.monotonic() < until:
            number += 7
            key = number % 20
            try:
                got = _get(client, f"{served.url}/b/k{key}")
            except httpx.HTTPError as exc:
                wrong.append(repr(exc))
                continue
            if got != EXPECTED[key]:
                wrong.append(f"{len(got)} wrong bytes")
    return wrong


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_under_load(start: Callable[[Config], Served], embedded: EmbeddedOrigin, workers: int):
    """Reloads cost nothing; SIGTERM lets every download end that has begun; nobody is given a wrong byte."""
    for number in range(20):
        embedded.store.put_pattern("bkt", f"k{number}", SIZE, seed=number)
    embedded.store.put_pattern("bkt", "long", 20 * MB, seed=99)
    embedded.faults.add(Fault(bandwidth=10 * MB), key="long")
    served = start(Config(embedded.endpoint, server=f"workers = {workers}\ndrain_timeout = '20s'"))
    until = time.monotonic() + 4
    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(_fetch, served, number, until) for number in range(6)]
        for _ in range(3):
            time.sleep(1)
            served.process.send_signal(signal.SIGHUP)
        assert [load.result() for load in loads] == [[]] * 6
        time.sleep(1.5 if workers > 1 else 0)  # Until the last reload is through.
        long = pool.submit(httpx.get, f"{served.url}/b/long", trust_env=False, timeout=30)
        time.sleep(0.7)
        served.process.send_signal(signal.SIGTERM)
        assert long.result().content == pattern_bytes(99, 0, 20 * MB)
    assert served.process.wait(25) == 0
    events = [json.loads(line)["event"] for line in served.stderr().splitlines() if line.startswith("{")]
    assert events.count("reloaded") >= 3
    assert not {"request_failed", "connection_failed"} & set(events)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_that_comes_while_it_starts_waits_until_it_has(embedded: EmbeddedOrigin, tmp_path: Path, workers: int):
    path, log = tmp_path / "yatagarasu.toml", tmp_path / "stderr"
    path.write_text(Config(embedded.endpoint, server=f"workers = {workers}").text())
    command = [sys.executable, "-m", "yatagarasu", "serve", "-c", str(path)]
    with open(log, "wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)

    def holds_reloads_back() -> bool:
        [line] = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigBlk" in line]
        return bool(int(line.split()[1], 16) & 1 << signal.SIGHUP - 1)

    try:
        wait_for(holds_reloads_back)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"reloaded"' in log.read_text())
        assert " ready on " in log.read_text()
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", "<&- >&- 2>&-"], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_costs_no_answer(
    embedded: EmbeddedOrigin, tmp_path: Path, streams: str, workers: int
):
    """Neither the ready line nor the access log, and never is the latter written into a socket or file of ours."""
    embedded.store.put("bkt", "k", b"0123456789")
    port, path = free_port(), tmp_path / "yatagarasu.toml"
    text = Config(embedded.endpoint, server=f"workers = {workers}", cache=f'disk.path = "{tmp_path}/cache"').text()
    path.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
    command = f"exec {sys.executable} -m yatagarasu serve -c {path} {streams}"
    process = subprocess.Popen(command, shell=True)  # A shell's notation, of what is our own.

    def is_there() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(is_there)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            for _ in range(600):  # The log is written 512 lines at a time.
                answer = ask(sock, "/b/k")
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert answer.count(b"\r\n\r\n") == 1
            time.sleep(1.2)  # Or once a second.
            assert ask(sock, "/b/k").startswith(b"HTTP/1.1 200 ")
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert not [
        file for file in (tmp_path / "cache").rglob("*") if file.is_file() and b"request_id" in file.read_bytes()
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_nobody_reads_costs_no_answer(embedded: EmbeddedOrigin, tmp_path: Path, workers: int):
    """Both pipes are open and full: a log collector that hangs, a terminal that was stopped."""
    embedded.store.put("bkt", "k", b"0123456789")
    embedded.faults.add(Fault(status=500), key="broken")
    path, top = tmp_path / "yatagarasu.toml", "[coalescing]\nfailure_ttl = '0s'\n[origin]\nretry.backoff = '1ms'"
    path.write_text(Config(embedded.endpoint, server=f"workers = {workers}", top=top).text())
    command = [sys.executable, "-m", "yatagarasu", "serve", "-c", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ready = process.stderr.readline().decode()
        port = int(ready.partition("http://127.0.0.1:")[2].partition(",")[0])
        url = f"http://127.0.0.1:{port}/b"
        with httpx.Client(trust_env=False, timeout=10) as client:
            for _ in range(700):
                assert client.get(f"{url}/k").content == b"0123456789"
            for _ in range(150):
                assert client.get(f"{url}/broken").status_code == 502
            time.sleep(0.5)
            assert client.get(f"{url}/k").content == b"0123456789"
        process.terminate()
        assert process.wait(15) == 0
        # Whole lines, whoever wrote them.
        for stream in (process.stdout, process.stderr):
            lines = stream.read().splitlines()
            assert len(lines) > 100
            assert all(json.loads(line)["request_id"] for line in lines if b"request_id" in line)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.e2e
def test_an_end_in_the_middle_of_a_reload_is_a_clean_one(start: Callable[[Config], Served], embedded: EmbeddedOrigin):
    """New workers that have served nobody have nothing to drain: killing them cuts nothing short."""
    served = start(Config(embedded.endpoint, server="workers = 2"))
    before = children_of(served.process.pid)
    served.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(children_of(served.process.pid)) > len(before))
    assert served.stop() == 0
    assert "reloaded" not in served.stderr()


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_a_storm_of_reloads_leaves_what_one_would(
    start: Callable[[Config], Served], embedded: EmbeddedOrigin, workers: int
):
    embedded.store.put("bkt", "k", b"0123456789")
    served = start(Config(embedded.endpoint, server=f"workers = {workers}"))
    before, url = len(children_of(served.process.pid)), f"{served.url}/b/k"
    for _ in range(40):
        served.process.send_signal(signal.SIGHUP)
        assert httpx.get(url, trust_env=False).content == b"0123456789"
    wait_for(lambda: len(children_of(served.process.pid)) == before)
    assert httpx.get(url, trust_env=False).content == b"0123456789"
    assert served.stop() == 0
    assert "Traceback" not in served.stderr()


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_that_sleeps_in_the_middle_costs_no_download(
    start: Callable[[Config], Served], embedded: EmbeddedOrigin, workers: int
):
    """All processes stop for longer than any timeout of theirs, as in a paused virtual machine or container."""
    embedded.store.put_pattern("bkt", "long", 20 * MB)
    embedded.faults.add(Fault(bandwidth=10 * MB), key="long")
    top = "[coalescing]\nstall_timeout = '1s'\nwait_timeout = '1s'"
    served = start(Config(embedded.endpoint, top=top, server=f"workers = {workers}\nwrite_timeout = '1s'"))
    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(httpx.get, f"{served.url}/b/long", trust_env=False, timeout=30) for _ in range(3)]
        time.sleep(0.7)
        everybody = [served.process.pid, *children_of(served.process.pid)]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        for load in loads:
            assert load.result().content == pattern_bytes(0, 0, 20 * MB)
    assert served.stop() == 0


@pytest.mark.e2e
def test_a_drain_deadline_cuts_what_is_not_done_and_says_so(
    start: Callable[[Config], Served], embedded: EmbeddedOrigin
):
    embedded.store.put_pattern("bkt", "long", 20 * MB)
    embedded.faults.add(Fault(bandwidth=2 * MB))
    served = start(Config(embedded.endpoint, server="drain_timeout = '1s'"))

    async def main() -> Answer:
        async with trio.open_nursery() as nursery:
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(served))

            async def end() -> None:
                await trio.sleep(0.5)
                served.process.send_signal(signal.SIGTERM)

            nursery.start_soon(end)
            async with stream:
                await stream.send_all(request("/b/long"))
                return await Wire(stream).answer(Answer())
        raise AssertionError

    answer = trio.run(main)
    assert answer.status == 200
    assert not answer.is_whole
    assert answer.body == pattern_bytes(0, 0, len(answer.body))
    assert served.process.wait(10) in (0, 1)
    assert "drain" in served.stderr()


@pytest.mark.e2e
def test_a_killed_server_leaves_nothing_that_stops_the_next_one(
    start: Callable[[Config], Served], embedded: EmbeddedOrigin, tmp_path: Path
):
    embedded.store.put_pattern("bkt", "k", SIZE, seed=4)
    embedded.faults.add(Fault(bandwidth=3 * MB), count=1)
    cache = f'disk = {{ path = "{tmp_path}/cache", max_size = "1GiB", block_size = "64KiB" }}'
    cache += '\nmemory = { max_size = "1MiB", max_object_size = "64KiB" }'
    text = Config(embedded.endpoint, cache=cache).text()
    for turn in range(3):
        folder = tmp_path / f"turn{turn}"
        folder.mkdir()
        path = folder / "yatagarasu.toml"
        path.write_text(text)
        served = launch(["-c", str(path)], folder, path)
        try:
            with ThreadPoolExecutor(4) as pool:
                loads = [pool.submit(httpx.get, f"{served.url}/b/k", trust_env=False, timeout=20) for _ in range(4)]
                time.sleep(0.4)
                if turn < 2:
                    served.process.kill()
                for load in loads:
                    if load.exception() is None:
                        assert load.result().content == pattern_bytes(4, 0, SIZE)
                    else:
                        assert turn < 2, load.exception()
        finally:
            served.process.kill()
            served.process.wait()
    assert os.listdir(tmp_path / "cache" / "tmp") == []


@pytest.mark.slow
@pytest.mark.e2e
def test_a_stampede_of_five_thousand(tmp_path: Path):
    raise_descriptor_limit()
    out = tmp_path / "r.json"
    command = [
        sys.executable,
        "-m",
        "yatagarasu",
        "bench",
        "stampede",
        "--runs",
        "1",
        "--set",
        "clients=5000",
        "--json",
        str(out),
        "-q",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = json.loads(out.read_text())["rows"]
    numbers = row["runs"][0]["numbers"]
    assert (numbers["origin_requests"], numbers["good"], numbers["failed"]) == (1, 5_000, 0)
