"""Requests of our own: what a client's request would bring into the cache, without a client.

They find, join and launch flights as clients' requests do, and count as readers while they last.
"""

from collections.abc import Callable
from dataclasses import dataclass

from yatagarasu.cache.body import Bytes
from yatagarasu.cache.entry import Entry
from yatagarasu.cache.tiers import Tiers
from yatagarasu.errors import ObjectChanged
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.finder import Finder, Found
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.reader import Reader
from yatagarasu.proxy.response import plan
from yatagarasu.proxy.router import Line

_MAX_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Brought:
    """What an errand came back with: `size` bytes were asked for and are there; `refusal` says why none were."""

    outcome: CacheOutcome
    size: int = 0
    is_kept: bool = True
    refusal: str | None = None


class _Nobody:
    """A client that takes everything at once."""

    async def send(self, *parts: Bytes) -> None:
        """Take nothing."""

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Take nothing."""
        return count


_NOBODY = _Nobody()


class Errands:
    """Runs errands.

    Args:
        is_alone: no other worker holds what this one does not.
    """

    def __init__(self, finder: Finder, coalescer: Coalescer, tiers: Tiers, *, is_alone: bool = True) -> None:
        self._finder = finder
        self._coalescer = coalescer
        self._tiers = tiers
        self._is_alone = is_alone

    async def run(
        self, line: Line, block: HeaderBlock, request_id: str, refuses: Callable[[Entry], str | None]
    ) -> Brought:
        """Have what a GET or HEAD asks for in the cache.

        Args:
            refuses: asked once the head is known; a reason leaves the body where it is.

        Raises:
            YatagarasuError: it cannot be had.

        Cancellation leaves no hold behind.
        """
        if line.error is not None:
            raise line.error.for_waiter()
        for restarts_left in reversed(range(_MAX_RESTARTS)):
            try:
                found = await self._finder.find(line, block, request_id)
                async with found:
                    return await self._bring(line, block, found, refuses)
            except ObjectChanged:
                if not restarts_left:
                    raise
        raise AssertionError("unreachable")

    async def _bring(
        self, line: Line, block: HeaderBlock, found: Found, refuses: Callable[[Entry], str | None]
    ) -> Brought:
        entry = found.entry
        if found.negative is not None:
            raise found.negative
        refusal = refuses(entry)
        if refusal is not None:
            return Brought(found.outcome, refusal=refusal)
        if line.method == "HEAD":
            if found.outcome is not CacheOutcome.PASS:
                self._tiers.keep_head(entry)
            return Brought(found.outcome, is_kept=self._is_kept(found))
        stretches = plan(line.method, block, entry).stretches
        outcome = found.outcome_of(stretches)
        reader = Reader(_NOBODY, entry, self._coalescer, found.lease, b"")
        try:
            for start, stop in stretches:
                await reader.copy(start, stop)
        finally:
            reader.close()
        if found.lease is not None:
            assembly = found.lease.assembly
            while assembly.flights and assembly.body.is_complete:
                # The last byte is there, its flight has not landed yet: then it is stored.
                await assembly.body.progress().wait()
        return Brought(outcome, reader.sent_bytes, is_kept=self._is_kept(found))

    def _is_kept(self, found: Found) -> bool:
        if found.outcome is CacheOutcome.PASS:
            return False
        return not self._is_alone or self._tiers.holds(found.entry.key)
