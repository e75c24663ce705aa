"""Metrics as plain integers, which a collector reads at scrape time (`observe.exposition`).

Names are in base units and follow Prometheus' naming practice. Labels come from a bounded set: bucket names,
methods, statuses, cache outcomes, never from what a client sends.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

# Seconds; a hit takes tens of microseconds, a slow origin half a minute.
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


# What `dump` and `merge` treat alike: numbers, and dictionaries of them.
_NUMBERS = (
    "connections_total",
    "connections_refused",
    "flights_total",
    "followers_total",
    "revalidations",
    "store_errors",
)
_BY_NAME = (
    "origin_retries",
    "origin_resumes",
    "origin_bytes",
    "coalesced_requests",
    "coalesced_bytes",
    "verdicts",
)


class Histogram:
    """Observations in fixed buckets; the last count is of those above all of them."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.sum = 0.0


class Metrics:
    """Every number of one process.

    `requests` maps (bucket, method, status, outcome) to [requests, body bytes]; `latencies` maps an outcome
    to its histogram. Other dictionaries are by bucket, `origin_requests` by (bucket, status or error name),
    `verdicts` by name.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int, str], list[int]] = {}
        self.latencies: dict[str, Histogram] = {}
        self.connections_total = 0
        self.connections_refused = 0
        self.origin_requests: dict[tuple[str, str], int] = {}
        self.origin_retries: dict[str, int] = {}
        self.origin_resumes: dict[str, int] = {}
        self.origin_bytes: dict[str, int] = {}
        self.flights_total = 0
        self.followers_total = 0
        self.coalesced_requests: dict[str, int] = {}
        self.coalesced_bytes: dict[str, int] = {}
        self.verdicts: dict[str, int] = {}
        self.revalidations = 0
        self.store_errors = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self._maxima: set[str] = set()

    def request(self, bucket: str, method: str, status: int, outcome: str, seconds: float, sent_bytes: int) -> None:
        """Count one answered request."""
        key = (bucket, method, status, outcome)
        counts = self.requests.get(key)
        if counts is None:
            counts = self.requests[key] = [0, 0]
        counts[0] += 1
        counts[1] += sent_bytes
        histogram = self.latencies.get(outcome)
        if histogram is None:
            histogram = self.latencies[outcome] = Histogram()
        histogram.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        histogram.sum += seconds

    def count_origin_request(self, bucket: str, outcome: str) -> None:
        """Count what was asked of an origin; `outcome` is a status, or the name of an error."""
        self.origin_requests[bucket, outcome] = self.origin_requests.get((bucket, outcome), 0) + 1

    def gauge(
        self, name: str, help_text: str, read: Callable[[], float], *, merge: Literal["sum", "max"] = "sum"
    ) -> None:
        """Register a number that is read when somebody looks; `merge` says what it is of several processes."""
        self.gauges[name] = (help_text, read)
        if merge == "max":
            self._maxima.add(name)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a number that only grows and is counted elsewhere; `name` without `_total`."""
        self.counters[name] = (help_text, read)

    def dump(self) -> dict[str, Any]:
        """Every number as of this moment, as plain values that JSON has too."""
        return {
            "requests": [[*key, *counts] for key, counts in self.requests.items()],
            "latencies": {outcome: [found.counts, found.sum] for outcome, found in self.latencies.items()},
            "origin_requests": [[*key, count] for key, count in self.origin_requests.items()],
            **{name: getattr(self, name) for name in _NUMBERS},
            **{name: dict(getattr(self, name)) for name in _BY_NAME},
            "gauges": [
                [name, help_text, "max" if name in self._maxima else "sum", read()]
                for name, (help_text, read) in self.gauges.items()
            ],
            "counters": [[name, help_text, read()] for name, (help_text, read) in self.counters.items()],
        }

    @classmethod
    def merge(cls, dumps: Iterable[Mapping[str, Any]]) -> "Metrics":
        """The numbers of several processes as those of one; each was dumped by this version of the program."""
        merged = cls()
        for dump in dumps:
            merged._add(dump)
        return merged

    def _add(self, dump: Mapping[str, Any]) -> None:
        for *parts, count, size in dump["requests"]:
            bucket, method, status, outcome = parts
            counts = self.requests.setdefault((bucket, method, status, outcome), [0, 0])
            counts[0] += count
            counts[1] += size
        for outcome, (found, total) in dump["latencies"].items():
            histogram = self.latencies.setdefault(outcome, Histogram())
            histogram.counts = [old + new for old, new in zip(histogram.counts, found, strict=True)]
            histogram.sum += total
        for bucket, result, count in dump["origin_requests"]:
            self.origin_requests[bucket, result] = self.origin_requests.get((bucket, result), 0) + count
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + dump[name])
        for name in _BY_NAME:
            sums = getattr(self, name)
            for label, count in dump[name].items():
                sums[label] = sums.get(label, 0) + count
        for name, help_text, how, value in dump["gauges"]:
            known = self.gauges.get(name)
            if known is not None:
                value = max(known[1](), value) if how == "max" else known[1]() + value
            self.gauge(name, help_text, _constant(value), merge=how)
        for name, help_text, value in dump["counters"]:
            known = self.counters.get(name)
            self.counter(name, help_text, _constant(value if known is None else known[1]() + value))


def _constant(value: float) -> Callable[[], float]:
    return lambda: value
