"""What a job has done so far, in numbers: live while it runs, the report when it is over."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from yatagarasu.units import format_duration, readable_size
from yatagarasu.warm.outcome import Kind, Outcome

# Different reasons that are told apart, and failures that are shown one by one.
_MAX_REASONS = 100
_MAX_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that is not there: its key, where in which list it stands, why."""

    key: str
    source: str
    line: int
    reason: str
    bucket: str | None = None

    def as_line(self) -> str:
        """The item as a line of a list."""
        return self.key if self.bucket is None else f"s3://{self.bucket}/{self.key}"


@dataclass(slots=True)
class Tally:
    """Counts of items.

    `listed` is all that was read from the lists; each of them is one of `malformed`, `earlier` (done before this job
    was interrupted), or of a kind. `reasons` counts skipped and failed items; `requests` all parts that were asked for.
    """

    listed: int = 0
    malformed: int = 0
    earlier: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    overloads: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Count an item's outcome."""
        self.kinds[outcome.kind] += 1
        self.bytes += outcome.size
        if outcome.reason:
            known = outcome.reason in self.reasons or len(self.reasons) < _MAX_REASONS
            self.reasons[outcome.reason if known else "other reasons"] += 1

    def add_failure(self, failure: Failure) -> None:
        """Keep a failure as an example, if there is room."""
        if len(self.failures) < _MAX_EXAMPLES:
            self.failures.append(failure)

    @property
    def ended(self) -> int:
        """Items that need no more work."""
        return self.malformed + self.earlier + self.kinds.total()

    def is_good(self, allowed_percent: float) -> bool:
        """Whether no more than this share of the items that were to be warmed failed."""
        wanted = self.kinds.total() + self.earlier - self.kinds[Kind.SKIPPED]
        return self.kinds[Kind.FAILED] * 100 <= allowed_percent * wanted

    def counts(self) -> dict[str, int]:
        """Plain numbers, for a journal."""
        found = {kind.value: self.kinds[kind] for kind in Kind}
        return found | {"listed": self.listed, "malformed": self.malformed, "bytes": self.bytes}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "listed": self.listed,
            "malformed": self.malformed,
            "done_earlier": self.earlier,
            **{kind.value: self.kinds[kind] for kind in Kind},
            "bytes": self.bytes,
            "requests": self.requests,
            "retries": self.retries,
            "overloads": self.overloads,
            "seconds": round(self.seconds, 3),
            "objects_per_second": round(self.kinds.total() / self.seconds, 1) if self.seconds else 0.0,
            "bytes_per_second": round(self.bytes / self.seconds, 1) if self.seconds else 0.0,
            "reasons": dict(self.reasons.most_common()),
            "failures": [
                {"key": one.key, "source": one.source, "line": one.line, "reason": one.reason} for one in self.failures
            ],
            "notes": self.notes,
        }

    def render(self) -> str:
        """The report as a person reads it; ends with a line break."""
        kinds = self.kinds
        seconds = format_duration(round(self.seconds, 3 if self.seconds < 10 else 0))
        lines = [
            f"warmed   {kinds[Kind.WARMED]:>12,}   {readable_size(self.bytes)} in {seconds}, "
            f"{_rate(kinds.total(), self.seconds)} objects/s, {readable_size(self.bytes / (self.seconds or 1))}/s",
            f"present  {kinds[Kind.PRESENT]:>12,}   were in the cache already",
        ]
        for name, count, text in (
            ("earlier", self.earlier, "done before this job was interrupted"),
            ("skipped", kinds[Kind.SKIPPED], "kept out by a filter"),
            ("malformed", self.malformed, "lines that are no key"),
        ):
            if count:
                lines.append(f"{name:<9}{count:>12,}   {text}")
        lines.append(f"failed   {kinds[Kind.FAILED]:>12,}")
        lines += [f"         {count:>12,}   {reason}" for reason, count in self.reasons.most_common(10)]
        if self.overloads:
            lines.append(f"slowed down {self.overloads:,} times by the origin; {self.retries:,} tries again")
        lines += self.notes
        return "\n".join(lines) + "\n"


def _rate(count: int, seconds: float) -> str:
    rate = count / seconds if seconds else 0.0
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
