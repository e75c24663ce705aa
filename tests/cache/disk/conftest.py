"""A disk tier on a real directory, as one process after the other opens it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from yatagarasu.cache.body import MemoryBody
from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.entry import Entry, Lifetime
from yatagarasu.http.headers import Headers
from yatagarasu.observe.log import Log

KIB = 1024
MIB = 1024 * KIB


class Lines:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@dataclass
class Disk:
    """A running tier; `log` is what it said."""

    tier: DiskTier
    flusher: Flusher
    log: Lines = field(default_factory=Lines)

    async def known(self) -> None:
        """Return once everything on disk has been taken in."""
        with trio.fail_after(10):
            while not self.tier.knows_all:
                await trio.sleep(0.005)

    def fill(self, entry: Entry, data: bytes, *runs: tuple[int, int]) -> Entry:
        """Hold `entry` with a body of these runs of `data`, as a flight would; it is still being filled."""
        body = self.tier.new_body(entry.key, len(data))
        assert body is not None
        entry = entry.with_body(body)
        self.tier.put(entry)
        for start, stop in runs or [(0, len(data))]:
            for at in range(start, stop, 100_000):
                body.write(at, data[at : min(stop, at + 100_000)])
        return entry


def small(key: str, data: bytes, **fields: str) -> Entry:
    """An entry in memory."""
    pairs = [("etag", f'"{len(data)}"'), *((name.replace("_", "-"), value) for name, value in fields.items())]
    headers = Headers(pairs)
    return Entry(key, 200, headers, MemoryBody.of(data), len(data), 1e9, 0.0, Lifetime(60.0), headers.get("etag"))


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Any]:
    """Open the directory as a process would, for as long as the context lasts; `clean` ends it in good order."""

    @asynccontextmanager
    async def open_disk(*, clean: bool = True, **settings: Any) -> AsyncIterator[Disk]:
        lines = Lines()
        numbers = {"max_size": 64 * MIB, "max_object_size": 32 * MIB, **settings}
        share = numbers.pop("share", None)
        tier = DiskTier(
            DiskSettings(path=str(tmp_path / "cache"), **numbers),
            log=Log(level="debug", stream=lines),  # type: ignore[arg-type]
            share=share,
        )
        flusher = Flusher(tier)
        async with trio.open_nursery() as nursery:
            await nursery.start(flusher.run)
            yield Disk(tier, flusher, lines)
            nursery.cancel_scope.cancel()
        if clean:
            await flusher.aclose()

    return open_disk


def bytes_of(entry: Entry, start: int = 0, stop: int | None = None) -> bytes:
    """An entry's present bytes."""
    body, data, pos = entry.body, bytearray(), start
    stop = body.size if stop is None else stop
    assert stop is not None
    while pos < stop:
        data += body.view(pos, stop)
        pos = start + len(data)
    return bytes(data)


def body_of(entry: Any) -> DiskBody:
    assert isinstance(entry, Entry)
    assert isinstance(entry.body, DiskBody)
    return entry.body
