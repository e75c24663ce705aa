"""Placeholder."""

from yatagarasu.bench.compare import RowChange
from yatagarasu.bench.report import Report


def render_page(report: Report, changes: list[RowChange] | None) -> str:
    """Later."""
    return ""
