"""Answers of which every byte is there go out without a task: whole or one range, out of memory or a file."""

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.server.conftest import Proxy, run_proxy
from yatagarasu.http.wire import split_range
from yatagarasu.server import sending

SMALL = random.Random(1).randbytes(50_000)
LARGE = random.Random(2).randbytes(9 * 1024 * 1024 + 77)


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    disk = {"path": str(tmp_path / "cache"), "max_size": 64 * 1024 * 1024}
    async with run_proxy(cache={"ttl": "1h", "disk": disk}) as running:
        running.store.put("bkt", "small", SMALL)
        running.store.put("bkt", "large", LARGE)
        for key in ("small", "large"):
            await running.get(f"/b/{key}")
        running.access.clear()
        yield running


class Session:
    """One keep-alive connection that asks and reads answers one by one."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = bytearray()

    async def send(self, target: str, *fields: str, method: str = "GET") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: test", *fields]
        await self.stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._data:
            await self._more()
        head, _, rest = bytes(self._data).partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        size = 0 if method == "HEAD" else int(fields.get("content-length", 0))
        self._data = bytearray(rest)
        while len(self._data) < size:
            await self._more()
        body = bytes(self._data[:size])
        del self._data[:size]
        return int(status_line.split()[1]), fields, body

    async def ask(self, target: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        await self.send(target, *fields, method=method)
        return await self.answer(method)

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        assert data, "closed in the middle"
        self._data += data


@pytest.fixture
async def session(proxy: Proxy, tasks: list[str]) -> AsyncIterator[Session]:
    """A connection whose fields have been seen, with a range and without."""
    with trio.fail_after(20):
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            found = Session(stream)
            for key in ("small", "large"):
                await found.ask(f"/b/{key}")
                await found.ask(f"/b/{key}", "Range: bytes=0-0")
            tasks.clear()
            yield found


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of answers that took a task; none should."""
    from yatagarasu.server.connection import Connection

    seen: list[str] = []
    start = Connection._start

    def spy(self: Connection, work: object, *args: object) -> None:
        seen.append(getattr(work, "__name__", ""))
        start(self, work, *args)

    monkeypatch.setattr(Connection, "_start", spy)
    return seen


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=0-": (0, None),
    "bytes=100-199": (100, 200),
    "bytes=49990-": (49_990, None),
    "bytes=-7": (-7, None),
    "bytes=-99999999999": (0, None),
    "bytes=10-99999999999": (10, None),
}


@pytest.mark.parametrize("key", ["small", "large"])
@pytest.mark.parametrize("field", RANGES)
async def test_one_range(session: Session, tasks: list[str], key: str, field: str):
    data = {"small": SMALL, "large": LARGE}[key]
    start, stop = RANGES[field]
    expected = data[start:stop]
    first = len(data) - len(expected) if stop is None else start
    status, fields, body = await session.ask(f"/b/{key}", f"Range: {field}")
    assert (status, body) == (206, expected)
    assert fields["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(data)}"
    assert fields["x-cache"] == "HIT"
    assert fields["accept-ranges"] == "bytes"
    assert tasks == []


async def test_the_very_range_that_fields_were_first_seen_with(session: Session, tasks: list[str]):
    """The section is known with it then, and is no plain one; it is known without it, too."""
    fields = ("X-New: fields", "Range: bytes=5-9")
    assert (await session.ask("/b/small", *fields))[2] == SMALL[5:10]
    assert tasks == ["_respond"]
    assert (await session.ask("/b/small", *fields))[2] == SMALL[5:10]
    assert tasks == ["_respond"]


@pytest.mark.parametrize("key", ["small", "large"])
async def test_it_says_what_the_long_way_says(session: Session, tasks: list[str], key: str):
    """Field by field, but for the request id: a header nobody has sent before takes the long way."""
    for number, extra in enumerate(((), ("Range: bytes=5-9",), ("Range: bytes=-9",))):
        short = await session.ask(f"/b/{key}", *extra)
        assert tasks == []
        long = await session.ask(f"/b/{key}", *extra, f"X-New: {number}")
        assert tasks == ["_respond"]
        tasks.clear()
        assert {**short[1], "x-request-id": ""} == {**long[1], "x-request-id": ""}
        assert (short[0], short[2]) == (long[0], long[2])


async def test_checksums_of_the_whole_are_not_those_of_a_part(proxy: Proxy, session: Session, tasks: list[str]):
    proxy.store.put("bkt", "summed", SMALL, headers={"x-amz-checksum-crc32": "AAAAAA==", "content-md5": "x"})
    await session.ask("/b/summed")
    tasks.clear()
    whole = await session.ask("/b/summed")
    part = await session.ask("/b/summed", "Range: bytes=0-9")
    assert tasks == []
    assert whole[1]["x-amz-checksum-crc32"] == "AAAAAA=="
    assert "x-amz-checksum-crc32" not in part[1]
    assert "content-md5" not in part[1]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Range: bytes=99999999-",), 416),
        (("Range: bytes=-0",), 416),
        (("Range: bytes=9-5",), 200),
        (("Range: bytes=0-1,5-9",), 206),
        (("Range: items=0-1",), 200),
        (("Range: bytes=-",), 200),
        (("Range: bytes=0-9", "Range: bytes=0-9"), None),
        (("Range: bytes=0-9", 'If-Range: "other"'), 200),
        (("Range: bytes=0-9", "If-None-Match: *"), 304),
        (("Range: bytes=0-9", 'If-Match: "other"'), 412),
        (('If-Range: "other"', "Range: bytes=0-9"), 200),
        (("Range: bytes=0-9", "Origin: https://app.example"), 206),
    ],
)
async def test_what_is_more_than_that_takes_the_long_way(
    session: Session, tasks: list[str], fields: tuple[str, ...], status: int | None
):
    for _ in range(2):  # The second time its fields have been seen.
        answer = await session.ask("/b/large", *fields)
        assert tasks
        tasks.clear()
        if status is not None:
            assert answer[0] == status
        if "Origin: https://app.example" in fields:
            assert answer[1]["access-control-allow-origin"] == "https://app.example"


