"""Our S3-FIFO hits as often as libcachesim's; `tests.benchmarks.hit_ratio` is the whole table."""

import pytest
from libcachesim import S3FIFO

from tests.benchmarks.hit_ratio import Trace, mixed, ours, theirs, unit, with_scan, zipf

KEYS = zipf(1.0, seed=7, objects=10_000, requests=60_000)
SCAN = with_scan(KEYS, every=6_000, length=1_500)
# The reference lets nothing in that is as large as its small queue; ours does, and no key here is that large.
SIZED = mixed("zipf of mixed sizes", KEYS, seed=7, largest=128 << 10)
TRACES = [unit("zipf", KEYS), SIZED, unit("zipf with scans", SCAN)]


@pytest.mark.parametrize("share", [0.01, 0.1], ids="cache {:.0%}".format)
@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_hits_as_often_as_the_reference(trace: Trace, share: float):
    max_size = int(trace.footprint * share)
    mine, reference = ours(trace, max_size), theirs(S3FIFO, trace, max_size)
    assert reference.requests > 0.3
    assert mine.requests > reference.requests - 0.015
    assert mine.bytes > reference.bytes - 0.015
