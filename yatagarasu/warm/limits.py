"""How fast a job may go: requests and bytes per second, and a window that shrinks when somebody asks for less."""

import math

import trio


class Rate:
    """At most `per_second` units in every second, on average since the last pause; at most a tenth of one at once.

    Units may be spent first and waited for later, so what is spent in one go can be larger than the rate.

    Args:
        per_second: positive, None for no limit.
    """

    _BURST_SECONDS = 0.1

    def __init__(self, per_second: float | None) -> None:
        self._seconds_each = 1 / per_second if per_second else 0.0
        # When everything that was spent will have been paid for, trio's clock.
        self._paid_at = -math.inf

    def spend(self, units: float) -> None:
        """Use units, whenever they are paid for."""
        if self._seconds_each:
            earliest = trio.current_time() - self._BURST_SECONDS
            self._paid_at = max(self._paid_at, earliest) + units * self._seconds_each

    async def wait(self) -> None:
        """Return once all that was spent is paid for. Cancellation changes nothing."""
        while (seconds := self._paid_at - trio.current_time()) > 0:  # noqa: ASYNC110  # others spend meanwhile
            await trio.sleep(seconds)

    async def take(self, units: float = 1) -> None:
        """Use units, then wait until they are paid for: callers go on one after the other."""
        self.spend(units)
        if self._seconds_each:
            await trio.sleep_until(max(self._paid_at, trio.current_time()))


class Window:
    """How many may be under way at once: additive increase, multiplicative decrease.

    Starts at its maximum; an overload halves it, at most once in the time that its effect needs to be seen, and stops
    everybody for as long as was asked for, five minutes at most; each success gives a part of one back.

    Args:
        maximum: at least 1.
    """

    _EFFECT_SECONDS = 1.0
    # A job that was told to wait for a day asks again before that.
    _LONGEST_PAUSE_SECONDS = 300.0

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.size = float(maximum)
        self._busy = 0
        self._halved_at = -math.inf
        self._closed_until = -math.inf
        self._changed = trio.Event()

    async def enter(self) -> None:
        """Wait for a place, and take it. Cancellation takes none."""
        while True:
            seconds = self._closed_until - trio.current_time()
            if seconds > 0:
                await trio.sleep(seconds)
            elif self._busy >= max(1, int(self.size)):
                await self._changed.wait()
            else:
                self._busy += 1
                return

    def leave(self) -> None:
        """Give the place back."""
        self._busy -= 1
        self._wake()

    def succeeded(self) -> None:
        """Somebody was served."""
        if self.size < self.maximum:
            self.size = min(self.maximum, self.size + 1 / self.size)

    def overloaded(self, wait_seconds: float | None) -> None:
        """Somebody was told to slow down; `wait_seconds` says for how long."""
        now = trio.current_time()
        if wait_seconds:
            self._closed_until = max(self._closed_until, now + min(wait_seconds, self._LONGEST_PAUSE_SECONDS))
        if now - self._halved_at >= self._EFFECT_SECONDS:
            self._halved_at = now
            self.size = max(1.0, self.size / 2)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
