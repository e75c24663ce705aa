"""What becomes of a report: JSON and back, tables, comparisons, the page."""

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from yatagarasu.bench.charts import Line, latency_plot, time_plot
from yatagarasu.bench.compare import compare_reports, unmatched
from yatagarasu.bench.figures import duration, figure, volume
from yatagarasu.bench.latency import Histogram
from yatagarasu.bench.measure import check_answers
from yatagarasu.bench.page import render_page
from yatagarasu.bench.report import Report, Row, Run
from yatagarasu.bench.table import print_report
from yatagarasu.errors import ConfigError


def run(rate: float, p99: float = 0.01, **numbers: float) -> Run:
    found = {"rate": rate, "throughput": rate * 1000, "p50": 0.001, "p90": 0.002, "p99": p99, "p99.9": 0.02, "max": 0.5}
    found |= {"failed": 0.0, "good": 100.0, "origin_requests": 3.0, "saved_bytes": 2.5e9} | numbers
    latency = Histogram()
    for number in range(1, 1001):
        latency.record(number * 10_000)
    return Run(numbers=found, latency=list(latency.pairs()), timeline=(0.1, [(10, 1000, 0), (20, 2000, 0), (5, 1, 1)]))


def report(*rows: Row) -> Report:
    return Report(version="1", started="2026-01-02T03:04:05Z", machine={"cores": "2"}, rows=list(rows))


def full_report() -> Report:
    hit = Row(scenario="hit", parameters={"size": "10KiB"}, runs=[run(1000.0), run(1100.0), run(900.0)])
    hit.check("every answer right", True, "300")
    broken = Row(scenario="faults", case="cut <b>, once", parameters={"the origin": "cuts"}, headline=["whole"])
    broken.runs.append(Run(numbers={"clients": 8.0, "whole": 7.0, "refused": 0.0, "cut": 0.0, "wrong": 1.0}))
    broken.check("nothing wrong looks right", False, "1 answer <script>")
    coalescer = Row(scenario="coalescer", headline=["join_ns"])
    coalescer.runs.append(Run(numbers={"join_ns": 250.0, "acquire_ns": 9000.0, "release_ns": 1.0}))
    idle = Row(scenario="connections", headline=["bytes_per_connection"])
    idle.runs.append(Run(numbers={"bytes_per_connection": 7200.0, "connections": 1000.0}))
    on = Row(scenario="coalescing", case="on", runs=[run(2.0, speedup=2.5)])
    mixed = Row(scenario="mixed", runs=[run(5.0, hit_ratio=0.75)])
    found = report(hit, mixed, on, broken, coalescer, idle)
    found.notes.append("where the limit is the generator, the server could have done more")
    return found


def text_of(found: Report, *, width: int, changes: list | None = None) -> str:
    out = io.StringIO()
    print_report(found, changes, Console(file=out, width=width, no_color=True))
    return out.getvalue()


@pytest.mark.parametrize(
    ("goods", "errors", "is_good"),
    [((3.0, 2.0), {}, True), ((3.0, 2.0), {"short": 1}, False), ((3.0, 0.0), {}, False), ((0.0,), {"short": 1}, False)],
)
def test_answers_that_never_came_are_not_all_right(goods: tuple[float, ...], errors: dict[str, int], is_good: bool):
    row = Row(scenario="large", runs=[Run(numbers={"good": good}, errors=errors) for good in goods])
    check_answers(row)
    assert row.is_good == is_good


def test_a_report_survives_json():
    found = full_report()
    assert Report.from_json(found.to_json(), "x") == found


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other"}', '{"format": "yatagarasu-bench/1", "rows": 3}'])
def test_what_is_no_report_is_named(text: str):
    with pytest.raises(ConfigError, match=r"old\.json is no report"):
        Report.from_json(text, "old.json")


