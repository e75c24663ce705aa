"""A pool of keep-alive connections to one endpoint.

The decision what to do is one synchronous function, `_take`; the rest is waiting. The warmest connection is
used first, so that the coldest ones run out and close.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from yatagarasu.origin.connect import Connection

# Connections end after this, so that a name's new addresses are taken up; seconds.
MAX_AGE_SECONDS = 60.0
# S3 closes idle connections after some seconds; an idle one of ours goes sooner than it is missed.
MAX_IDLE_SECONDS = 30.0


@dataclass(slots=True)
class Pooled:
    """A connection with its times, monotonic seconds; `is_reused` once it has served a request."""

    connection: Connection
    opened_at: float
    idle_since: float = 0.0
    is_reused: bool = False


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections in use, idle, and callers waiting for one."""

    in_use: int
    idle: int
    waiting: int


class Pool:
    """Connections to one endpoint.

    Args:
        connect: opens one.
        max_connections: in use and idle together.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        max_connections: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._max_connections = max_connections
        self._clock = clock
        self._idle: deque[Pooled] = deque()
        self._in_use = 0
        self._waiting: deque[trio.Event] = deque()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Pool {self.statistics()!r}>"

    def statistics(self) -> PoolStatistics:
        """A snapshot."""
        return PoolStatistics(self._in_use, len(self._idle), len(self._waiting))

    def _take(self) -> Pooled | None:
        """The warmest idle connection that is alive and young, None where there is none; closes the others."""
        now = self._clock()
        while self._idle and now - self._idle[0].idle_since > MAX_IDLE_SECONDS:
            self._idle.popleft().connection.close()
        while self._idle:
            pooled = self._idle.pop()
            if now - pooled.opened_at <= MAX_AGE_SECONDS and not pooled.connection.is_readable():
                return pooled
            pooled.connection.close()
        return None

    async def acquire(self, *, fresh: bool = False) -> Pooled:
        """A connection for one request; give it back with `release`.

        Args:
            fresh: open a new one even where an idle one is there.

        Raises what `connect` raises. Cancellation takes nothing.
        """
        if self._in_use < self._max_connections:
            self._in_use += 1
        else:
            turn = trio.Event()
            self._waiting.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self._pass_on()
                else:
                    self._waiting.remove(turn)
                raise
        if not fresh:
            pooled = self._take()
            if pooled is not None:
                return pooled
        elif len(self._idle) + self._in_use > self._max_connections and self._idle:
            self._idle.popleft().connection.close()
        try:
            return Pooled(await self._connect(), self._clock())
        except BaseException:
            self._pass_on()
            raise

    def release(self, pooled: Pooled, *, is_reusable: bool) -> None:
        """Give a connection back; one that cannot be used again is closed."""
        if is_reusable and not self._is_closed and self._clock() - pooled.opened_at <= MAX_AGE_SECONDS:
            pooled.is_reused, pooled.idle_since = True, self._clock()
            self._idle.append(pooled)
        else:
            pooled.connection.close()
        self._pass_on()

    def _pass_on(self) -> None:
        """Give a place up, to whoever has waited longest: it stays taken, so that no newcomer slips in between."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._in_use -= 1

    def close_idle(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().connection.close()

    def close(self) -> None:
        """Close idle connections now, and those in use as they come back."""
        self._is_closed = True
        self.close_idle()
