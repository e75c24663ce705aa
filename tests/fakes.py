"""Fakes with the real signatures: an origin that plays a script, a client that records. No logic of their own."""

import hashlib
import random
from builtins import list as List
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from yatagarasu.cache.body import Bytes
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskTier
from yatagarasu.cache.memory import MemoryTier
from yatagarasu.cache.policy import Timing
from yatagarasu.cache.tiers import Tiers
from yatagarasu.errors import ClientGone, OriginBroken, OriginError
from yatagarasu.http.conditional import Outcome, evaluate
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.ranges import format_content_range, parse_range, resolve
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.observe.access_log import AccessLog
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.client import OriginRequest
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.pipeline import Pipeline, Request, Result
from yatagarasu.proxy.router import Route, Router

EPOCH = 1_790_000_000.0


class WallClock:
    """Epoch seconds that follow trio's clock: sleeping ages entries."""

    def __call__(self) -> float:
        return EPOCH + trio.current_time()


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@dataclass
class Play:
    """One answer of the scripted origin; the default is S3's own.

    `latency` seconds before the head; `chunk_seconds` before each chunk; `cut_after` bytes the answer breaks;
    `stall_after` bytes it falls silent; `status` answers that instead; `error` is raised instead of a head.
    """

    latency: float = 0.0
    chunk_bytes: int = 64 * 1024
    chunk_seconds: float = 0.0
    cut_after: int | None = None
    stall_after: int | None = None
    status: int | None = None
    error: OriginError | None = None
    headers: Sequence[Pair] = ()
    without: Sequence[str] = ()
    ignores_range: bool = False
    wrong_start: int = 0
    then: Callable[[], None] | None = None


class ScriptedResponse:
    """An answer as the flights see it."""

    def __init__(self, status: int, headers: Headers, data: bytes, play: Play, origin: "ScriptedOrigin") -> None:
        self.status, self.headers, self.endpoint = status, headers, origin.endpoint
        self._data, self._play, self._origin, self._pos = data, play, origin, 0

    def take_buffered(self) -> bytes:
        return b""

    async def receive_some(self) -> bytes:
        play = self._play
        await trio.lowlevel.checkpoint()
        if play.chunk_seconds:
            await trio.sleep(play.chunk_seconds)
        end = min(len(self._data), self._pos + play.chunk_bytes)
        for limit in (play.cut_after, play.stall_after):
            if limit is not None:
                end = min(end, limit)
        chunk = self._data[self._pos : end]
        self._pos = end
        self._origin.sent_bytes += len(chunk)
        if chunk:
            return chunk
        if play.stall_after is not None and self._pos >= play.stall_after:
            await trio.sleep_forever()
        if play.cut_after is not None and self._pos >= play.cut_after:
            raise OriginBroken("the connection was reset")
        return b""

    async def aclose(self) -> None:
        self._origin.open_responses -= 1


@dataclass
class ScriptedOrigin:
    """An S3 bucket of one dictionary. `plays` are used up one a request, `default` after them."""

    objects: dict[str, bytes] = field(default_factory=dict)
    plays: list[Play] = field(default_factory=list)
    default: Play = field(default_factory=Play)
    endpoint: str = "http://origin.test"
    key_prefix: str = ""
    requests: list[OriginRequest] = field(default_factory=list)
    sent_bytes: int = 0
    open_responses: int = 0
    last_modified: str = "Sun, 06 Nov 1994 08:49:37 GMT"

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    async def list(self, query: str) -> ScriptedResponse:
        raise AssertionError("nobody lists")

    async def open(self, request: OriginRequest) -> ScriptedResponse:
        self.requests.append(request)
        play = self.plays.pop(0) if self.plays else self.default
        await trio.sleep(play.latency)
        if play.then is not None:
            play.then()
        if play.error is not None:
            raise play.error
        self.open_responses += 1
        status, pairs, data = self._answer(request, play)
        gone = {*play.without, *(name for name, _ in play.headers)}
        pairs = [pair for pair in pairs if pair[0] not in gone] + list(play.headers)
        return ScriptedResponse(status, Headers(pairs), b"" if request.method == "HEAD" else data, play, self)

    def _answer(self, request: OriginRequest, play: Play) -> "tuple[int, List[Pair], bytes]":
        if play.status is not None:
            return play.status, [("content-length", "0")], b""
        data = self.objects.get(request.object_key)
        if data is None:
            return 404, [("content-length", "0")], b""
        headers = Headers(request.headers)
        etag = etag_of(data)
        pairs: List[Pair] = [("etag", etag), ("last-modified", self.last_modified)]
        outcome = evaluate(request.method, headers, etag=etag, last_modified=self.last_modified)
        if outcome is Outcome.NOT_MODIFIED:
            return 304, pairs, b""
        if outcome is Outcome.PRECONDITION_FAILED:
            return 412, [("content-length", "0")], b""
        specs = parse_range(headers.get("range"))
        if specs is None or play.ignores_range:
            return 200, [*pairs, ("content-length", str(len(data)))], data
        found = resolve(specs, len(data))
        if not found:
            return 416, [("content-range", f"bytes */{len(data)}"), ("content-length", "0")], b""
        start, stop = found[0]
        shown = format_content_range(start + play.wrong_start, stop + play.wrong_start, len(data) + play.wrong_start)
        return 206, [*pairs, ("content-range", shown), ("content-length", str(stop - start))], data[start:stop]


