"""The window of a run that is measured: what was summed up when it began, so that its own part can be told."""

import time

from yatagarasu.bench.cpu import core_seconds
from yatagarasu.bench.tally import Tally

_SECOND = 1_000_000_000


class Window:
    """Opened once and closed once; closing again changes nothing.

    Args:
        core: the one that this process is pinned to, None for any.
    """

    def __init__(self, core: int | None) -> None:
        self.is_open = False
        self._core = core
        self._start = (0, 0, 0, 0.0, 0.0)

    def open(self, now: int, answers: int, body_bytes: int) -> None:
        """Begin, at monotonic ns, with the sums since the start of the run."""
        self.is_open = True
        self._start = (now, answers, body_bytes, time.process_time(), self._core_seconds())

    def close(self, tally: Tally, now: int, answers: int, body_bytes: int) -> None:
        """End, and write into a tally what the window had."""
        if not self.is_open or tally.seconds:
            return
        began, first_answers, first_body_bytes, cpu, core = self._start
        tally.seconds = (now - began) / _SECOND
        tally.answers, tally.body_bytes = answers - first_answers, body_bytes - first_body_bytes
        tally.cpu_seconds, tally.core_seconds = time.process_time() - cpu, self._core_seconds() - core

    def _core_seconds(self) -> float:
        return core_seconds(self._core) if self._core is not None else 0.0
