"""F11 and RFC 9111 through the whole core: stale answers, validation, Vary, directives, conditions."""

import random

import pytest
import trio

from tests.fakes import Play, etag_of
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import OriginUnreachable

DATA = random.Random(8).randbytes(20_000)
NEW = random.Random(9).randbytes(30_000)


async def test_stale_if_error_hides_an_origin_that_is_down(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(timing=Timing(ttl=1.0, stale_if_error=60.0))
    await rig.ask()
    await trio.sleep(10)
    origin.default = Play(error=OriginUnreachable("refused"))
    client = await rig.ask()
    assert client.body == DATA
    assert client.header("x-cache") == "STALE"
    await trio.sleep(60)
    assert (await rig.ask()).status == 502
    await rig.settle()


async def test_must_revalidate_forbids_what_is_stale(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(headers=[("cache-control", "max-age=1, must-revalidate")])]
    rig = make_rig(timing=Timing(stale_if_error=60.0, stale_while_revalidate=60.0))
    await rig.ask()
    await trio.sleep(2)
    origin.default = Play(error=OriginUnreachable("refused"))
    assert (await rig.ask()).status == 502
    await rig.settle()


async def test_a_304_makes_the_entry_fresh_again(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(timing=Timing(ttl=10.0))
    await rig.ask()
    await trio.sleep(11)
    client = await rig.ask()
    assert client.header("x-cache") == "REVALIDATED"
    assert client.body == DATA
    hit = await rig.ask()
    assert hit.header("x-cache") == "HIT"
    assert hit.header("age") == "0"
    assert origin.sent_bytes == len(DATA)
    await rig.settle()


async def test_a_changed_object_replaces_the_stale_entry(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(timing=Timing(ttl=10.0))
    await rig.ask()
    origin.objects["k"] = NEW
    origin.last_modified = "Sun, 06 Nov 1994 09:00:00 GMT"
    assert (await rig.ask()).body == DATA
    await trio.sleep(11)
    assert (await rig.ask()).body == NEW
    await rig.settle()


async def test_without_any_ttl_each_use_is_validated(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(timing=Timing())
    await rig.ask()
    assert (await rig.ask()).header("x-cache") == "REVALIDATED"
    assert origin.sent_bytes == len(DATA)
    await rig.settle()


async def test_age_counts_whole_seconds(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    await rig.ask()
    await trio.sleep(42.5)
    assert (await rig.ask()).header("age") == "42"
    await rig.settle()


async def test_vary_keeps_variants_apart(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(latency=0.1, headers=[("vary", "Accept-Language")])
    rig = make_rig()
    for language in ("en", "de", "en"):
        await rig.ask(accept_language=language)
    assert len(origin.requests) == 2
    assert (await rig.ask(accept_language="de")).header("x-cache") == "HIT"
    assert (await rig.ask(accept_language="fr")).header("x-cache") == "MISS"
    await rig.settle()


async def test_followers_of_another_variant_fetch_their_own(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(latency=0.1, headers=[("vary", "accept-language")])
    rig = make_rig()
    async with trio.open_nursery() as nursery:
        for language in ("en", "de", "en", "de"):
            nursery.start_soon(lambda language=language: rig.ask(accept_language=language))
    assert len(origin.requests) == 2
    await rig.settle()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": etag_of(DATA)}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_match": '"other"'}, 412),
        ({"if_match": etag_of(DATA)}, 200),
        ({"if_modified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 304),
        ({"if_modified_since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
        ({"if_unmodified_since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 412),
        ({"range": "bytes=0-9", "if_range": etag_of(DATA)}, 206),
        ({"range": "bytes=0-9", "if_range": '"other"'}, 200),
        ({"range": "bytes=99999-"}, 416),
        ({"range": "lines=1-2"}, 200),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_conditions_and_ranges(autojump_clock, make_rig, origin, headers, status, is_warm):
    origin.objects["k"] = DATA
    rig = make_rig()
    if is_warm:
        await rig.ask()
    client = await rig.ask(**headers)
    assert client.status == status
    assert client.is_whole or status == 304
    if status == 416:
        assert client.header("content-range") == f"bytes */{len(DATA)}"
    if status == 304:
        assert client.body == b""
        assert client.header("etag") == etag_of(DATA)
    await rig.settle()


@pytest.mark.parametrize(
    ("directives", "outcome"),
    [
        ("no-cache", "REVALIDATED"),
        ("max-age=5", "REVALIDATED"),
        ("max-age=15", "HIT"),
        ("min-fresh=5000", "REVALIDATED"),
        ("no-store", "PASS"),
        ("only-if-cached", "HIT"),
    ],
)
async def test_request_directives(autojump_clock, make_rig, origin, directives, outcome):
    origin.objects["k"] = DATA
    rig = make_rig()
    await rig.ask()
    await trio.sleep(10)
    client = await rig.ask(cache_control=directives)
    assert client.header("x-cache") == outcome
    assert client.body == DATA
    await rig.settle()


async def test_only_if_cached_of_a_cold_key_is_504(autojump_clock, make_rig, origin):
    rig = make_rig()
    assert (await rig.ask(cache_control="only-if-cached")).status == 504
    assert origin.requests == []


async def test_cdn_cache_control_beats_cache_control(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(headers=[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")])
    rig = make_rig(timing=Timing())
    await rig.ask()
    assert (await rig.ask()).header("x-cache") == "HIT"
    await rig.settle()


async def test_a_part_never_carries_a_checksum_of_the_whole(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(headers=[("x-amz-checksum-crc32", "AAAA"), ("content-md5", "BBBB")])
    rig = make_rig()
    whole, part = await rig.ask(), await rig.ask(range="bytes=0-9")
    assert whole.header("x-amz-checksum-crc32") == "AAAA"
    assert part.header("x-amz-checksum-crc32") is None
    assert part.header("content-md5") is None
    await rig.settle()


async def test_cache_status_tells_what_happened(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(latency=0.1)
    rig = make_rig()
    clients = await rig.herd(2)
    assert sorted(client.header("cache-status") for client in clients) == [
        "yatagarasu; fwd=uri-miss; ttl=3599; stored",
        "yatagarasu; fwd=uri-miss; ttl=3599; stored; collapsed",
    ]
    assert (await rig.ask()).header("cache-status") == "yatagarasu; hit; ttl=3599"
    await rig.settle()


async def test_keyed_headers_keep_entries_apart(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(keyed=("x-tenant",))
    await rig.ask(x_tenant="a")
    assert (await rig.ask(x_tenant="b")).header("x-cache") == "MISS"
    assert (await rig.ask(x_tenant="a")).header("x-cache") == "HIT"
    await rig.settle()