class RecordingClient:
    """A client that takes bytes, perhaps slowly, perhaps not for long."""

    def __init__(self, *, bytes_per_second: float | None = None, leaves_after: int | None = None) -> None:
        self.data = bytearray()
        self.first_byte_at: float | None = None
        self.finished_at: float | None = None
        self.result: Result | None = None
        self._bytes_per_second = bytes_per_second
        self._leaves_after = leaves_after

    async def send(self, *parts: Bytes) -> None:
        await trio.lowlevel.checkpoint()
        for part in parts:
            if len(part) and self.first_byte_at is None:
                self.first_byte_at = trio.current_time()
            self.data += part
            if self._bytes_per_second is not None:
                await trio.sleep(len(part) / self._bytes_per_second)
            if self._leaves_after is not None and len(self.data) > self._leaves_after:
                raise ClientGone

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        import os

        stop = offset + count
        while offset < stop:
            piece = os.pread(fd, min(stop - offset, 64 * 1024), offset)
            await self.send(piece)
            offset += len(piece)
        return count

    @property
    def head(self) -> bytes:
        return bytes(self.data).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return bytes(self.data).partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key == name:
                return value
        return None

    @property
    def is_whole(self) -> bool:
        """What a careful client would say: clean end and every promised byte."""
        if self.result is None or not self.result.is_clean:
            return False
        length = self.header("content-length")
        return length is None or len(self.body) == int(length)


class Rig:
    """The proxy's core around a scripted origin, without sockets."""

    def __init__(
        self,
        nursery: trio.Nursery,
        origin: ScriptedOrigin,
        *,
        settings: FlightSettings | None = None,
        timing: Timing | None = None,
        memory_bytes: int = 64 * 1024 * 1024,
        max_memory_object: int = 1024 * 1024,
        temporary_directory: str | None = None,
        disk: DiskTier | None = None,
        flusher: Flusher | None = None,
        **route: object,
    ) -> None:
        self.origin = origin
        self.metrics = Metrics()
        self.log_lines: list[str] = []
        self.settings = settings or FlightSettings()
        self.tiers = Tiers(
            MemoryTier(memory_bytes, max_memory_object),
            disk,
            flusher,
            max_memory_object=max_memory_object,
            temporary_directory=temporary_directory,
        )
        log = Log(level="debug", stream=_Lines(self.log_lines))  # type: ignore[arg-type]
        clock = WallClock()
        self.access: list[bytes] = []
        self.coalescer = Coalescer(
            nursery,
            tiers=self.tiers,
            settings=self.settings,
            metrics=self.metrics,
            log=log,
            clock=clock,
            rng=random.Random(7),
        )
        self.access_log = AccessLog(self.access.append)
        self.pipeline = Pipeline(
            router=Router(
                [
                    Route(
                        bucket="b",
                        path_prefix="/b",
                        origin=origin,
                        timing=timing or Timing(ttl=3600.0),
                        **route,  # type: ignore[arg-type]
                    )
                ]
            ),
            tiers=self.tiers,
            coalescer=self.coalescer,
            metrics=self.metrics,
            access_log=self.access_log,
            log=log,
            probe=_probe,
            clock=clock,
        )
        self._ids = 0

    async def ask(
        self, key: str = "k", *, method: str = "GET", client: RecordingClient | None = None, **headers: str
    ) -> RecordingClient:
        """Play one request to its end; header names have `_` for `-`."""
        client = client or RecordingClient()
        self._ids += 1
        pairs = [("host", "test"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        request = Request(
            self.pipeline.line(f"{method} /b/{key} HTTP/1.1".encode()),
            HeaderBlock(Headers(pairs)),
            f"id{self._ids}",
            "127.0.0.1",
            True,
            WallClock()(),
            trio.current_time(),
        )
        client.result = await self.pipeline.handle(request, client)
        client.finished_at = trio.current_time()
        return client

    async def herd(self, count: int, key: str = "k", *, apart: float = 0.0, **headers: str) -> list[RecordingClient]:
        """`count` clients, `apart` seconds apart, each to its end."""
        clients = [RecordingClient() for _ in range(count)]

        async def one(index: int) -> None:
            await trio.sleep(apart * index)
            await self.ask(key, client=clients[index], **headers)

        async with trio.open_nursery() as nursery:
            for index in range(count):
                nursery.start_soon(one, index)
        return clients

    async def settle(self) -> None:
        """Let what is abandoned go, then hold that nothing is left (F12)."""
        await trio.sleep(5)
        assert self.coalescer.is_idle, repr(self.coalescer)
        assert self.coalescer.waiting == 0
        assert self.origin.open_responses == 0


async def _probe(path: str) -> tuple[int, bytes]:
    await trio.lowlevel.checkpoint()
    return 200, b"{}"


def silent_log() -> Log:
    """A log that nobody reads."""
    return Log(stream=_Lines([]))  # type: ignore[arg-type]


async def inline(work: Callable[[], Any]) -> Any:
    """Do blocking work on the spot, for clocks that do not wait for threads; a `cache.disk.flush.Blocking`."""
    await trio.lowlevel.checkpoint()
    return work()


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, text: str) -> None:
        self._lines.append(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False
