"""An answer that ends, or pauses, at each of its bytes in turn: in a field, a chunk's size, the last CRLF.

Two clients want the object, or one a range of it; what the origin says after that is honest.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from unittest import mock

import pytest
import trio

from tests.fakes import RecordingClient, Rig, WallClock, etag_of
from tests.simulation.streams import MemoryConnection
from yatagarasu.errors import OriginBroken
from yatagarasu.http.ranges import parse_range, resolve
from yatagarasu.http.wire import HeaderBlocks
from yatagarasu.origin.client import S3Origin
from yatagarasu.origin.credentials import Anonymous
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.s3.addressing import resolve_address

DATA = random.Random(11).randbytes(150)
ETAG = etag_of(DATA)
FRAMES = ("length", "chunks", "connection")
# What happens behind the last byte that comes.
STRIKES = ("close", "reset", "stall", "pause")


def encode(frame: str, body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer, framed."""
    head = (
        b"HTTP/1.1 " + status + b"\r\netag: " + ETAG.encode() + b"\r\n" + b"".join(field + b"\r\n" for field in fields)
    )
    if frame == "length":
        return head + b"content-length: %d\r\n\r\n" % len(body) + body
    if frame == "connection":
        return head + b"connection: close\r\n\r\n" + body
    pieces = [body[start : start + 50] for start in range(0, len(body), 50)]
    return (
        head
        + b"transfer-encoding: chunked\r\n\r\n"
        + b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\nx-trailer: y\r\n\r\n"
    )


@dataclass
class ByteOrigin:
    """One object under every key; the first answer for a key is struck behind so many bytes.

    Attributes:
        requests: how often each key was asked for.
    """

    frame: str
    strike: str
    nursery: trio.Nursery

    def __post_init__(self) -> None:
        self.requests: dict[str, int] = {}

    async def connect(self, *_: object, **__: object) -> MemoryConnection:
        """See `yatagarasu.origin.connect.open_connection`."""
        await trio.lowlevel.checkpoint()
        connection = MemoryConnection()
        self.nursery.start_soon(self._serve, connection)
        return connection

    async def _serve(self, connection: MemoryConnection) -> None:
        while True:
            buffer = b""
            while b"\r\n\r\n" not in buffer:
                try:
                    buffer += await connection.up.get(65_536)
                except OriginBroken:
                    return  # The proxy has closed.
            line, _, block = buffer.partition(b"\r\n")
            key = line.split(b" ")[1].rpartition(b"/")[2].decode()
            answer = self._answer(HeaderBlocks().parse(block.removesuffix(b"\r\n")).headers.get("range"))
            self.requests[key] = self.requests.get(key, 0) + 1
            at = int(key) if self.requests[key] == 1 else len(answer)
            if at:
                connection.down.put(answer[:at])
            if at < len(answer):
                await trio.sleep(0.001)  # What was sent before a reset is read before it.
                if self.strike == "stall":
                    await trio.sleep_forever()
                if self.strike != "pause":
                    connection.down.close(reset=self.strike == "reset")
                    return
                connection.down.put(answer[at:])
            if self.frame == "connection":
                connection.down.close()
                return

    def _answer(self, asked: str | None) -> bytes:
        specs = parse_range(asked)
        if specs is None:
            return encode(self.frame, DATA)
        found = resolve(specs, len(DATA))
        if not found:
            return encode(self.frame, b"", b"content-range: bytes */%d" % len(DATA), status=b"416 No")
        [(start, stop)] = found
        return encode(
            self.frame,
            DATA[start:stop],
            b"content-range: bytes %d-%d/%d" % (start, stop - 1, len(DATA)),
            status=b"206 Partial Content",
        )


async def play(
    frame: str, strike: str, ask: Callable[[Rig, str], Awaitable[list[RecordingClient]]], answer: bytes
) -> list[tuple[int, list[RecordingClient], int]]:
    """What became of each position: clients, and the origin's requests."""
    found = []
    async with trio.open_nursery() as nursery:
        origin = ByteOrigin(frame, strike, nursery)
        transport = OriginTransport(first_byte_timeout=1.0)
        address = resolve_address("bkt", "us-east-1", "http://origin.test")
        s3 = S3Origin(
            bucket="bkt", region="us-east-1", address=address, key_prefix="", credentials=Anonymous(),
            transport=transport, clock=WallClock(),
        )  # fmt: skip
        rig = Rig(nursery, s3, settings=FlightSettings(stall_timeout=0.5, block_size=64))  # type: ignore[arg-type]
        with mock.patch("yatagarasu.origin.transport.open_connection", origin.connect):
            for at in range(len(answer) + 1):
                clients = await ask(rig, f"{at:04}")
                found.append((at, clients, origin.requests[f"{at:04}"]))
        await trio.sleep(5)
        assert rig.coalescer.is_idle, repr(rig.coalescer)
        assert all(statistics.in_use == 0 for statistics in transport.statistics().values())
        await transport.aclose()
        nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("frame", FRAMES)
async def test_of_the_whole(autojump_clock, frame: str, strike: str):
    async def ask(rig: Rig, key: str) -> list[RecordingClient]:
        return await rig.herd(2, key)

    answer = encode(frame, DATA)
    for at, clients, requests in await play(frame, strike, ask, answer):
        # A connection's end is as clean as it gets where nothing else frames the body (RFC 9112, section 6.3).
        may_be_short = frame == "connection" and strike == "close" and at >= len(answer) - len(DATA)
        for client in clients:
            assert (client.status, client.is_whole) == (200, True), f"{at} of {len(answer)}"
            body = unchunked(client)
            assert body == (DATA[: len(body)] if may_be_short else DATA), f"{at} of {len(answer)}"
        is_struck = at < len(answer) and strike != "pause" and not may_be_short
        assert requests == 1 + is_struck, f"{at} of {len(answer)}: {requests}"


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("frame", FRAMES)
async def test_of_a_range(autojump_clock, frame: str, strike: str):
    async def ask(rig: Rig, key: str) -> list[RecordingClient]:
        return [await rig.ask(key, range="bytes=70-120")]

    start, stop = 64, 128  # Blocks of 64.
    content_range = b"content-range: bytes %d-%d/%d" % (start, stop - 1, len(DATA))
    answer = encode(frame, DATA[start:stop], content_range, status=b"206 Partial Content")
    for at, [client], requests in await play(frame, strike, ask, answer):
        assert (client.status, client.is_whole, client.body) == (206, True, DATA[70:121]), f"{at} of {len(answer)}"
        assert requests <= 1 + (at < len(answer) and strike != "pause"), f"{at} of {len(answer)}: {requests}"


def unchunked(client: RecordingClient) -> bytes:
    """The body, whichever way it was framed for the client."""
    body, data = client.body, b""
    if client.header("transfer-encoding") is None:
        return body
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if size == 0:
            assert body == b"\r\n"
            return data
        data, body = data + body[:size], body[size + 2 :]
