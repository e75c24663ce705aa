"""What the coalescer remembers for a while: verdicts that were bad (F6), keys that may not be shared (F7).

Both tables are in order of time, because every entry lives equally long: what has run out is at the front.
"""

from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice

import trio

from yatagarasu.cache.entry import Key
from yatagarasu.errors import YatagarasuError

# Entries looked at with each new one: more than one, so that the table shrinks after a burst.
_SWEEP = 8


class RecentFailures:
    """Verdicts of failed flights, by cache key and method, for `failure_ttl` seconds."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: dict[tuple[Key, str], tuple[float, YatagarasuError]] = {}

    def remember(self, slot: tuple[Key, str], error: YatagarasuError, seconds: float) -> None:
        """Keep a verdict; zero seconds keep none."""
        now = trio.current_time()
        for old in [old for old, (expires_at, _) in islice(self._failures.items(), _SWEEP) if expires_at <= now]:
            del self._failures[old]
        if seconds > 0:
            self._failures.pop(slot, None)
            self._failures[slot] = (now + seconds, error)

    def raise_for(self, slot: tuple[Key, str]) -> None:
        """Raise this caller's own copy of the verdict, if there is one."""
        known = self._failures.get(slot)
        if known is None:
            return
        expires_at, error = known
        if expires_at <= trio.current_time():
            del self._failures[slot]
            return
        raise error.for_waiter() from error


class UnsharedKeys:
    """Keys whose last answer was for one client only, with a bound on fetches at once for each."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[Key, tuple[float, trio.CapacityLimiter]] = {}

    def remember(self, key: Key, seconds: float, concurrency: int) -> None:
        """Keep a key for `seconds`."""
        now = trio.current_time()
        for old in [old for old, (expires_at, _) in islice(self._keys.items(), _SWEEP) if expires_at <= now]:
            del self._keys[old]
        self._keys.pop(key, None)
        self._keys[key] = (now + seconds, trio.CapacityLimiter(concurrency))

    def forget(self, key: Key) -> None:
        """Its answers may be shared again."""
        self._keys.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        known = self._keys.get(key)
        if known is None:
            return False
        if known[0] <= trio.current_time():
            del self._keys[key]
            return False
        return True

    def slot(self, key: Key) -> AbstractAsyncContextManager[object]:
        """What bounds concurrent fetches of a key; no bound for one that is not kept."""
        known = self._keys.get(key)
        return known[1] if known is not None else nullcontext()