async def test_a_pipeline_of_all_kinds_is_answered_in_order(session: Session, tasks: list[str]):
    asked = [
        ("/b/large", ()),
        ("/b/small", ("Range: bytes=1-9",)),
        ("/b/large", ("Range: bytes=1048570-3145728",)),
        ("/b/small", ()),
        ("/b/large", ()),
    ]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask_all() -> None:
            for target, fields in asked:
                await session.send(target, *fields)

        bodies = [(await session.answer())[2] for _ in asked]
    assert bodies == [LARGE, SMALL[1:10], LARGE[1_048_570:3_145_729], SMALL, LARGE]
    assert tasks == []


async def test_head(session: Session, tasks: list[str]):
    status, fields, _ = await session.ask("/b/large", method="HEAD")
    tasks.clear()
    status, fields, _ = await session.ask("/b/large", method="HEAD")
    assert (status, fields["content-length"], fields["x-cache"]) == (200, str(len(LARGE)), "HIT")
    assert tasks == []
    # RFC 9110, section 14.2: a range is defined for GET alone.
    assert (await session.ask("/b/large", "Range: bytes=0-9", method="HEAD"))[0] == 200


async def test_a_request_to_close_is_heeded(proxy: Proxy):
    for _ in range(2):
        status, fields, body = await proxy.get("/b/large")
        assert (status, fields["connection"], body) == (200, "close", LARGE)
    status, fields, body = await proxy.get("/b/large", "Range: bytes=-5")
    assert (status, fields["connection"], body) == (206, "close", LARGE[-5:])


async def test_a_slow_client_gets_every_byte_and_one_line_in_the_log(proxy: Proxy, session: Session):
    await trio.sleep(0.3)
    proxy.access.clear()
    await session.send("/b/large")
    await trio.sleep(0.3)
    assert (await session.answer())[2] == LARGE
    assert (await session.ask("/b/small"))[2] == SMALL
    lines = await logged(proxy, 2)
    assert [(line["status"], line["bytes"]) for line in lines] == [(200, len(LARGE)), (200, len(SMALL))]
    assert lines[0]["seconds"] >= 0.25


@pytest.mark.parametrize("resets", [False, True])
async def test_a_client_that_leaves_is_noted_and_forgotten(proxy: Proxy, session: Session, resets: bool):
    await trio.sleep(0.3)
    proxy.access.clear()
    await session.send("/b/large")
    await session.stream.receive_some(1000)
    if resets:
        import struct

        session.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    await session.stream.aclose()
    lines = await logged(proxy, 1)
    assert lines[0]["bytes"] < len(LARGE)
    assert lines[0]["cause"]
    with trio.fail_after(5):
        while proxy.system.reactor.connections:
            await trio.sleep(0.01)


async def test_a_client_that_takes_nothing_is_given_up(tmp_path: Path):
    disk = {"path": str(tmp_path / "cache"), "max_size": 256 * 1024 * 1024}
    async with run_proxy(server={"write_timeout": "500ms"}, cache={"ttl": "1h", "disk": disk}) as proxy:
        proxy.store.put_pattern("bkt", "huge", 64 * 1024 * 1024)
        await proxy.get("/b/huge")
        with trio.fail_after(20):
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                session = Session(stream)
                await session.ask("/b/huge")
                await session.send("/b/huge")
                while proxy.system.reactor.connections:
                    await trio.sleep(0.05)
        lines = await logged(proxy, 3)
        assert lines[-1]["cause"] == "the client took no byte for write_timeout"


async def test_a_file_that_has_shrunk_never_looks_whole(
    proxy: Proxy, session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sending.os, "sendfile", lambda *args: 0)
    await session.send("/b/large")
    with pytest.raises((trio.BrokenResourceError, AssertionError)):
        await session.answer()


async def logged(proxy: Proxy, count: int) -> list[dict[str, object]]:
    with trio.fail_after(5):
        while True:
            lines = [json.loads(line) for line in b"".join(proxy.access).splitlines()]
            if len(lines) >= count:
                return lines
            await trio.sleep(0.02)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (b"Host: a\r\nRange: bytes=0-9\r\n", (b"Host: a\r\n", 0, 9)),
        (b"range:bytes=5-\r\nHost: a\r\n", (b"Host: a\r\n", 5, None)),
        (b"Host: a\r\nRange:  bytes=-5 \r\nB: c\r\n", (b"Host: a\r\nB: c\r\n", None, 5)),
        (b"Host: a\r\n", None),
        (b"X-Range: bytes=0-9\r\n", None),
        (b"Host: a\nRange: bytes=0-9\r\n", None),
        (b"Range: bytes=0-9,11-12\r\n", None),
        (b"Range: bytes=+1-9\r\n", None),
        (b"Range: bytes=1-\xb2\r\n", None),
        (b"Range : bytes=0-9\r\n", None),
        (b"Range: bytes=-\r\n", None),
        (b"Range: bytes=0-9", None),
        (b"Range: bytes=0-9999999999999999\r\n", None),
        # What is left holds the second one, so it is no plain section.
        (b"Range: bytes=0-9\r\nRange: bytes=1-2\r\n", (b"Range: bytes=1-2\r\n", 0, 9)),
    ],
)
def test_the_line_with_the_range_is_taken_out(block: bytes, found: object):
    assert split_range(block) == found
