"""Metrics for Prometheus: a collector over the plain integers, rendered as text or OpenMetrics."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from yatagarasu import __version__
from yatagarasu.observe.metrics import LATENCY_BUCKETS, Metrics

_PREFIX = "yatagarasu_"


class _Collector:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        yield self._build_info()
        yield from self._requests()
        yield from self._origin()
        yield from self._flights()
        metrics = self._metrics
        for name, (help_text, read) in metrics.gauges.items():
            yield GaugeMetricFamily(name, help_text, value=read())
        for name, (help_text, read) in metrics.counters.items():
            yield CounterMetricFamily(name, help_text, value=read())

    def _build_info(self) -> Metric:
        family = GaugeMetricFamily(f"{_PREFIX}build_info", "Version of the running program.", labels=["version"])
        family.add_metric([__version__], 1)
        return family

    def _requests(self) -> Iterable[Metric]:
        metrics = self._metrics
        requests = CounterMetricFamily(
            f"{_PREFIX}http_requests",
            "Requests answered.",
            labels=["bucket", "method", "status", "cache"],
        )
        sent = CounterMetricFamily(
            f"{_PREFIX}http_response_bytes", "Body bytes sent to clients.", labels=["bucket", "cache"]
        )
        sums: dict[tuple[str, str], int] = {}
        for (bucket, method, status, outcome), (count, size) in metrics.requests.items():
            requests.add_metric([bucket, method, str(status), outcome], count)
            sums[bucket, outcome] = sums.get((bucket, outcome), 0) + size
        for (bucket, outcome), size in sums.items():
            sent.add_metric([bucket, outcome], size)
        yield requests
        yield sent
        latencies = HistogramMetricFamily(
            f"{_PREFIX}http_request_duration_seconds",
            "Time from a request's head to the last byte of its answer.",
            labels=["cache"],
        )
        for outcome, histogram in metrics.latencies.items():
            total, buckets = 0, []
            for bound, count in zip((*map(str, LATENCY_BUCKETS), "+Inf"), histogram.counts, strict=True):
                total += count
                buckets.append((bound, total))
            latencies.add_metric([outcome], buckets, histogram.sum)
        yield latencies
        yield CounterMetricFamily(
            f"{_PREFIX}connections", "Client connections accepted.", value=metrics.connections_total
        )
        yield CounterMetricFamily(
            f"{_PREFIX}connections_refused",
            "Client connections turned away at max_connections.",
            value=metrics.connections_refused,
        )

    def _origin(self) -> Iterable[Metric]:
        metrics = self._metrics
        family = CounterMetricFamily(
            f"{_PREFIX}origin_requests",
            "Requests to origins, by status or error.",
            labels=["bucket", "result"],
        )
        for (bucket, result), count in metrics.origin_requests.items():
            family.add_metric([bucket, result], count)
        yield family
        for name, help_text, counts in (
            ("origin_retries", "Fetches tried again before their head.", metrics.origin_retries),
            ("origin_resumes", "Fetches continued after a break in the body.", metrics.origin_resumes),
            ("origin_bytes", "Body bytes received from origins.", metrics.origin_bytes),
            ("coalesced_requests", "Requests answered out of another's fetch.", metrics.coalesced_requests),
            (
                "coalesced_saved_bytes",
                "Body bytes sent to clients that cost no origin byte of their own.",
                metrics.coalesced_bytes,
            ),
        ):
            by_bucket = CounterMetricFamily(f"{_PREFIX}{name}", help_text, labels=["bucket"])
            for bucket, count in counts.items():
                by_bucket.add_metric([bucket], count)
            yield by_bucket

    def _flights(self) -> Iterable[Metric]:
        metrics = self._metrics
        yield CounterMetricFamily(f"{_PREFIX}flights", "Origin fetches launched.", value=metrics.flights_total)
        yield CounterMetricFamily(
            f"{_PREFIX}followers",
            "Requests that joined a fetch before its head.",
            value=metrics.followers_total,
        )
        yield CounterMetricFamily(f"{_PREFIX}revalidations", "Entries found good again.", value=metrics.revalidations)
        yield CounterMetricFamily(
            f"{_PREFIX}store_errors", "Bodies that found no place to be kept.", value=metrics.store_errors
        )
        verdicts = CounterMetricFamily(f"{_PREFIX}verdicts", "How fetches ended.", labels=["verdict"])
        for verdict, count in metrics.verdicts.items():
            verdicts.add_metric([verdict], count)
        yield verdicts


def render(metrics: Metrics, accept: str = "") -> tuple[bytes, str]:
    """All metrics as bytes and their content type, OpenMetrics where Accept asks for it."""
    registry = CollectorRegistry(auto_describe=False)
    # CPU seconds, memory, open files, start time: what a dashboard puts beside every number of ours.
    ProcessCollector(registry=registry)
    registry.register(_Collector(metrics))
    try:
        encoder, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # It compares versions, and not all that an Accept may call one can be compared.
        encoder, content_type = choose_encoder("")
    return encoder(registry), content_type
