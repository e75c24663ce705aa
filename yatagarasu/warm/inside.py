"""Warming from inside: items as errands in the process that has the cache."""

from collections.abc import Callable

import trio

from yatagarasu.cache.entry import Entry
from yatagarasu.cache.tiers import Tiers
from yatagarasu.errors import (
    ObjectChanged,
    OriginError,
    OriginRefused,
    OverloadError,
    RangeNotSatisfiable,
    WaitTimeout,
    YatagarasuError,
)
from yatagarasu.http.dates import parse_http_date
from yatagarasu.http.wire import HeaderBlock, HeaderBlocks
from yatagarasu.proxy.errand import Brought, Errands
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.response import RequestIds
from yatagarasu.proxy.router import Router
from yatagarasu.warm.filters import Filters
from yatagarasu.warm.item import Item
from yatagarasu.warm.outcome import Kind, Outcome, Part
from yatagarasu.warm.places import Finds, NoPlace

_BRINGS = (CacheOutcome.MISS, CacheOutcome.COLLAPSED, CacheOutcome.PARTIAL)
# The disk tier refuses more than 64 MiB that wait for it; well before that we wait.
_MAX_WAITING_BYTES = 32 * 1024 * 1024
_POLL_SECONDS = 0.005


class InsideWarmer:
    """Warms the cache of this process.

    Args:
        places: by which items are found.
        system: the router and the errands of the moment; a reload may change them.
    """

    def __init__(
        self,
        places: Callable[[], Finds],
        system: Callable[[], tuple[Router, Errands]],
        tiers: Tiers,
        filters: Filters,
    ) -> None:
        self._places = places
        self._system = system
        self._tiers = tiers
        self._filters = filters
        self._ids = RequestIds()
        self._blocks = HeaderBlocks()

    async def warm(self, item: Item, part: Part) -> Outcome:
        """Have a part of an object in the cache."""
        disk = self._tiers.disk
        while disk is not None and disk.pending_bytes > _MAX_WAITING_BYTES:  # noqa: ASYNC110  # the disk is slower
            await trio.sleep(_POLL_SECONDS)
        router, errands = self._system()
        try:
            line = router.read(part.method, self._places().target(item))
            brought = await errands.run(line, self._block(part), self._ids.new(), self._refusal)
        except RangeNotSatisfiable as exc:
            # An empty object has no first or last bytes, and is there.
            return Outcome(Kind.PRESENT) if exc.context.get("size") == 0 else failure(exc)
        except NoPlace as exc:
            return Outcome(Kind.FAILED, reason=str(exc))
        except YatagarasuError as exc:
            return failure(exc)
        return _outcome(brought)

    async def settle(self) -> None:
        """Write to disk what waits for it."""
        if self._tiers.flusher is not None:
            await self._tiers.flusher.flush()

    def _block(self, part: Part) -> HeaderBlock:
        field = f"range: {part.range}\r\n" if part.range is not None else ""
        return self._blocks.parse(f"host: warm\r\n{field}".encode("ascii"))

    def _refusal(self, entry: Entry) -> str | None:
        modified = parse_http_date(entry.headers.get("last-modified", ""))
        return self._filters.refuses_head(entry.size, modified)


def _outcome(brought: Brought) -> Outcome:
    if brought.refusal is not None:
        return Outcome(Kind.SKIPPED, reason=brought.refusal)
    if brought.outcome is CacheOutcome.PASS:
        return Outcome(Kind.FAILED, brought.size, "may not be stored, says the origin")
    if not brought.is_kept:
        return Outcome(Kind.FAILED, brought.size, "no tier keeps it: too large, or no room")
    if brought.outcome in _BRINGS:
        return Outcome(Kind.WARMED, brought.size)
    return Outcome(Kind.PRESENT)


def failure(error: YatagarasuError) -> Outcome:
    """The outcome of an item that could not be had."""
    status = error.http_status
    is_overload = isinstance(error, OverloadError) or (isinstance(error, OriginError) and status == 503)
    is_transient = isinstance(error, OriginError | OverloadError | WaitTimeout)
    # Of a changed object each errand has begun again as often as it makes sense.
    is_transient = is_transient and not isinstance(error, OriginRefused | ObjectChanged)
    reason = f"{status} {error.code}" if str(error) == error.public else f"{status} {error.code}: {error}"
    wait = error.retry_after_seconds
    return Outcome(
        Kind.FAILED,
        reason=reason,
        is_transient=is_transient,
        is_overload=is_overload,
        wait_seconds=float(wait) if wait is not None else None,
    )
