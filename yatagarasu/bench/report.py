"""What a `bench` found: a report of rows, each a case of a scenario that was run several times. Plain values, JSON.

Names end in their unit: `_seconds`, `_bytes`, `_ns`; `rate` is requests per second, `throughput` bytes per second.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from yatagarasu.bench.latency import Histogram
from yatagarasu.bench.result import Result
from yatagarasu.bench.spread import Spread
from yatagarasu.bench.tally import Timeline
from yatagarasu.errors import ConfigError

FORMAT = "yatagarasu-bench/1"
PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Check:
    """Something that had to hold, and whether it did: `text` has the numbers."""

    name: str
    is_good: bool
    text: str


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a row: numbers by name, and what is drawn of it.

    Args:
        numbers: "rate", "throughput", "requests", "good", "failed", PERCENTILES in seconds; "origin_requests",
            "origin_bytes", "body_bytes" where they are known; whatever else a scenario measures.
        errors: failed requests by kind.
        latency: pairs (slot, count) of the histogram of good answers.
        timeline: width in seconds, then (answers, body bytes, errors) of each step.
        limit: "server", "generator" or "core": who could do no more; None where nobody is known to.
    """

    numbers: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)
    latency: list[tuple[int, int]] = field(default_factory=list)
    timeline: tuple[float, list[tuple[int, int, int]]] = (0.1, [])
    limit: str | None = None

    @classmethod
    def of(cls, result: Result, **numbers: float) -> Self:
        """A run of the load generator, with numbers that only the scenario knows."""
        tally = result.tally
        found = {name: float(getattr(result, name)) for name in ("rate", "throughput", "requests", "good", "failed")}
        found |= {"body_bytes": float(tally.body_bytes), "seconds": tally.seconds, "checked": float(tally.checked)}
        return cls(
            numbers=found | result.percentiles() | numbers,
            errors=dict(tally.errors),
            latency=list(tally.latency.pairs()),
            timeline=(tally.timeline.width, tally.timeline.steps()),
            limit=result.limit,
        )


@dataclass(slots=True, kw_only=True)
class Row:
    """One case of a scenario.

    Args:
        case: which of its cases, "" where there is but one.
        parameters: what it was run with, as a person would write it.
        checks: what had to hold over all runs.
        headline: names of the numbers that two reports are compared by.
    """

    scenario: str
    case: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    headline: list[str] = field(default_factory=lambda: ["rate", "p99"])

    @property
    def name(self) -> str:
        """The scenario and its case: what rows of two reports are matched by."""
        return f"{self.scenario}: {self.case}" if self.case else self.scenario

    def spread(self, name: str) -> Spread | None:
        """A number over all runs, None where one of them does not have it."""
        values = tuple(run.numbers[name] for run in self.runs if name in run.numbers)
        return Spread(values) if values and len(values) == len(self.runs) else None

    def median(self, name: str) -> float | None:
        """The median of a number over all runs, None where one of them does not have it."""
        spread = self.spread(name)
        return spread.median if spread is not None else None

    @property
    def errors(self) -> Counter[str]:
        """Failed requests of all runs, by kind."""
        return sum((Counter(run.errors) for run in self.runs), Counter[str]())

    @property
    def latency(self) -> Histogram:
        """Latencies of all runs."""
        found = Histogram()
        for run in self.runs:
            found.add(Histogram(run.latency))
        return found

    @property
    def timeline(self) -> Timeline:
        """The first run's throughput over time, as sums since the start."""
        width, steps = self.runs[0].timeline if self.runs else (0.1, [])
        sums = [0, 0, 0]
        samples = []
        for step in steps:
            sums = [total + value for total, value in zip(sums, step, strict=True)]
            samples.append(sums)
        return Timeline(width, samples)

    def check(self, name: str, is_good: bool, text: str) -> None:
        """Note something that had to hold."""
        self.checks.append(Check(name, is_good, text))

    @property
    def is_good(self) -> bool:
        """Whether everything that had to hold did."""
        return all(check.is_good for check in self.checks)


@dataclass(slots=True, kw_only=True)
class Report:
    """All rows of one `bench`.

    Args:
        started: RFC 3339, UTC.
        machine: what it ran on, by name.
        target: the URL that was measured, None for a server of our own.
        notes: sentences that a reader of the figures must know.
    """

    version: str
    started: str
    machine: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """All of it."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """The report that `to_json` wrote.

        Raises:
            ConfigError: it is none; names `source`.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            if found.pop("format", None) != FORMAT:
                raise ValueError(f'its "format" is not "{FORMAT}"')
            found["rows"] = [_row(row) for row in found["rows"]]
            return cls(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ConfigError(f"{source} is no report of yatagarasu bench: {exc}") from exc


def _row(found: dict[str, Any]) -> Row:
    runs = []
    for run in found["runs"]:
        width, steps = run["timeline"]
        latency = [(slot, count) for slot, count in run["latency"]]
        runs.append(Run(**run | {"latency": latency, "timeline": (width, [tuple(step) for step in steps])}))
    return Row(**found | {"runs": runs, "checks": [Check(**check) for check in found["checks"]]})
