"""The server that connections are played against: its origin, what is in its cache, and one that knows nothing."""

import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import trio
from trio.testing import MockClock

from tests.fakes import Play, Rig, ScriptedOrigin, ScriptedResponse, inline, silent_log
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.entry import Entry
from yatagarasu.cache.policy import Timing
from yatagarasu.http.headers import Headers
from yatagarasu.observe.access_log import AccessLog
from yatagarasu.origin.client import OriginRequest
from yatagarasu.proxy.cors import Cors
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.hot import NeverHot
from yatagarasu.proxy.pipeline import Pipeline, Request, Result
from yatagarasu.proxy.reader import Client
from yatagarasu.proxy.router import Line, Route, Router
from yatagarasu.server import connection as connection_module
from yatagarasu.server import sending as sending_module
from yatagarasu.server.forwarded import parse_networks
from yatagarasu.server.reactor import Handler, Limits, Reactor

KIB = 1024
# Small, so that an input of a few hundred bytes can be over them.
_LIMITS = Limits(max_head_bytes=768, max_target_bytes=192, trusted_proxies=parse_networks(["127.0.0.0/8"]))
# The same for what is read, sent and copied at once: the pieces of a turn are some dozens of bytes.
_SMALL = {"_RECV_BYTES": 96, "_TURN_BYTES": 4 * KIB, "_JOIN_BYTES": 512, "_READS_A_TURN": 2}
_SMALL_FILE_BYTES = 3 * KIB
_SETTINGS = FlightSettings(block_size=4 * KIB, abandon_grace=0.1)
_MEMORY_OBJECT = 4 * KIB

_OBJECTS = {
    name: random.Random(size).randbytes(size)
    for name, size in {
        "k": 300, "mid": 3 * KIB, "file": 20 * KIB, "empty": 0, "old": 200, "private": 100, "vary": 90, "chunked": 500,
        "far": 9 * KIB,
    }.items()
}  # fmt: skip
# In the cache from the start: in memory, but for one that is too large for it.
_STORED = ("k", "mid", "file", "empty", "old")
_PLAYS = {
    "k": Play(headers=[("content-type", "text/plain"), ("x-amz-checksum-crc32", "AAAAAA==")]),
    "old": Play(headers=[("cache-control", "max-age=0")]),
    "private": Play(headers=[("cache-control", "private")]),
    # Never stored, for what is stored has a length.
    "chunked": Play(without=["content-length"], headers=[("cache-control", "private")]),
}
_PLAIN = Play()


@dataclass(frozen=True)
class Served:
    """A core behind two reactors: one that never knows anything by its bytes, and one that gets to know them."""

    rig: Rig
    cold: Reactor
    warm: Reactor


@dataclass(frozen=True)
class Stored:
    """Entries, and the folder of those on disk, which goes when this does."""

    entries: Sequence[Entry]
    folder: tempfile.TemporaryDirectory[str]


class Records(AccessLog):
    """Keeps status and size of each line."""

    def __init__(self) -> None:
        super().__init__(lambda batch: None)
        self.lines: list[tuple[int, int]] = []

    def record(self, *values: Any) -> None:  # type: ignore[override]
        self.lines.append((values[7], values[8]))


class _Origin(ScriptedOrigin):
    """Has its play for each key; says for whom an answer is where it is not for everybody."""

    async def open(self, request: OriginRequest) -> ScriptedResponse:
        self.default = _PLAYS.get(request.object_key, _PLAIN)
        given = Headers(request.headers)
        if request.object_key == "vary":
            self.default = Play(headers=[("vary", "accept-language"), ("x-for", given.get("accept-language", ""))])
        elif "x-tenant" in given:
            self.default = Play(headers=[("x-for", given.get("x-tenant", ""))])
        return await super().open(request)


class _Cold(NeverHot):
    """Takes the long way with every request."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.line: Callable[[bytes], Line] = pipeline.line
        self.new_id: Callable[[], str] = pipeline.new_id

    async def handle(self, request: Request, client: Client) -> Result:
        return await self._pipeline.handle(request, client)


@cache
def stored() -> Stored:
    """What is in the cache from the start, fetched once; not to be called within trio."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")

    async def fill() -> Sequence[Entry]:
        disk = _disk(folder.name)
        flusher = Flusher(disk, blocking=inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(flusher.run)
            rig = Rig(nursery, _Origin(_OBJECTS), disk=disk, flusher=flusher, max_memory_object=_MEMORY_OBJECT)
            for key in _STORED:
                await rig.ask(key)
            await flusher.flush()
            entries = [rig.tiers.get(f"b\0{key}\0") for key in _STORED]
            nursery.cancel_scope.cancel()
        found = [entry for entry in entries if entry is not None]
        assert len(found) == len(_STORED), "not all of it was stored"
        return found

    return Stored(trio.run(fill, clock=MockClock(autojump_threshold=0)), folder)


def _disk(folder: str) -> DiskTier:
    settings = DiskSettings(
        path=folder,
        max_size=64 * KIB * KIB,
        max_object_size=KIB * KIB,
        block_size=4 * KIB,
        memory_object_size=_MEMORY_OBJECT,
    )
    return DiskTier(settings, log=silent_log())


@contextlib.asynccontextmanager
async def opened(stored: Stored) -> AsyncIterator[Served]:
    """A running server with that in its cache."""
    origin, cors, timing = _Origin(_OBJECTS), Cors(("https://app.example",)), Timing(ttl=3600.0)
    disk = _disk(stored.folder.name)
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery, origin, disk=disk, settings=_SETTINGS, max_memory_object=_MEMORY_OBJECT)
        rig.pipeline.router = Router(
            [
                Route("b", "/b", origin, timing=timing, cors=cors, forwarded=frozenset(("accept-language",))),
                Route("q", "/q", origin, timing=timing, keyed=("x-tenant",), forwarded=frozenset(("x-tenant",))),
            ]
        )
        for entry in stored.entries:
            rig.tiers.put(entry)
        served = Served(rig, _reactor(_Cold(rig.pipeline), nursery, rig), _reactor(rig.pipeline, nursery, rig))
        nursery.start_soon(served.cold.run)
        nursery.start_soon(served.warm.run)
        yield served
        nursery.cancel_scope.cancel()


def _reactor(handler: Handler, nursery: trio.Nursery, rig: Rig) -> Reactor:
    log = rig.coalescer._log
    return Reactor([], handler=handler, limits=_LIMITS, nursery=nursery, metrics=rig.metrics, log=log)


@contextlib.contextmanager
def small_turns() -> Iterator[None]:
    """What connections read and write at once is little."""
    with (
        mock.patch.multiple(connection_module, **_SMALL),
        mock.patch.object(sending_module, "FILE_BYTES", _SMALL_FILE_BYTES),
    ):
        yield