def test_times_and_volumes():
    assert [duration(s) for s in (0.0, 5e-9, 1.234e-6, 0.000999, 0.0123, 0.9999, 61.0)] == [
        "0", "5 ns", "1.23 µs", "999 µs", "12.3 ms", "1 s", "61 s",
    ]  # fmt: skip
    assert [volume(s) for s in (0, 999, 1500, 2.5e9, 3e12)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3 TB"]
    assert figure("join_ns", 1234.5) == "1,234 ns"
    assert figure("throughput", 1.5e9) == "1,500"


def test_the_summary_has_medians_with_their_spread():
    text = text_of(full_report(), width=150)
    line = next(line for line in text.splitlines() if line.lstrip().startswith("hit"))
    assert re.split(r" {2,}", line.strip()) == [
        "hit", "1,000 ±10%", "1.00", "1 ms", "2 ms", "10 ms", "20 ms", "500 ms", "3", "2.5 GB", "0",
    ]  # fmt: skip


def test_everything_is_told_and_what_does_not_hold_first():
    text = text_of(full_report(), width=150)
    assert "FAILED faults: cut <b>, once: not nothing wrong looks right: 1 answer <script>" in text
    assert "1 of 2 checks hold" in text
    assert "coalescing: 2.50 times" in text
    assert "mixed: 75.0% of requests without the origin" in text
    assert "join 250 ns" in text
    assert "7.2 kB of memory for each of 1,000" in text
    assert "note: where the limit is the generator" in text


def test_a_narrow_terminal_gets_blocks_that_fit():
    lines = text_of(report(full_report().rows[0]), width=60).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert any(line.split() == ["p99.9", "20", "ms"] for line in lines)


def test_ratios_are_turned_so_that_more_is_better():
    old = report(Row(scenario="hit", runs=[run(1000.0, 0.01)] * 3))
    new = report(Row(scenario="hit", runs=[run(800.0, 0.02)] * 3))
    rate, p99 = compare_reports(new, old)
    assert (rate.name, round(rate.ratio.value, 3), p99.name, round(p99.ratio.value, 3)) == ("rate", 0.8, "p99", 0.5)
    assert rate.is_under(0.9)
    assert not rate.is_under(0.7)
    assert not p99.is_under(0.9)  # Latencies under full load are shown and decide nothing.


def test_noise_fails_nobody():
    old = report(Row(scenario="hit", runs=[run(1000.0), run(700.0), run(1200.0)]))
    new = report(Row(scenario="hit", runs=[run(800.0), run(850.0), run(750.0)]))
    rate = compare_reports(new, old)[0]
    assert rate.ratio.value < 0.9
    assert rate.ratio.is_noise
    assert not rate.is_under(0.9)


def test_rows_with_other_parameters_are_not_compared():
    old = report(Row(scenario="hit", parameters={"size": "1KiB"}, runs=[run(1.0)]))
    new = report(Row(scenario="hit", parameters={"size": "2KiB"}, runs=[run(1.0)]))
    assert compare_reports(new, old) == []
    assert unmatched(new, old) == ["hit"]


class Page(HTMLParser):
    """Tags that are open, and all text."""

    void = frozenset(("meta", "link", "br"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_loads_nothing():
    found = full_report()
    html = render_page(found, compare_reports(found, found))
    page = Page()
    page.feed(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object"} == set()
    assert [attrs["href"] for tag, attrs in page.tags if "href" in attrs] == ["data:,"]
    assert not re.search(r"https?://|url\(|@import", html)
    assert "cut <b>, once" in page.text
    assert "1 answer <script>" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 6  # Two plots of each steady row.


def test_a_distribution_is_drawn_within_its_axes():
    latency = Histogram()
    for number in range(1, 100_001):
        latency.record(number * 1000)
    svg = latency_plot([("x", latency.curve(), "first")])
    path = re.search(r'class="line first" d="M([^"]*)"', svg)
    assert path is not None
    points = [tuple(map(float, point.split())) for point in path[1].split("L")]
    assert len(points) > 20
    assert all(0 <= x <= 640 and 0 <= y <= 300 for x, y in points)
    assert points == sorted(points, key=lambda point: point[0])  # Percentiles to the right,
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)  # latencies upwards.
    assert all(name in svg for name in ("50 %", "99.9 %", "100 ms"))


def test_plots_of_nothing_are_left_out():
    assert latency_plot([("x", [], "first")]) == ""
    assert time_plot(Line("x", [(0.1, 5.0)], "first"), "requests/s", str) == ""


def test_a_rate_of_zero_can_be_drawn():
    assert "<svg" in time_plot(Line("x", [(0.1, 0.0), (0.2, 0.0)], "first"), "requests/s", str)
