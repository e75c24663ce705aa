"""Numbers as people read them, the same in tables and on pages."""

from yatagarasu.bench.report import Row

# Steps of a time, and the unit that each is written in.
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
# The columns of the summary: heading, the number's name.
COLUMNS = (
    ("requests/s", "rate"),
    ("MB/s", "throughput"),
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p99.9"),
    ("max", "max"),
    ("origin requests", "origin_requests"),
    ("saved", "saved_bytes"),
    ("errors", "failed"),
)
NONE = "-"


def is_steady(row: Row) -> bool:
    """Whether a row is of requests that the summary's columns say something about."""
    return row.scenario != "faults" and row.median("rate") is not None


def cell(row: Row, name: str) -> str:
    """The median of a number over a row's runs, with its spread where it is a rate."""
    value = row.median(name)
    if value is None:
        return NONE
    # What a herd of one request each has per second says nothing.
    if row.scenario == "stampede" and name in ("rate", "throughput"):
        return NONE
    text = figure(name, value)
    spread = row.spread(name)
    if name == "rate" and spread is not None and len(row.runs) > 1:
        text += f" ±{spread.noise:.0%}"
    return text


def figure(name: str, value: float) -> str:
    """A number by its name."""
    if name in ("p50", "p90", "p99", "p99.9", "max") or name.endswith("_seconds"):
        return duration(value)
    if name.endswith("_ns"):
        return f"{value:,.0f} ns"
    if name == "throughput":
        return f"{value / 1e6:,.0f}" if value >= 10e6 else f"{value / 1e6:,.2f}"
    if "bytes" in name:
        return volume(value)
    if name in ("speedup", "hit_ratio", "server_share", "generator_share"):
        return f"{value:.2f}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Three digits and a unit: "1.23 ms"."""
    for step, unit in _TIMES:
        if seconds >= step * 0.9995:
            value = seconds / step
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    return "0"


def volume(size: float) -> str:
    """Bytes in decimal units, as throughput is: "1.2 GB"."""
    for step, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= step:
            return f"{size / step:.3g} {unit}" if size < 999.5 * step else f"{size / step:,.0f} {unit}"
    return f"{size:.0f} B"
