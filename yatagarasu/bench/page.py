"""A report as one self-contained page: tables, plots, no script, nothing loaded from anywhere."""

from html import escape

from yatagarasu.bench.charts import Line, latency_plot, time_plot
from yatagarasu.bench.compare import RowChange
from yatagarasu.bench.figures import COLUMNS, cell, figure, is_steady
from yatagarasu.bench.report import Report, Row

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --dim: #667; --rule: #d8dbe0; --first: #0b6e99;
  --second: #c2410c; --good: #15803d; --bad: #b91c1c; --so: #a16207; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #16181b; --dim: #9aa; --rule: #33373d;
  --first: #4fb3d9; --second: #fb923c; --good: #4ade80; --bad: #f87171; --so: #facc15; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p, li { max-width: 46rem; } .dim { color: var(--dim); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .9rem; color: var(--dim); }
svg { width: 100%; height: auto; display: block; } .grid { stroke: var(--rule); fill: none; }
.tick { fill: var(--dim); font-size: 14px; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.first { stroke: var(--first); } .second { stroke: var(--second); }
.good { color: var(--good); } .bad { color: var(--bad); } .so { color: var(--so); }
@media (max-width: 40rem) {
  .tick { font-size: 20px; } th, td { padding: .3rem .2rem; font-size: .8rem; } th { white-space: normal; }
  .cards thead { display: none; } .cards tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--rule); }
  .cards td { display: flex; justify-content: space-between; border: 0; padding: .1rem 0; font-size: 1rem; }
  .cards td::before { content: attr(data-name); color: var(--dim); } .cards td:first-child { font-weight: 600; }
  .cards td:first-child::before { content: none; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(report: Report, changes: list[RowChange] | None) -> str:
    """HTML of all of it."""
    steady = [row for row in report.rows if is_steady(row)]
    survival = [row for row in report.rows if row.scenario == "faults"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<link rel="icon" href="data:,">',
        f"<title>yatagarasu bench, {escape(report.started)}</title><style>{_STYLE}</style></head><body>",
        "<h1>yatagarasu bench</h1>",
        _about(report),
        _checks(report),
        _summary(steady) if steady else "",
        _changes(changes) if changes else "",
        _survival(survival) if survival else "",
        *(_row(row) for row in report.rows if row.scenario != "faults"),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def _about(report: Report) -> str:
    what = f"Measured: {escape(report.target)}." if report.target else "Measured: a private server."
    machine = ", ".join(f"{escape(name)} {escape(value)}" for name, value in report.machine.items())
    said = f"{escape(report.started)}, version {escape(report.version)}, {machine}"
    return f'<p>{what}<br><span class="dim">{said}</span></p>'


def _checks(report: Report) -> str:
    checks = [(row, check) for row in report.rows for check in row.checks]
    bad = [(row, check) for row, check in checks if not check.is_good]
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    failed = "".join(
        f'<li class="bad">{escape(row.name)}: not {escape(check.name)}: {escape(check.text)}</li>' for row, check in bad
    )
    style = "bad" if bad else "good"
    said = f'<p class="{style}">{len(checks) - len(bad)} of {len(checks)} checks hold.</p>' if checks else ""
    return said + (f"<ul>{failed}{notes}</ul>" if failed or notes else "")


def _table(headings: list[str], rows: list[list[str]], *, style: str = "") -> str:
    """Headings and cells are HTML. Where the page is narrow, "cards" shows each row as a list of its cells."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = ""
    for row in rows:
        cells = zip(headings, row, strict=True)
        tds = "".join(f'<td data-name="{heading}">{text}</td>' for heading, text in cells)
        body += f"<tr>{tds}</tr>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll {style}">{table}</div>'


def _summary(rows: list[Row]) -> str:
    headings = ["scenario", *(escape(heading) for heading, _ in COLUMNS)]
    cells = [[escape(row.name), *(escape(cell(row, name)) for _, name in COLUMNS)] for row in rows]
    return "<h2>Summary</h2>" + _table(headings, cells, style="cards")


def _changes(changes: list[RowChange]) -> str:
    rows = []
    for change in changes:
        ratio = change.ratio
        style, verdict = ("", "same within noise") if ratio.is_noise else ("good", "better")
        if not ratio.is_noise and ratio.value < 1:
            style, verdict = "bad", "worse"
        rows.append(
            [
                f"{escape(change.row)}, {escape(change.name)}",
                escape(figure(change.name, change.old)),
                escape(figure(change.name, change.new)),
                f"{ratio.value:.2f}",
                f"{ratio.low:.2f} to {ratio.high:.2f}",
                f'<span class="{style}">{verdict}</span>',
            ]
        )
    table = _table(["figure", "was", "is", "ratio", "could be", "verdict"], rows, style="cards")
    return f"<h2>Against the other report</h2><p>Ratios above 1 are better.</p>{table}"


def _survival(rows: list[Row]) -> str:
    cells = []
    for row in rows:
        counts = [row.median(name) for name in ("whole", "refused", "cut", "wrong", "origin_requests")]
        style = "bad" if row.median("wrong") else "good" if row.median("whole") == row.median("clients") else "so"
        texts = ["-" if count is None else f"{count:,.0f}" for count in counts]
        says = escape(row.parameters.get("the origin", ""))
        cells.append([f'<span class="{style}" title="{says}">{escape(row.case)}</span>', *texts])
    table = _table(["the origin …", "whole", "refused", "cut", "wrong", "origin"], cells)
    about = (
        f"What became of {rows[0].median('clients') or 0:,.0f} clients that wanted one cold object while its origin "
        "failed: the whole object; an error status; an answer that visibly ends early; an answer that looks whole "
        "and is not. Beside it, how many requests the origin saw."
    )
    return f'<h2>Survival</h2><p>{about}</p><div id="survival">{table}</div>'


def _row(row: Row) -> str:
    parameters = ", ".join(f"{escape(name)} {escape(value)}" for name, value in row.parameters.items() if value)
    parts = [f"<h2>{escape(row.name)}</h2>", f'<p class="dim">{parameters}</p>' if parameters else ""]
    plots = []
    if is_steady(row):
        latency = latency_plot([(row.name, row.latency.curve(), "first")])
        if latency:
            plots.append((latency, f"Latency by percentile; the longest {cell(row, 'max')}"))
        timeline = row.timeline
        rates = [(at * timeline.width, step[0] / timeline.width) for at, step in enumerate(timeline.steps(), 1)]
        # The last step is seldom a whole one.
        over_time = time_plot(Line(row.name, rates[:-1], "second"), "requests/s", "{:,.0f}".format)
        if over_time and row.scenario != "stampede":
            plots.append((over_time, "Requests/s over time, first run, warm-up included"))
    if plots:
        figures = "".join(f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for svg, text in plots)
        parts.append(f'<div class="plots">{figures}</div>')
    own = [name for name in row.headline if not any(name == column for _, column in COLUMNS)]
    values = [(name, row.median(name)) for name in own]
    told = [f"{escape(name.replace('_', ' '))}: {escape(figure(name, value))}" for name, value in values if value]
    told += [f'<span class="{"good" if check.is_good else "bad"}">{escape(check.name)}</span>: {escape(check.text)}'
             for check in row.checks]  # fmt: skip
    parts.append(f"<ul>{''.join(f'<li>{text}</li>' for text in told)}</ul>" if told else "")
    return "".join(parts)
