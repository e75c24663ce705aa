"""The wall clock of this process, with jumps as NTP, a paused virtual machine or an operator make them."""

import time

import trio

HOUR, YEAR = 3600.0, 365 * 86_400.0


class Clock:
    """Epoch seconds; `offset` is what they are wrong by."""

    def __init__(self) -> None:
        self._real, self.offset = time.time, 0.0

    def __call__(self) -> float:
        return self._real() + self.offset

    def real(self) -> float:
        """Epoch seconds without any jump."""
        return self._real()


class Barrier:
    """Where so many tasks wait for each other."""

    def __init__(self, tasks: int) -> None:
        self._missing = tasks
        self._complete = trio.Event()

    async def wait(self) -> None:
        """Return once all of them are here."""
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        await self._complete.wait()
