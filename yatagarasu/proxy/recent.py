"""What the coalescer remembers for a while: verdicts that were bad (F6), keys that may not be shared (F7)."""

from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice
from typing import Generic, TypeVar

import trio

from yatagarasu.cache.entry import Key
from yatagarasu.errors import YatagarasuError

K = TypeVar("K")
V = TypeVar("V")

# Entries looked at with each new one: more than one, so that the table shrinks after a burst.
_SWEEP = 8
# Some 50 MB of them, whatever clients ask for; what is forgotten too early costs one more request.
MAX_ENTRIES = 64 * 1024


class _Recent(Generic[K, V]):
    """Values for some seconds each; the oldest goes first where they become too many.

    In order of time, because every entry lives equally long: what has run out is at the front.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def _keep(self, key: K, value: V, seconds: float) -> None:
        entries, now = self._entries, trio.current_time()
        for old in [old for old, (expires_at, _) in islice(entries.items(), _SWEEP) if expires_at <= now]:
            del entries[old]
        if seconds > 0:
            entries.pop(key, None)
            if len(entries) >= MAX_ENTRIES:
                del entries[next(iter(entries))]
            entries[key] = (now + seconds, value)

    def _get(self, key: K) -> V | None:
        known = self._entries.get(key)
        if known is None:
            return None
        expires_at, value = known
        if expires_at <= trio.current_time():
            del self._entries[key]
            return None
        return value


class RecentFailures(_Recent[tuple[Key, str], YatagarasuError]):
    """Verdicts of failed flights, by cache key and method, for `failure_ttl` seconds."""

    __slots__ = ()

    def remember(self, slot: tuple[Key, str], error: YatagarasuError, seconds: float) -> None:
        """Keep a verdict; zero seconds keep none."""
        self._keep(slot, error, seconds)

    def raise_for(self, slot: tuple[Key, str]) -> None:
        """Raise this caller's own copy of the verdict, if there is one."""
        error = self._get(slot)
        if error is not None:
            raise error.for_waiter() from error


class UnsharedKeys(_Recent[Key, trio.CapacityLimiter]):
    """Keys whose last answer was for one client only, with a bound on fetches at once for each."""

    __slots__ = ()

    def remember(self, key: Key, seconds: float, concurrency: int) -> None:
        """Keep a key for `seconds`."""
        self._keep(key, trio.CapacityLimiter(concurrency), seconds)

    def forget(self, key: Key) -> None:
        """Its answers may be shared again."""
        self._entries.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        return self._get(key) is not None

    def slot(self, key: Key) -> AbstractAsyncContextManager[object]:
        """What bounds concurrent fetches of a key; no bound for one that is not kept."""
        return self._get(key) or nullcontext()
