"""A report as text: a summary, the survival table, the other figures, what had to hold."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from yatagarasu.bench.compare import RowChange
from yatagarasu.bench.figures import COLUMNS, cell, figure, is_steady, volume
from yatagarasu.bench.report import Report, Row

# The summary needs this many columns; narrower ones get a block for each row.
_WIDE = 112
_PLAIN_WIDTH = 150
_LIMITS = {"server": "", "generator": " (generator's limit)", "core": " (core full)"}


def print_report(report: Report, changes: list[RowChange] | None, console: Console) -> None:
    """Print all of it."""
    steady = [row for row in report.rows if is_steady(row)]
    if steady:
        console.print(_summary(steady) if console.width >= _WIDE else _blocks(steady))
    survival = [row for row in report.rows if row.scenario == "faults"]
    if survival:
        console.print(_survival(survival))
    for line in _others(report.rows):
        console.print(line, highlight=False)
    if changes:
        console.print(_changes(changes))
    _print_checks(report, console)
    for note in report.notes:
        console.print(f"[dim]note: {escape(note)}[/]", highlight=False)


def _table(*headings: str, title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at == 0 else "right", no_wrap=True)
    return table


def _summary(rows: list[Row]) -> Table:
    table = _table("", *(heading for heading, _ in COLUMNS))
    for row in rows:
        table.add_row(row.name + limit_of(row), *(cell(row, name) for _, name in COLUMNS))
    return table


def _blocks(rows: list[Row]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(f"[bold]{escape(row.name)}[/]{limit_of(row)}", "")
        for heading, name in COLUMNS:
            table.add_row(f"  {heading}", cell(row, name))
    return table


def limit_of(row: Row) -> str:
    """What stood in the way of more, where it was not the server."""
    limits = [run.limit for run in row.runs if run.limit]
    return _LIMITS[max(set(limits), key=limits.count)] if limits else ""


def _survival(rows: list[Row]) -> Table:
    clients = rows[0].median("clients") or 0
    title = f"faults: what became of {clients:,.0f} clients each"
    table = _table("the origin …", "whole", "refused", "cut", "wrong", "origin requests", "last after", title=title)
    for row in rows:
        counts = [row.median(name) for name in ("whole", "refused", "cut", "wrong", "origin_requests")]
        style = "red" if row.median("wrong") else "green" if row.median("whole") == row.median("clients") else "yellow"
        texts = ["-" if count is None else f"{count:,.0f}" for count in counts]
        last = row.median("max") or 0.0
        table.add_row(f"[{style}]{escape(row.case)}[/]", *texts, figure("max", last) if last else "-")
    return table


def _others(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        if (speedup := row.median("speedup")) is not None:
            lines.append(f"coalescing: {speedup:.2f} times the requests per second of the same load without it")
        if (ratio := row.median("hit_ratio")) is not None:
            lines.append(f"mixed: {ratio:.1%} of requests without the origin")
        if (join := row.median("join_ns")) is not None:
            acquire, release = row.median("acquire_ns") or 0.0, row.median("release_ns") or 0.0
            lines.append(
                f"coalescer: join {join:,.0f} ns, acquire {acquire:,.0f} ns, release {release:,.0f} ns"
                " (flight, its task and verdict included)"
            )
        if (each := row.median("bytes_per_connection")) is not None:
            lines.append(f"connections: {volume(each)} of memory for each of {row.median('connections'):,.0f}")
    return lines


def _changes(changes: list[RowChange]) -> Table:
    table = _table("against the other report", "was", "is", "ratio", "could be", "", title="ratios above 1 are better")
    for change in changes:
        ratio = change.ratio
        verdict = "same within noise" if ratio.is_noise else "better" if ratio.value > 1 else "worse"
        style = {"better": "green", "worse": "red"}.get(verdict, "dim")
        table.add_row(
            f"{escape(change.row)}, {change.name}",
            figure(change.name, change.old),
            figure(change.name, change.new),
            f"{ratio.value:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"[{style}]{verdict}[/]",
        )
    return table


def _print_checks(report: Report, console: Console) -> None:
    checks = [(row, check) for row in report.rows for check in row.checks]
    bad = [(row, check) for row, check in checks if not check.is_good]
    for row, check in bad:
        text = f"{row.name}: not {check.name}: {check.text}"
        console.print(f"[red]FAILED[/] {escape(text)}", highlight=False, soft_wrap=True)
    if checks:
        console.print(f"{len(checks) - len(bad)} of {len(checks)} checks hold", highlight=False)


def console_for_output() -> Console:
    """The console of results: standard output, wide enough where that is a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH, highlight=False, no_color=True)
    return console
