import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from yatagarasu import __version__
from yatagarasu.observe.exposition import render
from yatagarasu.observe.metrics import Metrics

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.request("assets", "GET", 200, "hit", 0.0002, 100)
    metrics.request("assets", "GET", 206, "hit", 0.3, 10)
    metrics.request("assets", "GET", 404, "none", 40.0, 7)
    metrics.connections_total, metrics.connections_refused = 5, 1
    metrics.origin_requests["assets", "200"] = 3
    metrics.origin_requests["assets", "OriginBroken"] = 1
    metrics.origin_retries["assets"] = 4
    metrics.origin_resumes["assets"] = 2
    metrics.origin_bytes["assets"] = 1000
    metrics.flights_total, metrics.followers_total, metrics.revalidations = 9, 8, 7
    metrics.coalesced_requests["assets"] = 6
    metrics.coalesced_bytes["assets"] = 600
    metrics.verdicts["complete"] = 9
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = render(metrics)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


_BUCKET = ("bucket", "assets")


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("http_requests_total", [_BUCKET, ("cache", "hit"), ("method", "GET"), ("status", "206")], 1),
        ("http_response_bytes_total", [_BUCKET, ("cache", "hit")], 110),
        ("http_request_duration_seconds_count", [("cache", "hit")], 2),
        ("http_request_duration_seconds_sum", [("cache", "hit")], 0.3002),
        ("connections_total", [], 5),
        ("connections_refused_total", [], 1),
        ("origin_requests_total", [_BUCKET, ("result", "200")], 3),
        ("origin_requests_total", [_BUCKET, ("result", "OriginBroken")], 1),
        ("origin_retries_total", [_BUCKET], 4),
        ("origin_resumes_total", [_BUCKET], 2),
        ("origin_bytes_total", [_BUCKET], 1000),
        ("flights_total", [], 9),
        ("followers_total", [], 8),
        ("revalidations_total", [], 7),
        ("coalesced_requests_total", [_BUCKET], 6),
        ("coalesced_saved_bytes_total", [_BUCKET], 600),
        ("verdicts_total", [("verdict", "complete")], 9),
        ("build_info", [("version", __version__)], 1),
    ],
)
def test_every_number_has_its_series(metrics: Metrics, name: str, labels: list[tuple[str, str]], value: float):
    assert samples(metrics)[f"yatagarasu_{name}", tuple(labels)] == pytest.approx(value)


@pytest.mark.parametrize(
    ("outcome", "bound", "value"),
    [
        pytest.param("hit", "0.0001", 0, id="below"),
        pytest.param("hit", "0.00025", 1, id="first"),
        pytest.param("hit", "0.5", 2, id="cumulative"),
        pytest.param("hit", "+Inf", 2, id="all"),
        pytest.param("none", "30.0", 0, id="longer-than-the-last-bound"),
        pytest.param("none", "+Inf", 1, id="infinity-holds-it"),
    ],
)
def test_histogram_buckets_are_cumulative(metrics: Metrics, outcome: str, bound: str, value: int):
    name = "yatagarasu_http_request_duration_seconds_bucket"
    assert samples(metrics)[name, (("cache", outcome), ("le", bound))] == value


def test_gauges_are_read_when_somebody_looks(metrics: Metrics):
    held = [1.0]
    metrics.gauge("yatagarasu_memory_bytes", "Bytes held.", lambda: held[0])
    held[0] = 2.0
    assert samples(metrics)["yatagarasu_memory_bytes", ()] == 2.0


def test_registered_counters_are_counters(metrics: Metrics):
    metrics.counter("yatagarasu_memory_evictions", "Entries that left.", lambda: 3)
    assert samples(metrics)["yatagarasu_memory_evictions_total", ()] == 3


def test_the_process_is_described_too(metrics: Metrics):
    assert samples(metrics)["process_resident_memory_bytes", ()] > 0


def test_plain_text_without_accept(metrics: Metrics):
    assert render(metrics)[1].startswith("text/plain")


def test_openmetrics_where_it_is_asked_for(metrics: Metrics):
    body, content_type = render(metrics, _OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(body.decode())}
    assert "yatagarasu_http_requests" in families


def test_numbers_that_change_between_scrapes_are_seen(metrics: Metrics):
    before = samples(metrics)["yatagarasu_flights_total", ()]
    metrics.flights_total += 1
    assert samples(metrics)["yatagarasu_flights_total", ()] == before + 1


def test_nothing_counted_is_rendered_without_trouble():
    assert samples(Metrics())["yatagarasu_connections_total", ()] == 0
