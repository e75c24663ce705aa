"""Directories that are no good: refused at the start where they can be, served around where they go bad later."""

import json
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Served, free_ports

pytestmark = pytest.mark.e2e

KIB, MIB = 1024, 1024 * 1024
OBJECTS = {"small": 20 * KIB, "medium": 700 * KIB, "large": 6 * MIB, "second": 5 * MIB, "third": 4 * MIB}


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "yatagarasu.bench.standalone", "--port", str(port)]
    for key, size in OBJECTS.items():
        command += ["--object", f"bkt/{key}={size}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        process.kill()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(serve: Callable[..., Served], origin: str, cache: Path) -> Callable[..., Served]:
    """Start on `cache`, or on another path; memory keeps small objects only."""

    def start(path: Path | str | None = None, *, workers: int = 1) -> Served:
        text = f"""
[cache]
ttl = "1h"
memory = {{ max_size = "1MiB", max_object_size = "64KiB" }}
disk = {{ path = "{path or cache}", max_size = "1GiB", block_size = "256KiB" }}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "{origin}"
anonymous = true
"""
        return serve(text, server=f"workers = {workers}")

    return start


def right(served: Served, origin: str, key: str) -> str:
    """Fetch an object, hold it against the origin's, and return X-Cache."""
    answer = httpx.get(f"{served.url}/b/{key}", timeout=30)
    assert answer.status_code == 200
    assert answer.content == httpx.get(f"{origin}/bkt/{key}", timeout=30).content
    return str(answer.headers["x-cache"])


def metric(served: Served, name: str) -> float:
    text = httpx.get(f"{served.admin_url}/metrics").text
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    assert found is not None, name
    return float(found[1])


def errors(served: Served) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in served.stderr().splitlines() if line.startswith("{")]
    return [line for line in lines if line["level"] == "error"]


def settle() -> None:
    time.sleep(0.7)  # Two turns of the flusher.


# Refused at the start


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_server_is_refused_and_told_who_has_it(start: Callable[..., Served], cache: Path, workers: int):
    first = start(workers=workers)
    with pytest.raises(RuntimeError, match=rf"{cache} is in use by process {first.process.pid} on "):
        start()
    assert httpx.get(f"{first.url}/health").status_code == 200
    # A directory is free at once when its holder has been killed, whatever the file says.
    first.process.kill()
    first.process.wait()
    deadline = time.monotonic() + 10
    while True:
        try:
            start()
        except RuntimeError:
            # Workers hold it until they have seen that their supervisor is gone.
            assert workers > 1
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_a_path_that_is_a_file(start: Callable[..., Served], tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("precious")
    for bad in (path, path / "below"):
        with pytest.raises(RuntimeError, match=r"serve ended with \d: (?s:.*)cache\.disk\.path(?s:.*)file"):
            start(bad)
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_made(start: Callable[..., Served]):
    # Nobody makes directories there, root neither.
    with pytest.raises(RuntimeError, match=r"serve ended with 1: yatagarasu: cache\.disk\.path /proc/yatagarasu: "):
        start("/proc/yatagarasu")


# What lies there


def fill(start: Callable[..., Served], origin: str) -> None:
    served = start()
    for key in OBJECTS:
        right(served, origin, key)
    settle()
    assert served.stop() == 0


def files(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "data").rglob("*") if path.is_file())


@pytest.mark.parametrize("suffix", ["", pytest.param("-wal", marks=pytest.mark.slow)])
def test_a_corrupt_index_costs_nothing(start: Callable[..., Served], origin: str, cache: Path, suffix: str):
    fill(start, origin)
    (cache / f"index.sqlite{suffix}").write_bytes(b"nonsense" * 1000)
    served = start()
    assert {key: right(served, origin, key) for key in OBJECTS} == dict.fromkeys(OBJECTS, "HIT")
    settle()
    assert served.stop() == 0
    with sqlite3.connect(cache / "index.sqlite") as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (len(OBJECTS),)
    db.close()


def test_truncated_and_overwritten_files_are_as_if_they_were_not_there(
    start: Callable[..., Served], origin: str, cache: Path
):
    fill(start, origin)
    found = files(cache)
    assert len(found) == len(OBJECTS)
    for number, path in enumerate(found):
        size = path.stat().st_size
        with open(path, "r+b") as file:
            if number % 3 == 0:
                file.truncate(size // 2)
            elif number % 3 == 1:
                file.truncate(0)
            else:
                # What the file says of itself is at its end.
                file.seek(size - 30)
                file.write(b"\xff" * 30)
    served = start()
    assert {right(served, origin, key) for key in OBJECTS} == {"MISS"}
    assert {right(served, origin, key) for key in OBJECTS} == {"HIT"}
    assert metric(served, "yatagarasu_disk_damaged_total") == len(OBJECTS)
    settle()
    assert len(files(cache)) == len(OBJECTS)


@pytest.mark.slow
def test_foreign_files_stay(start: Callable[..., Served], origin: str, cache: Path):
    fill(start, origin)
    foreign = [cache / "notes.txt", cache / "data" / "README", cache / "data" / "ab" / "thesis.docx"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    # One of ours under another's name is nobody's.
    ours = files(cache)[0]
    stray = ours.parent / ("0" * 30)
    shutil.copy(ours, stray)
    served = start()
    assert {right(served, origin, key) for key in OBJECTS} == {"HIT"}
    deadline = time.monotonic() + 10
    while stray.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [path.read_text() for path in foreign] == ["precious"] * 3


# What goes bad later


@pytest.mark.parametrize("workers", [1, 2])
def test_a_directory_that_vanishes_is_made_again(start: Callable[..., Served], origin: str, cache: Path, workers: int):
    served = start(workers=workers)
    right(served, origin, "large")
    settle()
    shutil.rmtree(cache)
    for key in OBJECTS:
        right(served, origin, key)
    deadline = time.monotonic() + 30
    while not files(cache) or not (cache / "index.sqlite").exists():
        assert time.monotonic() < deadline, served.stderr()
        httpx.post(f"{served.admin_url}/cache/purge?all=1")
        right(served, origin, "second")
        settle()
    assert served.stop() == 0


@pytest.mark.slow
def test_a_full_file_system_costs_nobody_a_byte_and_is_left_behind(
    start: Callable[..., Served], origin: str, cache: Path
):
    """A limit on the size of files stands in for it: every write beyond fails, and nothing of root's gets round it."""
    served = start()
    pid = served.process.pid
    right(served, origin, "small")
    settle()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (128 * KIB, resource.RLIM_INFINITY))
    for _ in range(3):
        for key in OBJECTS:
            right(served, origin, key)
    assert metric(served, "yatagarasu_disk_errors_total") > 0
    # Said, but not with every request.
    said = errors(served)
    assert 1 <= len(said) <= 4, said
    assert any("File too large" in json.dumps(line) for line in said)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 60
    while right(served, origin, "large") != "HIT":
        assert time.monotonic() < deadline, served.stderr()
        time.sleep(0.2)
    settle()
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    again = start()
    assert right(again, origin, "large") == "HIT"
