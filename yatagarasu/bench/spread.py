"""Several runs of one thing: median, spread, and how two such series compare. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several runs, in the order they were taken; at least one."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one, or the mean of the middle two."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The lowest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest."""
        return max(self.values)

    @property
    def noise(self) -> float:
        """Half the distance from lowest to highest, by the median: 0.05 reads as +-5 %; 0 of a median of 0."""
        return (self.high - self.low) / 2 / abs(middle) if (middle := self.median) else 0.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a new series stands to an old one: the medians' ratio, and what it could be with the spread of both."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether no difference is among what it could be."""
        return self.low <= 1.0 <= self.high


def compare(new: Sequence[float], old: Sequence[float]) -> Ratio | None:
    """The ratio of two series of positive values; None where the old one has a 0, or one of them has no value."""
    if not new or not old or min(old) <= 0:
        return None
    now, then = Spread(tuple(new)), Spread(tuple(old))
    return Ratio(now.median / then.median, now.low / then.high, now.high / then.low)
