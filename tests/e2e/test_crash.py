"""kill -9 of a filling server, dozens of times: no wrong byte is ever served, and what was there stays there."""

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Served, free_ports

pytestmark = pytest.mark.e2e

KIB, MIB = 1024, 1024 * 1024
ROUNDS = 40
# A body that was complete this long before the kill is on disk.
KEPT_SECONDS = 1.0
SIZES = [4 * KIB, 60 * KIB, 300 * KIB, MIB, 2 * MIB + 5, 5 * MIB, 8 * MIB]
OBJECTS = {f"o{number}": SIZES[number % len(SIZES)] for number in range(42)}


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "yatagarasu.bench.standalone", "--port", str(port)]
    for key, size in OBJECTS.items():
        command += ["--object", f"bkt/{key}={size}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield port
        process.kill()


@pytest.fixture(scope="module")
def contents(origin: int) -> dict[str, bytes]:
    return {key: fetch(f"http://127.0.0.1:{origin}", f"/bkt/{key}").body for key in OBJECTS}


@dataclass
class Got:
    """An answer as far as it came: `is_whole` where a careful client would take it for all of it."""

    status: int = 0
    body: bytes = b""
    cache: str = ""
    is_whole: bool = False
    start: int = 0


def fetch(url: str, path: str, rng: tuple[int, int] | None = None) -> Got:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    got = Got()
    body = bytearray()
    try:
        connection.request("GET", path, headers={} if rng is None else {"Range": f"bytes={rng[0]}-{rng[1]}"})
        answer = connection.getresponse()
        got.status, got.cache = answer.status, answer.headers.get("x-cache", "")
        if got.status == 206:
            got.start = int(answer.headers["content-range"].split()[1].partition("-")[0])
        length = int(answer.headers["content-length"])
        while data := answer.read1(256 * KIB):
            body += data
        got.is_whole = len(body) == length
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
        got.body = bytes(body)
    return got


@dataclass
class Load:
    """Clients that ask for anything, all the time, and hold every byte against what it must be."""

    url: str
    contents: dict[str, bytes]
    seed: int
    # When each key was first seen whole.
    whole_at: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        draw = random.Random(self.seed * 10 + number)
        while not self._stop.is_set():
            key = draw.choice(list(self.contents))
            data, rng = self.contents[key], None
            if draw.random() < 0.5:
                start = draw.randrange(len(data))
                rng = (start, min(len(data), start + draw.randrange(1, 2 * MIB)) - 1)
            got = fetch(self.url, f"/b/{key}", rng)
            self.check(key, rng, got)

    def check(self, key: str, rng: tuple[int, int] | None, got: Got) -> None:
        if not got.status:
            return  # The server was gone before its head.
        if got.status not in (200, 206):
            self.wrong.append(f"{key}: {got.status}")
            return
        self.answers += 1
        data = self.contents[key]
        if data[got.start : got.start + len(got.body)] != got.body:
            self.wrong.append(f"{key} from {got.start}: wrong bytes")
        expected = len(data) if rng is None else rng[1] - rng[0] + 1
        if got.is_whole and len(got.body) != expected:
            self.wrong.append(f"{key}: {len(got.body)} of {expected} bytes look whole")
        if got.is_whole and rng is None:
            self.whole_at.setdefault(key, time.monotonic())


@pytest.mark.slow
def test_no_kill_costs_a_byte(
    serve: Callable[..., Served], origin: int, contents: dict[str, bytes], tmp_path: Path
) -> None:
    buckets = f"""
[cache]
ttl = "1h"
memory = {{ max_size = "4MiB", max_object_size = "512KiB" }}
disk = {{ path = "{tmp_path}/cache", max_size = "1GiB", block_size = "256KiB" }}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "http://127.0.0.1:{origin}"
anonymous = true
"""
    draw = random.Random(11)
    kept: set[str] = set()
    answers = 0
    for number in range(ROUNDS):
        served = serve(buckets)
        assert list((tmp_path / "cache" / "tmp").iterdir()) == []
        for key in kept:
            got = fetch(served.url, f"/b/{key}")
            assert (got.body, got.cache) == (contents[key], "HIT"), (number, key)
        load = Load(served.url, contents, number)
        load.start()
        # Now and then long enough for something to be there for good.
        time.sleep(draw.uniform(0.05, 0.4) if number % 5 else 1.6)
        killed_at = time.monotonic()
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait()
        load.stop()
        assert load.wrong == []
        answers += load.answers
        kept |= {key for key, at in load.whole_at.items() if at < killed_at - KEPT_SECONDS}
    assert answers > ROUNDS
    assert len(kept) >= 10
    served = serve(buckets)
    for key, data in contents.items():
        got = fetch(served.url, f"/b/{key}")
        assert got.body == data
        assert got.is_whole
    assert served.stop() == 0
    # One file for each object, of its own size and a little: nothing is left of forty interrupted fills.
    files = [path for path in (tmp_path / "cache" / "data").rglob("*") if path.is_file()]
    assert len(files) == len(OBJECTS)
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    taken = sum(path.stat().st_blocks * 512 for path in files)
    assert taken < sum(OBJECTS.values()) + len(OBJECTS) * 64 * KIB
