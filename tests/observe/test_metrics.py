import pytest

from yatagarasu.observe.metrics import LATENCY_BUCKETS, Metrics


def test_requests_are_counted_by_bucket_method_status_and_outcome():
    metrics = Metrics()
    metrics.request("a", "GET", 200, "hit", 0.001, 100)
    metrics.request("a", "GET", 200, "hit", 0.001, 50)
    metrics.request("a", "HEAD", 200, "hit", 0.001, 0)
    metrics.request("b", "GET", 404, "none", 0.001, 7)
    assert metrics.requests == {
        ("a", "GET", 200, "hit"): [2, 150],
        ("a", "HEAD", 200, "hit"): [1, 0],
        ("b", "GET", 404, "none"): [1, 7],
    }


@pytest.mark.parametrize(
    ("seconds", "index"),
    [
        pytest.param(0.0, 0, id="zero"),
        pytest.param(0.0001, 0, id="a-bound-belongs-to-its-own-bucket"),
        pytest.param(0.00011, 1, id="just-above-a-bound"),
        pytest.param(30.0, len(LATENCY_BUCKETS) - 1, id="the-last-bound"),
        pytest.param(31.0, len(LATENCY_BUCKETS), id="above-all"),
    ],
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, index: int):
    metrics = Metrics()
    metrics.request("a", "GET", 200, "hit", seconds, 0)
    counts = metrics.latencies["hit"].counts
    assert [i for i, count in enumerate(counts) if count] == [index]
    assert metrics.latencies["hit"].sum == seconds


def test_outcomes_have_histograms_of_their_own():
    metrics = Metrics()
    metrics.request("a", "GET", 200, "hit", 0.001, 0)
    metrics.request("a", "GET", 200, "miss", 2.0, 0)
    assert (metrics.latencies["hit"].sum, metrics.latencies["miss"].sum) == (0.001, 2.0)


def test_latency_bounds_ascend():
    assert list(LATENCY_BUCKETS) == sorted(set(LATENCY_BUCKETS))
