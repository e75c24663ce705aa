"""Several workers as real processes: one origin request for all, deaths and reloads that nobody notices."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Served, free_ports

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
BIG, BIG_BYTES = "big", 64 * MIB
KEYS = 40


class Origin:
    """The embedded origin as a process; what it counts is what its clients asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def get(self, key: str) -> bytes:
        return httpx.get(f"{self.url}/bkt/{key}", timeout=30).content


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "yatagarasu.bench.standalone", "--port", str(port)]
    command += ["--object", f"bkt/{BIG}={BIG_BYTES}", "--keys", f"bkt/small={KEYS},10240"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield Origin(port)
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def config(origin: Origin, tmp_path: Path) -> str:
    return f"""
[cache]
ttl = "1h"
disk = {{ path = "{tmp_path}/cache", max_size = "1GiB" }}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "{origin.url}"
anonymous = true
"""


@pytest.fixture
def served(serve: Callable[..., Served], config: str) -> Served:
    return serve(config, server="workers = 2")


def workers_of(served: Served) -> list[int]:
    path = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def metrics(served: Served) -> dict[str, float]:
    lines = httpx.get(f"{served.admin_url}/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def origin_requests(served: Served) -> float:
    found = metrics(served).items()
    return sum(value for name, value in found if name.startswith("yatagarasu_origin_requests_total"))


@contextmanager
def connection_to(served: Served, worker: int) -> Iterator[httpx.Client]:
    """A client whose one connection is this worker's, by the sockets that the kernel says it has."""
    for _ in range(200):
        with httpx.Client(base_url=served.url, timeout=30) as client:
            client.get("/health")
            if _local_port(client) in _ports_of(worker, urlsplit(served.url).port or 0):
                yield client
                return
    raise AssertionError("the kernel never chose this worker")


def _local_port(client: httpx.Client) -> int:
    pool = client._transport._pool  # type: ignore[attr-defined]
    stream = pool.connections[0]._connection._network_stream
    return int(stream.get_extra_info("socket").getsockname()[1])


def _ports_of(pid: int, port: int) -> set[int]:
    """Clients' ports of the connections on `port` that a process holds."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[9] in inodes and int(parts[1].partition(":")[2], 16) == port:
            found.add(int(parts[2].partition(":")[2], 16))
    return found


@pytest.mark.slow
def test_all_workers_together_ask_the_origin_once(served: Served, origin: Origin) -> None:
    expected = hashlib.sha256(origin.get(BIG)).digest()

    def download(_: int) -> bytes:
        return hashlib.sha256(httpx.get(f"{served.url}/b/{BIG}", timeout=60).content).digest()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(download, range(16))) == {expected}
    found = metrics(served)
    assert origin_requests(served) == 1
    assert found['yatagarasu_origin_bytes_total{bucket="b"}'] == BIG_BYTES
    assert found["yatagarasu_workers"] == 2
    requests = sum(value for name, value in found.items() if name.startswith("yatagarasu_http_requests_total"))
    assert requests == 16


def test_each_key_is_fetched_once_whichever_worker_is_asked(served: Served, origin: Origin) -> None:
    first, second = workers_of(served)
    with connection_to(served, first) as one, connection_to(served, second) as two:
        for number in range(KEYS):
            key = small(number)
            assert one.get(f"/b/{key}").content == two.get(f"/b/{key}").content == origin.get(key)
    assert origin_requests(served) == KEYS


def small(number: int) -> str:
    return f"small{number}"


def test_a_purge_reaches_all_workers(served: Served, origin: Origin) -> None:
    key = small(1)
    with ExitStack() as stack:
        clients = [stack.enter_context(connection_to(served, worker)) for worker in workers_of(served)]
        for client in clients:
            client.get(f"/b/{key}")
            assert client.get(f"/b/{key}").headers["x-cache"] == "HIT"
        purged = httpx.post(f"{served.admin_url}/cache/purge", params={"bucket": "b", "key": key}).json()["purged"]
        assert (purged["memory"], purged["disk"]) == (2, 1)
        assert clients[0].get(f"/b/{key}").headers["x-cache"] == "MISS"
        assert origin_requests(served) == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_costs_only_its_own_clients_anything(
    served: Served, origin: Origin, victim: int
) -> None:
    """Whether it is the owner or not: who is connected to the other one gets every byte."""
    expected = origin.get(BIG)
    pids = workers_of(served)
    survivor = pids[1 - victim]
    received = bytearray()
    with connection_to(served, survivor) as client, client.stream("GET", f"/b/{BIG}") as response:
        for chunk in response.iter_raw(256 * 1024):
            received += chunk
            if len(received) > 4 * MIB and pids[victim] in workers_of(served):
                os.kill(pids[victim], signal.SIGKILL)
                while pids[victim] in workers_of(served):
                    time.sleep(0.001)
    assert bytes(received) == expected
    deadline = time.monotonic() + 10
    while len(workers_of(served)) < 2 or metrics(served)["yatagarasu_workers"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert metrics(served)["yatagarasu_worker_restarts_total"] == 1
    assert httpx.get(f"{served.url}/b/{BIG}", timeout=30).content == expected
    died = [json.loads(line) for line in served.stderr().splitlines() if '"worker_died"' in line]
    assert [(line["index"], line["signal"]) for line in died] == [(victim, "SIGKILL")]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_stuck_costs_only_its_own_clients_anything(
    serve: Callable[..., Served], config: str, origin: Origin, victim: int
) -> None:
    """It is there, and takes connections, but does nothing: in the middle of a download, and before others."""
    served = serve(config, server="workers = 2", top="[coalescing]\nstall_timeout = '1s'")
    expected = origin.get(BIG)
    pids = workers_of(served)
    received = bytearray()
    try:
        with connection_to(served, pids[1 - victim]) as client:
            with client.stream("GET", f"/b/{BIG}") as response:
                for chunk in response.iter_raw(256 * 1024):
                    if not received:
                        os.kill(pids[victim], signal.SIGSTOP)
                    received += chunk
            assert bytes(received) == expected
            for number in range(KEYS):
                assert client.get(f"/b/{small(number)}").content == origin.get(small(number))
    finally:
        os.kill(pids[victim], signal.SIGCONT)
    assert workers_of(served) == pids
    assert served.stop() == 0


def test_a_worker_that_stays_stuck_is_replaced(config: str, tmp_path: Path) -> None:
    path, log = tmp_path / "yatagarasu.toml", tmp_path / "stderr"
    listen = "[server]\nlisten = ['127.0.0.1:0']\nworkers = 2\n[admin]\nlisten = ''"
    path.write_text(f"{listen}\n{config}")
    script = (
        "from yatagarasu.server import supervisor, workers\n"
        "supervisor._LOOK_SECONDS, workers.STUCK_LOOKS = 0.6, 3  # Not a minute.\n"
        "from yatagarasu.__main__ import main\n"
        "main()\n"
    )
    with open(log, "wb") as stderr:
        command = [sys.executable, "-c", script, "serve", "-c", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        wait_until(lambda: " ready on " in log.read_text())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        before = [int(pid) for pid in children.read_text().split()]
        os.kill(before[1], signal.SIGSTOP)
        wait_until(lambda: before[1] not in (now := list(map(int, children.read_text().split()))) and len(now) == 2)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [(line["index"], line["pid"]) for line in events if line["event"] == "worker_stuck"] == [(1, before[1])]
    assert [line["signal"] for line in events if line["event"] == "worker_died"] == ["SIGKILL"]


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reload_under_load_refuses_and_breaks_nothing(served: Served, origin: Origin) -> None:
    """New connections all the time, long downloads across it, three times."""
    host, port = urlsplit(served.url).hostname, urlsplit(served.url).port
    expected, size = origin.get(BIG), len(origin.get(small(0)))
    stop, failures, done = threading.Event(), [], [0, 0]

    def connect(seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            key = small(rng.randrange(KEYS))
            try:
                with socket.create_connection((host, port), 10) as sock:
                    sock.sendall(f"GET /b/{key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
                    data = b""
                    while chunk := sock.recv(65536):
                        data += chunk
            except OSError as exc:
                failures.append(exc)
                return
            if not data.startswith(b"HTTP/1.1 200") or len(data.partition(b"\r\n\r\n")[2]) != size:
                failures.append(data[:100])
            done[0] += 1

    def download() -> None:
        while not stop.is_set():
            received = bytearray()
            with httpx.stream("GET", f"{served.url}/b/{BIG}", timeout=30) as response:
                for chunk in response.iter_raw(MIB):
                    received += chunk
                    time.sleep(0.01)
            if received != expected:
                failures.append(len(received))
            done[1] += 1

    threads = [threading.Thread(target=connect, args=(seed,)) for seed in range(3)]
    threads.append(threading.Thread(target=download))
    for thread in threads:
        thread.start()
    generations = [workers_of(served)]
    try:
        for number in range(3):
            time.sleep(0.5)
            before = served.stderr().count('"reloaded"')
            served.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 15
            while served.stderr().count('"reloaded"') == before:
                assert time.monotonic() < deadline, number
                time.sleep(0.02)
            generations.append([pid for pid in workers_of(served) if pid not in generations[-1]])
    finally:
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert done[0] > 30
    assert done[1] >= 1
    assert len({pid for pids in generations for pid in pids}) == 8
    assert served.stop() == 0


def test_what_one_generation_kept_the_next_one_has(served: Served, origin: Origin) -> None:
    httpx.get(f"{served.url}/b/{BIG}", timeout=30)
    key = small(3)
    httpx.get(f"{served.url}/b/{key}")
    time.sleep(0.6)
    before = served.stderr().count('"reloaded"')
    served.process.send_signal(signal.SIGHUP)
    while served.stderr().count('"reloaded"') == before:
        time.sleep(0.02)
    for name in (BIG, key):
        assert httpx.get(f"{served.url}/b/{name}", timeout=30).headers["x-cache"] == "HIT"


def test_a_reload_with_a_bad_config_is_refused_and_names_it(served: Served) -> None:
    pids = workers_of(served)
    served.config.write_text(served.config.read_text() + "\n[unknown]\n")
    served.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while "reload_refused" not in served.stderr():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert workers_of(served) == pids
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_all_end_when_the_supervisor_is_killed(served: Served) -> None:
    pids = workers_of(served)
    served.process.kill()
    served.process.wait()
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_their_log_lines_never_mix(served: Served, origin: Origin) -> None:
    def ask(number: int) -> int:
        return httpx.get(f"{served.url}/b/{small(number % KEYS)}?x={'y' * 2000}{number}").status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(300))) == {200}
    assert served.stop() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in served.stdout().splitlines()]
    assert len(lines) == 300
