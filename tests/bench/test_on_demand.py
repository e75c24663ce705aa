"""Objects that their keys describe: the grammar, the order of faults, what the origin counts."""

import httpx
import pytest

from yatagarasu.bench.counts import KeyCounts, OriginCounts
from yatagarasu.bench.faults import NO_FAULT, Fault
from yatagarasu.bench.on_demand import describe
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes, seed_of


@pytest.mark.parametrize(
    "key", ["10KiB", "10KiB/", "k/17", "10KiB,nonsense/k", "10KiB,cut/k", "10KiB,cut=x/k", ",cut=1/k", "1x/k", ""]
)
def test_other_keys_describe_nothing(key: str):
    assert describe(key) is None


def test_a_size_alone():
    found = describe("10KiB/t/k17")
    assert found is not None
    assert (found.size, found.facts, found.answers, found.headers) == (10_240, NO_FAULT, (), ())


def test_facts_hold_for_every_answer_and_answers_come_in_turn():
    key = "1MiB,latency=100ms,ttl=5;cut=300KiB,weak_etag;status=503,retry_after=2/x"
    found = describe(key)
    assert found is not None
    assert found.headers == (("cache-control", "max-age=5"),)
    late = Fault(latency=0.1)
    cut = Fault(latency=0.1, cut_after=300 * 1024, weak_etag=True)
    refused = Fault(latency=0.1, status=503, retry_after=2)
    assert [found.fault(key, number) for number in (1, 2, 3, 4)] == [cut, refused, late, late]


def test_a_change_brings_other_bytes():
    key = "1KiB;cut=100,change=100/x"
    found = describe(key)
    assert found is not None
    fault = found.fault(key, 1)
    assert (fault.cut_after, fault.replace_after) == (100, 100)
    assert fault.new_data == pattern_bytes(seed_of(key) + 1, 0, 1024)


def test_counts_by_tag():
    counts = KeyCounts()
    for key in ("1B/a/x", "1B/a/x", "1B/a/y", "1B/b/x"):
        counts.add_request(key)
        counts.add_bytes(key, 10)
    assert counts.total("a") == OriginCounts(3, 30, 2, 2)
    assert counts.total() == OriginCounts(4, 40, 3, 2)
    assert counts.total("c") == OriginCounts()
    assert counts.requests("1B/a/x") == 2


async def test_the_origin_serves_what_is_described_and_says_what_it_was_asked(nursery):
    origin = EmbeddedOrigin()
    origin.store.make_bucket("bench")
    origin.store.on_demand.add("bench")
    await nursery.start(origin.serve)
    async with httpx.AsyncClient(base_url=origin.endpoint, trust_env=False) as client:
        key = "3000B,ttl=7;status=500;lie=0/t/k"
        answers = [await client.get(f"/bench/{key}") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [500, 200, 200]
        assert answers[2].content == pattern_bytes(seed_of(key), 0, 3000)
        assert answers[2].headers["cache-control"] == "max-age=7"
        assert answers[1].headers["etag"] == answers[2].headers["etag"]
        assert (await client.get("/bench/nothing/t")).status_code == 404
        found = OriginCounts.from_json((await client.get("/-/counts", params={"tag": "t"})).content)
        assert found == OriginCounts(requests=3, body_bytes=6000, keys=1, most=3)
        # Another bucket has only what was put there.
        origin.store.make_bucket("other")
        assert (await client.get("/other/3000B/t/k")).status_code == 404
