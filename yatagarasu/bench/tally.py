"""What one worker, or all of them, have counted: sums, so that workers add up."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from yatagarasu.bench.latency import Histogram

_HISTOGRAMS = ("latency", "first_byte", "service", "lateness")
# A timeline keeps to this many samples, however long the run: at that it forgets every second one. Even.
_MAX_SAMPLES = 1024


class Timeline:
    """Answers, their body bytes and errors, summed up since the start, at even steps of `width` seconds.

    The last sample may be of a step that is not over.
    """

    def __init__(self, width: float = 0.1, samples: list[list[int]] | None = None) -> None:
        self.width = width
        self.samples = samples or []
        # How many of the steps that are appended go into a sample, and how many have been.
        self._steps_each = 1
        self._steps = 0

    def append(self, answers: int, body_bytes: int, errors: int) -> None:
        """Add the sums at the end of the next step, of the width that this timeline was made with."""
        if self._steps % self._steps_each == 0:
            self.samples.append([])
        self.samples[-1] = [answers, body_bytes, errors]
        self._steps += 1
        if len(self.samples) == _MAX_SAMPLES and self._steps % self._steps_each == 0:
            self._steps_each *= 2
            self._halve()

    def add(self, other: Self) -> None:
        """Add another's sums to those of the same time; one that ended sooner keeps its last."""
        while self.width < other.width:
            self._halve()
        while other.width < self.width:
            other._halve()
        for one, longer in ((self, other), (other, self)):
            last = one.samples[-1] if one.samples else [0, 0, 0]
            one.samples += [list(last) for _ in range(len(longer.samples) - len(one.samples))]
        self.samples = [
            [mine + theirs for mine, theirs in zip(ours, its, strict=True)]
            for ours, its in zip(self.samples, other.samples, strict=True)
        ]

    def _halve(self) -> None:
        self.width *= 2
        self.samples = self.samples[1::2] if len(self.samples) % 2 == 0 else [*self.samples[1::2], self.samples[-1]]

    def steps(self) -> list[tuple[int, int, int]]:
        """Answers, body bytes and errors in each step."""
        before = [[0, 0, 0], *self.samples]
        return [
            (now[0] - then[0], now[1] - then[1], now[2] - then[2])
            for then, now in zip(before, self.samples, strict=False)
        ]


@dataclass(slots=True)
class Tally:
    """Counts of the requests that are measured: those that began in the window between warm-up and stop.

    Latencies, in ns, are of good answers: `latency` from when the request was meant to be sent to the answer's last
    byte, `first_byte` to its first. Of an open loop also: `service` from when it was sent, `lateness` how late that
    was though a connection was free (our fault), `unsent` those that no connection became free for before the stop.

    `sent` and the timeline count all requests. `answers` and `body_bytes` are what came in the window, whenever it
    was asked for; `seconds` is how long that was; `cpu_seconds` what the worker used in it, `core_seconds` how long
    its core was busy.
    """

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    first_byte: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    timeline: Timeline = field(default_factory=Timeline)
    unsent: int = 0
    checked: int = 0
    checked_bytes: int = 0
    answers: int = 0
    body_bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    core_seconds: float = 0.0

    def add(self, other: Self) -> None:
        """Add what another worker counted at the same time."""
        for name in ("sent", "unsent", "checked", "checked_bytes", "answers", "body_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).add(getattr(other, name))
        self.statuses += other.statuses
        self.errors += other.errors
        self.timeline.add(other.timeline)
        self.seconds = max(self.seconds, other.seconds)
        self.cpu_seconds += other.cpu_seconds
        self.core_seconds += other.core_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        found |= {name: list(found[name].pairs()) for name in _HISTOGRAMS}
        found["timeline"] = [self.timeline.width, self.timeline.samples]
        return found

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The tally that `to_dict` gave."""
        values = found | {name: Histogram(found[name]) for name in _HISTOGRAMS}
        values["statuses"] = Counter({int(status): count for status, count in found["statuses"].items()})
        values["errors"] = Counter(found["errors"])
        values["timeline"] = Timeline(*found["timeline"])
        return cls(**values)
