"""Plots as SVG text: latency by percentile, throughput over time. No script, no style from elsewhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from yatagarasu.bench.figures import duration

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 100, 24, 16, 44
_MAX_POINTS = 400
# The percentiles that the axis of a distribution names.
_PERCENTS = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot: points (x, y), in the units of its axes; `style` is a class of the page."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values [low, high] onto pixels [start, stop]; ticks (value, text)."""

    low: float
    high: float
    start: float
    stop: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (min(max(value, self.low), self.high) - self.low) / span * (self.stop - self.start)


def latency_plot(curves: Sequence[tuple[str, Sequence[tuple[float, int]], str]]) -> str:
    """Latency by percentile, the axis stretched towards 100 % as HdrHistogram's plots have it.

    `curves`: (name, points (percent, ns), style); those without points are left out.
    """
    drawn = [curve for curve in curves if curve[1]]
    if not drawn:
        return ""
    nines = max(_nines(point[0]) for _, points, _ in drawn for point in points if point[0] < 100) if drawn else 1.0
    lines = []
    for name, points, style in drawn:
        # The maximum stands where the axis ends.
        places = [(nines if percent >= 100 else _nines(percent), math.log10(max(ns, 1))) for percent, ns in points]
        lines.append(Line(name, places, style))
    low = math.floor(min(y for line in lines for _, y in line.points))
    high = max(low + 1, math.ceil(max(y for line in lines for _, y in line.points)))
    x_ticks = [(_nines(percent), f"{percent:g} %") for percent in _PERCENTS if _nines(percent) <= nines]
    y_ticks = [(float(power), duration(10.0**power / 1e9)) for power in range(low, high + 1)]
    return _plot(lines, (0.0, nines, x_ticks), (float(low), float(high), y_ticks), "latency by percentile")


def time_plot(line: Line, unit: str, show: Callable[[float], str]) -> str:
    """A number over seconds, from 0 up."""
    if len(line.points) < 2:
        return ""
    step = -(-len(line.points) // _MAX_POINTS)
    kept = Line(line.name, line.points[::step], line.style)
    last = max(x for x, _ in line.points)
    top = _round_up(max(y for _, y in line.points))
    x_ticks = [(last * part / 4, f"{last * part / 4:.3g} s") for part in range(5)]
    y_ticks = [(top * part / 4, show(top * part / 4)) for part in range(5)]
    return _plot([kept], (0.0, last, x_ticks), (0.0, top, y_ticks), f"{unit} over time")


def _nines(percent: float) -> float:
    return -math.log10(max(1e-7, 1 - percent / 100))


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(step * factor for factor in (1, 2, 4, 5, 8, 10) if value <= step * factor * 1.0001)


_Range = tuple[float, float, Sequence[tuple[float, str]]]


def _plot(lines: Sequence[Line], x_range: _Range, y_range: _Range, title: str) -> str:
    x = _Axis(x_range[0], x_range[1], _LEFT, _WIDTH - _RIGHT, x_range[2])
    y = _Axis(y_range[0], y_range[1], _HEIGHT - _BOTTOM, _TOP, y_range[2])
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value, text in y.ticks:
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.stop:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{x.start - 8:.1f}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    for value, text in x.ticks:
        at = x.at(value)
        # What stands under the end of the axis must not stick out.
        anchor = "end" if at > x.stop - _RIGHT else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} {y.start:.1f}V{y.stop:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{y.start + 24:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        )
    for line in lines:
        path = "L".join(f"{x.at(px):.1f} {y.at(py):.1f}" for px, py in line.points)
        parts.append(f'<path class="line {line.style}" d="M{path}"><title>{escape(line.name)}</title></path>')
    parts.append("</svg>")
    return "".join(parts)
