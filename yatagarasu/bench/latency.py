"""Latencies as counts, log-linear as HdrHistogram's with three significant digits (https://hdrhistogram.org).

Values are nanoseconds. Within each power of two lie 1,024 buckets of one width, so that any value is known to
0.1 %, and histograms of many processes add up. Not the library of that name: it needs a compiler where it has no
wheel, brings setuptools along, and its call for each value costs more than all else we do about an answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
# Up to 2**43 ns, 2.4 hours: longer than any run may be.
_VALUE_BITS = 43
SLOTS = (_VALUE_BITS - _HALF_BITS + 1) << _HALF_BITS
MAX_NS = (1 << _VALUE_BITS) - 1
# What a distribution is drawn from: the steps halve the distance to 100 %, five to each halving.
_STEPS = 5


def slot_of(ns: int) -> int:
    """The index of the bucket of `0 <= ns <= MAX_NS`. The event loop has these two lines in it once more."""
    shift = max(0, ns.bit_length() - _HALF_BITS - 1)
    return (shift << _HALF_BITS) + (ns >> shift)


def highest_of(slot: int) -> int:
    """The highest value, in ns, that falls into a bucket."""
    shift = max(0, (slot >> _HALF_BITS) - 1)
    return ((slot - (shift << _HALF_BITS) + 1) << shift) - 1


class Histogram:
    """How many latencies fell into each bucket; `counts` is indexed by `slot_of`."""

    __slots__ = ("counts",)

    def __init__(self, pairs: Iterable[Sequence[int]] = ()) -> None:
        self.counts = [0] * SLOTS
        for slot, count in pairs:
            self.counts[slot] += count

    def record(self, ns: int, count: int = 1) -> None:
        """Count a latency; one out of range counts as the nearest in it."""
        self.counts[slot_of(min(max(ns, 0), MAX_NS))] += count

    def add(self, other: Self) -> None:
        """Count all that another has counted."""
        for slot, count in other.pairs():
            self.counts[slot] += count

    def pairs(self) -> Iterator[tuple[int, int]]:
        """What has been counted, as (index, count), in order; `Histogram(pairs)` is the same again."""
        return ((slot, count) for slot, count in enumerate(self.counts) if count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.counts == other.counts

    __hash__ = None  # type: ignore[assignment]  # It changes.

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, p50 {self.percentile(50) / 1e6:.3f} ms, max {self.max / 1e6:.3f} ms>"

    @property
    def count(self) -> int:
        """Latencies counted."""
        return sum(self.counts)

    @property
    def max(self) -> int:
        """The highest, in ns; 0 where there is none."""
        return next((highest_of(slot) for slot in range(SLOTS - 1, -1, -1) if self.counts[slot]), 0)

    @property
    def mean(self) -> float:
        """The mean in ns, 0 where there is none."""
        total = sum(highest_of(slot) * count for slot, count in self.pairs())
        return total / count if (count := self.count) else 0.0

    def percentile(self, percent: float) -> int:
        """The lowest value, in ns, that at least `percent` (0-100) of all do not exceed; 0 where there is none."""
        wanted = max(1, -int(-self.count * percent // 100))
        seen = 0
        for slot, count in self.pairs():
            seen += count
            if seen >= wanted:
                return highest_of(slot)
        return 0

    def curve(self) -> list[tuple[float, int]]:
        """Points (percent, ns) for a plot: ever closer to 100 %, ends with (100.0, max)."""
        total = self.count
        if not total:
            return []
        points: list[tuple[float, int]] = []
        seen, step = 0, 0
        percent = 0.0
        for slot, count in self.pairs():
            seen += count
            while seen < total and seen * 100 >= percent * total:
                points.append((percent, highest_of(slot)))
                step += 1
                percent = 100 * (1 - 0.5 ** (step / _STEPS))
        points.append((100.0, self.max))
        return points
