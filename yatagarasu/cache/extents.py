"""Extents: which byte ranges of a body are present.

Half-open ranges [start, stop) of offsets, bytes. Knows neither where the bytes are kept nor who fills them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Extents:
    """A set of byte offsets, kept as runs.

    Runs are sorted, not empty, and neither overlap nor touch: `_starts[i] < _stops[i] < _starts[i + 1]`.
    `total` is the number of bytes present. Copies are not needed: a body owns its extents.
    """

    __slots__ = ("_starts", "_stops", "total")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self.total = 0

    def add(self, start: int, stop: int) -> None:
        """Mark [start, stop) present; what is present already and the empty range change nothing.

        Raises ValueError unless `0 <= start <= stop`.
        """
        if start >= stop:
            if start > stop or start < 0:
                raise ValueError(f"not a range: {start}-{stop}")
            return
        starts, stops = self._starts, self._stops
        # A flight writes in order, so nearly every call grows the last run.
        if stops and starts[-1] <= start <= stops[-1]:
            grown = stop - stops[-1]
            if grown > 0:
                stops[-1] = stop
                self.total += grown
            return
        if start < 0:
            raise ValueError(f"not a range: {start}-{stop}")
        # Runs low to high - 1 overlap or touch the new one, which takes their place.
        low, high = bisect_left(stops, start), bisect_right(starts, stop)
        if low < high:
            self.total -= sum(stops[low:high]) - sum(starts[low:high])
            start, stop = min(start, starts[low]), max(stop, stops[high - 1])
        starts[low:high] = (start,)
        stops[low:high] = (stop,)
        self.total += stop - start

    @property
    def run_count(self) -> int:
        """How many runs there are."""
        return len(self._starts)

    def present_until(self, pos: int) -> int:
        """End of the run that holds `pos`, or `pos` itself where that byte is missing."""
        at = bisect_right(self._starts, pos) - 1
        return max(self._stops[at], pos) if at >= 0 else pos

    def next_present(self, pos: int, stop: int) -> int:
        """First present offset at or after `pos`, or `stop` where there is none before it."""
        at = bisect_right(self._stops, pos)
        return min(max(self._starts[at], pos), stop) if at < len(self._starts) else stop

    def holes(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The missing ranges within [start, stop): sorted, half-open, none empty."""
        missing: list[tuple[int, int]] = []
        pos = self.present_until(start)
        while pos < stop:
            end = self.next_present(pos, stop)
            missing.append((pos, end))
            pos = self.present_until(end)
        return missing

    def covers(self, start: int, stop: int) -> bool:
        """Whether every byte of [start, stop) is present; true of an empty range."""
        return start >= stop or self.present_until(start) >= stop

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __repr__(self) -> str:
        return f"Extents({list(self)!r}, total={self.total})"
