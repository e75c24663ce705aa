"""Nobody waits for who reads the log: pipes that are full, have a stopped reader, or none any more."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from yatagarasu.observe.access_log import AccessLog
from yatagarasu.observe.log import Log
from yatagarasu.observe.sink import Sink

LINES = b"".join(b"%06d %s\n" % (number, b"x" * (number % 700)) for number in range(2_000))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends; the reading one does not block."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def read_all(fd: int) -> bytes:
    data = b""
    try:
        while more := os.read(fd, 65_536):
            data += more
    except BlockingIOError:
        pass
    return data


def test_a_file_takes_everything(tmp_path: Path):
    with open(tmp_path / "log", "wb") as file:
        assert Sink(file.fileno()).write(LINES) == len(LINES)
    assert (tmp_path / "log").read_bytes() == LINES


def test_a_pipe_takes_whole_lines_until_it_is_full(pipe: tuple[int, int]):
    reading, writing = pipe
    sink, data, got = Sink(writing), LINES, b""
    while data:
        taken = sink.write(data)
        assert taken
        assert data[:taken].endswith(b"\n")
        data = data[taken:]
        assert not data or not sink.is_ready()
        got += read_all(reading)
    assert got == LINES
    assert os.get_blocking(writing)  # It is shared with others.


def test_a_line_that_is_longer_than_a_piece_goes_out_all_the_same(pipe: tuple[int, int]):
    reading, writing = pipe
    line = b"y" * 100_000 + b"\n"
    sink, data, got = Sink(writing), line, b""
    while data:
        data = data[sink.write(data) :]
        got += read_all(reading)
    assert got == line


def test_a_pipe_without_a_reader_swallows(pipe: tuple[int, int]):
    os.close(pipe[0])
    assert Sink(pipe[1]).write(LINES) == len(LINES)


def test_a_lock_that_another_process_holds_is_not_waited_for(pipe: tuple[int, int], tmp_path: Path):
    ours, theirs = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    fcntl.flock(theirs, fcntl.LOCK_EX)
    sink = Sink(pipe[1], ours)
    assert sink.write(b"line\n") == 0
    fcntl.flock(theirs, fcntl.LOCK_UN)
    assert sink.write(b"line\n") == 5
    fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)  # It was given back.
    for fd in (ours, theirs):
        os.close(fd)


def test_the_access_log_goes_on_where_it_was(pipe: tuple[int, int]):
    from yatagarasu.http.headers import Headers

    reading, writing = pipe
    log, none = AccessLog(Sink(writing).write), Headers()
    for number in range(3_000):
        log.record(1e9, str(number), "::1", "GET", "/b/k", "b", "k", 200, 5, 0.1, "hit", none, "")
    got = b""
    for _ in range(100):
        log.flush()
        got += read_all(reading)
    assert [int(json.loads(line)["request_id"]) for line in got.splitlines()] == list(range(3_000))


def test_the_error_log_drops_and_counts_what_nobody_takes(pipe: tuple[int, int]):
    reading, writing = pipe
    with os.fdopen(os.dup(writing), "w") as stream:
        log = Log(stream=stream)
        for number in range(5_000):
            log.info("event", number=number, filler="z" * 100)
        assert log.dropped > 0
        written = [json.loads(line)["number"] for line in read_all(reading).splitlines()[:-1]]
        assert written == list(range(len(written)))
        log.info("event", number=-1)
        last = read_all(reading).splitlines()[-1]
        assert json.loads(last)["number"] == -1
