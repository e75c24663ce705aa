"""Two reports side by side: ratios with the band that the noise of both leaves, so turned that above 1 is better."""

from dataclasses import dataclass

from yatagarasu.bench.report import Report, Row
from yatagarasu.bench.spread import Ratio, Spread, compare

_MORE_IS_BETTER = frozenset(("rate", "throughput", "speedup", "hit_ratio", "whole"))


@dataclass(frozen=True, slots=True)
class RowChange:
    """A number of a row in both reports; `ratio` is above 1 where the new one is better."""

    row: str
    name: str
    old: float
    new: float
    ratio: Ratio

    @property
    def decides(self) -> bool:
        """Whether `--fail-under` goes by it: not by latencies, which swing with the load that a rate brings."""
        return not self.name.startswith("p9") and self.name != "max"

    def is_under(self, limit: float) -> bool:
        """Whether it is worse than `limit` and that is not noise."""
        return self.decides and self.ratio.value < limit and not self.ratio.is_noise


def compare_reports(new: Report, old: Report) -> list[RowChange]:
    """What both have, in the new one's order: rows of the same name and parameters, their headline numbers."""
    before = {_identity(row): row for row in old.rows}
    changes = []
    for row in new.rows:
        then = before.get(_identity(row))
        if then is None:
            continue
        changes += [change for name in row.headline if (change := _change(row, then, name)) is not None]
    return changes


def unmatched(new: Report, old: Report) -> list[str]:
    """Names of the new report's rows that the old one does not have with the same parameters."""
    known = {_identity(row) for row in old.rows}
    return [row.name for row in new.rows if _identity(row) not in known]


def _identity(row: Row) -> tuple[str, tuple[tuple[str, str], ...]]:
    return row.name, tuple(sorted(row.parameters.items()))


def _change(row: Row, then: Row, name: str) -> RowChange | None:
    now, before = row.spread(name), then.spread(name)
    # Of the long survival table only what has changed is of interest.
    if now is None or before is None or (name == "whole" and now.median == before.median):
        return None
    ratio = _ratio(now, before, is_more_better=name in _MORE_IS_BETTER)
    return RowChange(row.name, name, before.median, now.median, ratio) if ratio is not None else None


def _ratio(now: Spread, before: Spread, *, is_more_better: bool) -> Ratio | None:
    if is_more_better:
        return compare(now.values, before.values)
    return compare(before.values, now.values)
