"""Metrics as plain integers, which a collector reads at scrape time (`observe.exposition`).

Names are in base units and follow Prometheus' naming practice. Labels come from a bounded set: bucket names,
methods, statuses, cache outcomes, never from what a client sends.
"""

from bisect import bisect_left
from collections.abc import Callable

# Seconds; a hit takes tens of microseconds, a slow origin half a minute.
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


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

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a number that is read when somebody looks."""
        self.gauges[name] = (help_text, read)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a number that only grows and is counted elsewhere; `name` without `_total`."""
        self.counters[name] = (help_text, read)
