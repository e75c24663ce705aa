from dataclasses import replace
from math import inf

import pytest

from yatagarasu.cache.body import MemoryBody
from yatagarasu.cache.entry import Entry, Lifetime
from yatagarasu.cache.policy import (
    Decision,
    NotStorable,
    Timing,
    decide,
    freshened,
    make_entry,
    may_serve_on_error,
    may_serve_while_revalidating,
    storable,
    validators,
)
from yatagarasu.http.cache_control import parse_request_directives
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.messages import ResponseHead

NOW = 1_000_000_000.0
DATE = ("date", format_http_date(NOW))
IN_A_MINUTE = ("expires", format_http_date(NOW + 60))
ETAG, LAST_MODIFIED = '"v1"', format_http_date(NOW - 5000)


def judge(
    *pairs: Pair,
    status: int = 200,
    method: str = "GET",
    request: str = "",
    authorized: bool = False,
    timing: Timing = Timing(),  # noqa: B008 - frozen
) -> Lifetime | NotStorable:
    return storable(
        method=method,
        request=parse_request_directives(Headers([("cache-control", request)] if request else [])),
        response=ResponseHead(status, Headers([DATE, *pairs])),
        authorized=authorized,
        timing=timing,
        now=NOW,
    )


def lifetime_of(*pairs: Pair, **arguments: object) -> Lifetime:
    judged = judge(*pairs, **arguments)  # type: ignore[arg-type]
    assert isinstance(judged, Lifetime), judged
    return judged


def cache_control(text: str) -> Pair:
    return ("cache-control", text)


# What may be stored.


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"method": "POST"}, id="3-method"),
        pytest.param({"method": "PUT"}, id="3-method-unsafe"),
        pytest.param({"request": "no-store"}, id="5.2.1.5-request-no-store"),
        pytest.param({"request": "max-age=0, no-store"}, id="5.2.1.5-among-others"),
        pytest.param({"status": 302}, id="4.2.2-status-not-heuristically-cacheable"),
        pytest.param({"status": 500}, id="3-server-error"),
        pytest.param({"status": 503}, id="3-server-error-503"),
        pytest.param({"status": 304}, id="3-304-is-no-response-of-its-own"),
        pytest.param({"status": 100}, id="3-final-status-only"),
        pytest.param({"authorized": True}, id="3.5-authorization"),
    ],
)
def test_not_storable_without_directives(arguments: dict[str, object]) -> None:
    assert isinstance(judge(timing=Timing(ttl=60.0), **arguments), NotStorable)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(cache_control("no-store"), id="5.2.2.5-no-store"),
        pytest.param(cache_control("max-age=60, no-store"), id="5.2.2.5-no-store-beats-max-age"),
        pytest.param(cache_control("NO-STORE"), id="5.2-names-in-any-case"),
        pytest.param(cache_control("private"), id="5.2.2.7-private"),
        pytest.param(cache_control("public, private"), id="4.2.1-the-more-restrictive-of-two"),
        pytest.param(cache_control('private="x-user"'), id="5.2.2.7-private-qualified"),
        pytest.param(("set-cookie", "id=1"), id="7.3-set-cookie"),
        pytest.param(("vary", "*"), id="4.1-vary-star"),
        pytest.param(("vary", "accept, *"), id="4.1-vary-star-in-a-list"),
        pytest.param(("cdn-cache-control", "no-store"), id="rfc9213-2.2-targeted-no-store"),
        pytest.param(("cdn-cache-control", "private"), id="rfc9213-2.2-targeted-private"),
    ],
)
@pytest.mark.parametrize(
    "timing",
    [pytest.param(Timing(ttl=60.0), id="ttl"), pytest.param(Timing(ttl_override=60.0), id="ttl_override")],
)
def test_what_forbids_storing_does_so_whatever_the_operator_says(pair: Pair, timing: Timing) -> None:
    assert isinstance(judge(pair, timing=timing), NotStorable)


@pytest.mark.parametrize("status", [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414])
def test_statuses_of_rfc9110_15_1_are_stored_without_explicit_freshness(status: int) -> None:
    assert isinstance(judge(status=status), Lifetime)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(cache_control("max-age=60"), id="5.2.2.1-max-age"),
        pytest.param(cache_control("s-maxage=60"), id="5.2.2.10-s-maxage"),
        pytest.param(IN_A_MINUTE, id="5.3-expires"),
    ],
)
def test_another_status_is_stored_with_explicit_freshness(pair: Pair) -> None:
    assert lifetime_of(pair, status=302).fresh_seconds == 60.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_not_stored_even_with_max_age(status: int) -> None:
    assert isinstance(judge(cache_control("max-age=60"), status=status), NotStorable)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_are_stored(method: str) -> None:
    assert isinstance(judge(method=method), Lifetime)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("public", id="5.2.2.9-public"),
        pytest.param("must-revalidate", id="5.2.2.2-must-revalidate"),
        pytest.param("s-maxage=60", id="5.2.2.10-s-maxage"),
        pytest.param("s-maxage=0", id="5.2.2.10-s-maxage-zero"),
    ],
)
def test_section_3_5_directives_that_let_an_authorized_response_be_stored(text: str) -> None:
    assert isinstance(judge(cache_control(text), authorized=True), Lifetime)


@pytest.mark.parametrize("text", ["max-age=60", "proxy-revalidate", "immutable, max-age=60", "no-cache"])
def test_section_3_5_directives_that_do_not(text: str) -> None:
    assert isinstance(judge(cache_control(text), authorized=True), NotStorable)


def test_section_5_2_2_3_must_understand_lifts_no_store_for_a_known_status() -> None:
    assert lifetime_of(cache_control("must-understand, no-store, max-age=60")).fresh_seconds == 60.0


def test_section_5_2_2_3_must_understand_keeps_no_store_for_an_unknown_status() -> None:
    assert isinstance(judge(cache_control("must-understand, no-store, max-age=60"), status=299), NotStorable)


def test_section_5_2_2_3_must_understand_alone_refuses_an_unknown_status() -> None:
    assert isinstance(judge(cache_control("must-understand, max-age=60"), status=299), NotStorable)


def test_section_5_2_2_3_must_understand_does_not_lift_private() -> None:
    assert isinstance(judge(cache_control("must-understand, private")), NotStorable)


# For how long.


@pytest.mark.parametrize(
    ("pairs", "fresh_seconds"),
    [
        pytest.param([cache_control("max-age=60")], 60.0, id="5.2.2.1-max-age"),
        pytest.param([cache_control('max-age="60"')], 60.0, id="5.2-both-argument-forms"),
        pytest.param([cache_control("max-age=0")], 0.0, id="5.2.2.1-zero"),
        pytest.param([cache_control("max-age=60, s-maxage=10")], 10.0, id="4.2.1-s-maxage-over-max-age"),
        pytest.param([cache_control("s-maxage=100, max-age=1")], 100.0, id="4.2.1-s-maxage-in-any-order"),
        pytest.param([IN_A_MINUTE], 60.0, id="4.2.1-expires-less-date"),
        pytest.param([cache_control("max-age=10"), IN_A_MINUTE], 10.0, id="5.3-max-age-over-expires"),
        pytest.param([cache_control("s-maxage=10"), IN_A_MINUTE], 10.0, id="5.3-s-maxage-over-expires"),
        pytest.param([("expires", "0")], 0.0, id="5.3-expires-zero"),
        pytest.param([("expires", "tomorrow")], 0.0, id="5.3-expires-no-date"),
        pytest.param([cache_control("max-age=x")], 0.0, id="4.2.1-invalid-is-stale"),
        pytest.param([cache_control("max-age")], 0.0, id="4.2.1-no-argument-is-stale"),
        pytest.param([cache_control("max-age=-1")], 0.0, id="1.2.2-negative"),
        pytest.param([cache_control("max-age=99999999999999999999999")], 2.0**31, id="1.2.2-overflow"),
        pytest.param([cache_control("public, immutable, no-transform")], 7.0, id="4.2.2-no-lifetime-stated"),
        pytest.param([cache_control("community=UCI")], 7.0, id="5.2.3-unknown-extension"),
        pytest.param([], 7.0, id="4.2.2-nothing-stated"),
        pytest.param([("cdn-cache-control", "max-age=5"), cache_control("max-age=60")], 5.0, id="rfc9213-2.2"),
        pytest.param([("cdn-cache-control", "max-age=5"), cache_control("no-store")], 5.0, id="rfc9213-2.2-no-store"),
        pytest.param([("cdn-cache-control", "max-age=?x"), cache_control("max-age=60")], 60.0, id="rfc9213-2.2-bad"),
        pytest.param([("cdn-cache-control", ""), cache_control("max-age=60")], 60.0, id="rfc9213-2.2-empty"),
        pytest.param([("cdn-cache-control", "public"), IN_A_MINUTE], 7.0, id="rfc9213-2.2-expires-is-ignored"),
    ],
)
def test_fresh_seconds(pairs: list[Pair], fresh_seconds: float) -> None:
    assert lifetime_of(*pairs, timing=Timing(ttl=7.0)).fresh_seconds == fresh_seconds


@pytest.mark.parametrize("text", ["max-age=60", "s-maxage=0", "max-age=0, must-revalidate", "no-cache", "public"])
def test_ttl_override_beats_what_the_origin_says_about_freshness(text: str) -> None:
    lifetime = lifetime_of(cache_control(text), timing=Timing(ttl_override=5.0))
    assert (lifetime.fresh_seconds, lifetime.always_revalidate) == (5.0, False)


def test_ttl_override_of_zero_is_an_override() -> None:
    assert lifetime_of(cache_control("max-age=60"), timing=Timing(ttl_override=0.0)).fresh_seconds == 0.0


@pytest.mark.parametrize("status", [404, 410])
def test_an_absence_lives_for_negative_ttl_whatever_the_other_timings(status: int) -> None:
    timing = Timing(ttl=60.0, ttl_override=60.0, negative_ttl=2.0)
    assert lifetime_of(status=status, timing=timing).fresh_seconds == 2.0


def test_an_absence_lives_as_long_as_it_says() -> None:
    assert lifetime_of(cache_control("max-age=30"), status=404).fresh_seconds == 30.0


def test_negative_ttl_of_zero_stores_no_absence() -> None:
    assert isinstance(judge(status=404, timing=Timing(ttl=60.0, negative_ttl=0.0)), NotStorable)


@pytest.mark.parametrize(
    ("text", "must_revalidate"),
    [
        pytest.param("max-age=60, must-revalidate", True, id="5.2.2.2-must-revalidate"),
        pytest.param("max-age=60, proxy-revalidate", True, id="5.2.2.8-proxy-revalidate"),
        pytest.param("s-maxage=60", True, id="5.2.2.10-s-maxage"),
        pytest.param("max-age=60", False, id="5.2.2.1-max-age"),
        pytest.param("max-age=60, immutable", False, id="rfc8246-2-immutable"),
        pytest.param("max-age=60, no-transform", False, id="5.2.2.6-no-transform"),
    ],
)
def test_must_revalidate(text: str, must_revalidate: bool) -> None:
    assert lifetime_of(cache_control(text)).must_revalidate is must_revalidate


@pytest.mark.parametrize(
    ("text", "always_revalidate"),
    [
        pytest.param("no-cache", True, id="5.2.2.4-no-cache"),
        pytest.param("max-age=60, no-cache", True, id="4.2.1-no-cache-beats-max-age"),
        pytest.param('no-cache="set-cookie"', True, id="5.2.2.4-qualified"),
        pytest.param("max-age=60", False, id="5.2.2.1-max-age"),
        pytest.param("max-age=0", False, id="5.2.2.1-zero"),
    ],
)
def test_always_revalidate(text: str, always_revalidate: bool) -> None:
    assert lifetime_of(cache_control(text), timing=Timing(ttl=60.0)).always_revalidate is always_revalidate


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        pytest.param("max-age=1", (3.0, 4.0), id="the-operator's"),
        pytest.param("max-age=1, stale-while-revalidate=30", (30.0, 4.0), id="rfc5861-3"),
        pytest.param("max-age=1, stale-if-error=40", (3.0, 40.0), id="rfc5861-4"),
        pytest.param("max-age=1, stale-while-revalidate=0, stale-if-error=0", (0.0, 0.0), id="rfc5861-zero-is-said"),
        pytest.param("max-age=1, stale-if-error=soon", (3.0, 0.0), id="rfc5861-invalid-is-no-window"),
    ],
)
def test_stale_windows(text: str, windows: tuple[float, float]) -> None:
    found = lifetime_of(cache_control(text), timing=Timing(stale_while_revalidate=3.0, stale_if_error=4.0))
    assert (found.stale_while_revalidate_seconds, found.stale_if_error_seconds) == windows


# What answers a request.


def make(
    *,
    age: float = 0.0,
    fresh: float = 60.0,
    swr: float = 0.0,
    sie: float = 0.0,
    must_revalidate: bool = False,
    always_revalidate: bool = False,
    etag: str | None = ETAG,
    last_modified: str | None = None,
    status: int = 200,
) -> Entry:
    """An entry `age` seconds old at NOW."""
    return Entry(
        key="k",
        status=status,
        headers=Headers([("content-type", "text/plain")]),
        body=MemoryBody.of(b"x"),
        size=1,
        response_time=NOW - age,
        initial_age=0.0,
        lifetime=Lifetime(fresh, swr, sie, must_revalidate, always_revalidate),
        etag=etag,
        last_modified=last_modified,
    )


def decision(request: str, entry: Entry | None) -> Decision:
    headers = Headers([("cache-control", request)] if request else [])
    return decide(parse_request_directives(headers), entry, NOW)


HIT, STALE, REVALIDATE = Decision.HIT, Decision.STALE, Decision.REVALIDATE
MISS, PASS, UNAVAILABLE = Decision.MISS, Decision.PASS, Decision.UNAVAILABLE


@pytest.mark.parametrize(
    ("request_text", "entry", "expected"),
    [
        pytest.param("", None, MISS, id="4-nothing-stored"),
        pytest.param("", make(), HIT, id="4-fresh"),
        pytest.param("", make(age=59.9), HIT, id="4.2-fresh-to-the-last"),
        pytest.param("", make(age=60), REVALIDATE, id="4.2-age-equal-to-lifetime-is-stale"),
        pytest.param("", make(age=60, etag=None), MISS, id="4.3.1-no-validator"),
        pytest.param("", make(age=60, etag=None, last_modified=LAST_MODIFIED), REVALIDATE, id="4.3.1-last-modified"),
        pytest.param("", make(always_revalidate=True), REVALIDATE, id="5.2.2.4-no-cache"),
        pytest.param("", make(always_revalidate=True, etag=None), MISS, id="5.2.2.4-no-cache-no-validator"),
        pytest.param("", make(must_revalidate=True), HIT, id="5.2.2.2-fresh"),
        pytest.param("", make(age=60, must_revalidate=True), REVALIDATE, id="5.2.2.2-stale"),
        pytest.param("max-age=10", make(age=10), HIT, id="5.2.1.1-max-age-reached"),
        pytest.param("max-age=10", make(age=10.5), REVALIDATE, id="5.2.1.1-max-age-exceeded"),
        pytest.param("max-age=0", make(age=1), REVALIDATE, id="5.2.1.1-zero"),
        pytest.param("max-age=x", make(age=1), REVALIDATE, id="5.2.1.1-invalid-is-zero"),
        pytest.param("max-age=100", make(age=61), REVALIDATE, id="5.2.1.1-wants-no-stale"),
        pytest.param("max-age=100", make(age=61, swr=60), REVALIDATE, id="5.2.1.1-nor-while-revalidating"),
        pytest.param("max-age=100, max-stale=10", make(age=61), HIT, id="5.2.1.1-unless-max-stale"),
        pytest.param("max-age=10, max-stale", make(age=61), REVALIDATE, id="5.2.1.1-max-stale-does-not-lift-max-age"),
        pytest.param("max-stale=10", make(age=70), HIT, id="5.2.1.2-max-stale-reached"),
        pytest.param("max-stale=10", make(age=71), REVALIDATE, id="5.2.1.2-max-stale-exceeded"),
        pytest.param("max-stale", make(age=1e6), HIT, id="5.2.1.2-any-age"),
        pytest.param("max-stale=x", make(age=61), REVALIDATE, id="5.2.1.2-invalid"),
        pytest.param("max-stale", make(age=61, must_revalidate=True), REVALIDATE, id="5.2.2.2-forbids-max-stale"),
        pytest.param("max-stale", make(always_revalidate=True), REVALIDATE, id="5.2.2.4-forbids-max-stale"),
        pytest.param("max-stale=10", make(age=1), HIT, id="5.2.1.2-fresh-all-the-same"),
        pytest.param("min-fresh=10", make(age=50), HIT, id="5.2.1.3-just-enough-left"),
        pytest.param("min-fresh=10", make(age=51), REVALIDATE, id="5.2.1.3-too-little-left"),
        pytest.param("min-fresh=0", make(age=60), REVALIDATE, id="5.2.1.3-zero-is-still-fresh"),
        pytest.param("min-fresh=10", make(age=61, swr=60), REVALIDATE, id="5.2.1.3-nor-while-revalidating"),
        pytest.param("min-fresh=10", make(age=51, etag=None), MISS, id="5.2.1.3-no-validator"),
        pytest.param("no-cache", make(), REVALIDATE, id="5.2.1.4-no-cache"),
        pytest.param("no-cache", make(etag=None), MISS, id="5.2.1.4-no-cache-no-validator"),
        pytest.param("no-cache, max-stale", make(age=61), REVALIDATE, id="5.2.1.4-beats-max-stale"),
        pytest.param("no-cache", make(age=61, swr=60), REVALIDATE, id="5.2.1.4-nor-while-revalidating"),
        pytest.param("no-cache", None, MISS, id="5.2.1.4-nothing-stored"),
        pytest.param("no-store", make(), PASS, id="5.2.1.5-no-store"),
        pytest.param("no-store", None, PASS, id="5.2.1.5-nothing-stored"),
        pytest.param("no-transform", make(), HIT, id="5.2.1.6-no-transform"),
        pytest.param("only-if-cached", make(), HIT, id="5.2.1.7-fresh"),
        pytest.param("only-if-cached", None, UNAVAILABLE, id="5.2.1.7-nothing-stored"),
        pytest.param("only-if-cached", make(age=61), UNAVAILABLE, id="5.2.1.7-stale"),
        pytest.param("only-if-cached, max-stale", make(age=61), HIT, id="5.2.1.7-stale-allowed"),
        pytest.param("only-if-cached", make(always_revalidate=True), UNAVAILABLE, id="5.2.1.7-response-no-cache"),
        pytest.param("only-if-cached, no-cache", make(), UNAVAILABLE, id="5.2.1.7-request-no-cache"),
        pytest.param("only-if-cached, no-store", None, UNAVAILABLE, id="5.2.1.7-never-goes-forward"),
        pytest.param("only-if-cached, no-store", make(), HIT, id="5.2.1.7-no-store-forbids-storing-not-using"),
        pytest.param("", make(age=69, swr=10), STALE, id="rfc5861-3-within"),
        pytest.param("", make(age=70, swr=10), REVALIDATE, id="rfc5861-3-over"),
        pytest.param("", make(age=61, swr=10, must_revalidate=True), REVALIDATE, id="rfc5861-3-must-revalidate"),
        pytest.param("", make(age=61, swr=10, always_revalidate=True), REVALIDATE, id="rfc5861-3-no-cache"),
        pytest.param("", make(always_revalidate=True, swr=10), REVALIDATE, id="rfc5861-3-no-cache-fresh"),
        pytest.param("", make(age=61, sie=10), REVALIDATE, id="rfc5861-4-only-on-error"),
        pytest.param("stale-if-error=10", make(age=61), REVALIDATE, id="rfc5861-4-request-only-on-error"),
    ],
)
def test_decide(request_text: str, entry: Entry | None, expected: Decision) -> None:
    assert decision(request_text, entry) is expected


def test_section_5_4_pragma_no_cache_stands_in_for_an_absent_cache_control() -> None:
    assert decide(parse_request_directives(Headers([("pragma", "no-cache")])), make(), NOW) is REVALIDATE


def test_section_5_4_pragma_says_nothing_beside_cache_control() -> None:
    headers = Headers([("pragma", "no-cache"), ("cache-control", "max-age=60")])
    assert decide(parse_request_directives(headers), make(age=1), NOW) is HIT


@pytest.mark.parametrize(
    ("request_text", "entry", "expected"),
    [
        pytest.param("", make(age=69, sie=10), True, id="within"),
        pytest.param("", make(age=70, sie=10), False, id="over"),
        pytest.param("", make(age=61), False, id="no-window"),
        pytest.param("stale-if-error=10", make(age=69), True, id="request-within"),
        pytest.param("stale-if-error=10", make(age=71), False, id="request-over"),
        pytest.param("stale-if-error=1", make(age=69, sie=10), True, id="the-larger-of-two"),
        pytest.param("", make(age=61, sie=10, must_revalidate=True), False, id="must-revalidate"),
        pytest.param("stale-if-error=10", make(age=61, must_revalidate=True), False, id="request-must-revalidate"),
        pytest.param("", make(age=61, sie=10, always_revalidate=True), False, id="no-cache"),
        pytest.param("no-cache", make(age=61, sie=10), False, id="request-no-cache"),
    ],
)
def test_rfc5861_4_stale_if_error(request_text: str, entry: Entry, expected: bool) -> None:
    directives = parse_request_directives(Headers([("cache-control", request_text)]))
    assert may_serve_on_error(directives, entry, NOW) is expected


def test_rfc5861_3_the_window_opens_when_freshness_ends() -> None:
    entry = make(fresh=60, swr=10)
    allowed = [may_serve_while_revalidating(entry, NOW + age) for age in (60, 69.9, 70)]
    assert allowed == [True, True, False]


def test_infinite_max_stale_is_what_none_means() -> None:
    assert parse_request_directives(Headers([("cache-control", "max-stale")])).max_stale == inf


# Validation.


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(make(), [("if-none-match", ETAG)], id="etag"),
        pytest.param(
            make(last_modified=LAST_MODIFIED),
            [("if-none-match", ETAG), ("if-modified-since", LAST_MODIFIED)],
            id="both",
        ),
        pytest.param(
            make(etag=None, last_modified=LAST_MODIFIED), [("if-modified-since", LAST_MODIFIED)], id="last-modified"
        ),
        pytest.param(make(etag='W/"v1"'), [("if-none-match", 'W/"v1"')], id="weak"),
        pytest.param(make(etag=None), [], id="neither"),
        pytest.param(make(status=404), [], id="an-absence-has-none"),
    ],
)
def test_section_4_3_1_validators(entry: Entry, expected: list[Pair]) -> None:
    assert list(validators(entry)) == expected


def entry_of(response: ResponseHead, *, request: Headers = Headers(), took: float = 0.0) -> Entry:  # noqa: B008
    return make_entry(
        "k",
        response,
        MemoryBody.of(b"0123456789"),
        size=10,
        request_time=NOW - took,
        response_time=NOW,
        lifetime=Lifetime(60.0),
        request_headers=request,
    )


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(("connection", "close"), id="3.1-connection"),
        pytest.param(("transfer-encoding", "chunked"), id="3.1-transfer-encoding"),
        pytest.param(("keep-alive", "timeout=5"), id="3.1-keep-alive"),
        pytest.param(("proxy-authenticate", "Basic"), id="3.1-proxy-authenticate"),
        pytest.param(("proxy-authentication-info", "x"), id="3.1-proxy-authentication-info"),
        pytest.param(("proxy-authorization", "x"), id="3.1-proxy-authorization"),
        pytest.param(("upgrade", "h2c"), id="3.1-upgrade"),
        pytest.param(("age", "5"), id="4-age-is-generated-anew"),
        pytest.param(("content-length", "10"), id="content-length-is-the-answer's"),
        pytest.param(("content-range", "bytes 0-9/10"), id="3.3-content-range-is-the-part's"),
    ],
)
def test_fields_of_the_moment_are_not_stored(pair: Pair) -> None:
    entry = entry_of(ResponseHead(200, Headers([pair, ("content-type", "text/plain")])))
    assert list(entry.headers) == [("content-type", "text/plain")]


def test_section_3_1_fields_that_connection_names_are_not_stored() -> None:
    entry = entry_of(ResponseHead(200, Headers([("connection", "X-Hop"), ("x-hop", "1"), ("x-end", "2")])))
    assert list(entry.headers) == [("x-end", "2")]


def test_section_3_1_unknown_fields_are_stored() -> None:
    pairs = [("x-amz-meta-a", "1"), ("x-anything", "2"), ("x-anything", "3")]
    assert list(entry_of(ResponseHead(200, Headers(pairs))).headers) == pairs


def test_section_3_3_a_part_is_stored_as_the_whole_it_is_part_of() -> None:
    assert entry_of(ResponseHead(206, Headers([("content-range", "bytes 0-4/10")]))).status == 200


def test_other_statuses_are_stored_as_they_are() -> None:
    assert entry_of(ResponseHead(404, Headers())).status == 404


def test_an_entry_knows_its_validators() -> None:
    entry = entry_of(ResponseHead(200, Headers([("etag", ETAG), ("last-modified", LAST_MODIFIED)])))
    assert (entry.etag, entry.last_modified) == (ETAG, LAST_MODIFIED)


def test_section_4_1_an_entry_keeps_the_request_fields_it_was_selected_by() -> None:
    request = Headers([("accept-language", "de,  en"), ("accept", "*/*")])
    entry = entry_of(ResponseHead(200, Headers([("vary", "Accept-Language, X-None")])), request=request)
    assert entry.selecting == (("accept-language", "de, en"), ("x-none", None))


@pytest.mark.parametrize(
    ("pairs", "took", "age"),
    [
        pytest.param([], 0.0, 0.0, id="4.2.3-nothing-said"),
        pytest.param([("age", "5")], 0.0, 5.0, id="4.2.3-age-value"),
        pytest.param([("age", "5")], 2.0, 7.0, id="4.2.3-response-delay"),
        pytest.param([("date", format_http_date(NOW - 30))], 0.0, 30.0, id="4.2.3-apparent-age"),
        pytest.param([("date", format_http_date(NOW - 3)), ("age", "5")], 0.0, 5.0, id="4.2.3-the-larger-of-two"),
        pytest.param([("date", format_http_date(NOW + 30))], 0.0, 0.0, id="4.2.3-a-clock-ahead"),
        pytest.param([("age", "5, 9")], 0.0, 5.0, id="5.1-first-of-a-list"),
        pytest.param([("age", "old")], 0.0, 0.0, id="5.1-not-a-number"),
    ],
)
def test_age_of_a_new_entry(pairs: list[Pair], took: float, age: float) -> None:
    entry = entry_of(ResponseHead(200, Headers(pairs)), took=took)
    assert entry.age(NOW) == age
    assert entry.age(NOW + 10) == age + 10
    assert entry.fresh_for(NOW) == 60.0 - age


STORED = replace(
    make(age=100, last_modified=LAST_MODIFIED),
    headers=Headers(
        [
            ("etag", ETAG),
            ("content-type", "text/plain"),
            ("x-old", "1"),
            ("x-both", "old"),
            ("last-modified", LAST_MODIFIED),
        ]
    ),
    derived={"head": b"stale"},
)


def updated(*pairs: Pair) -> Entry:
    return freshened(STORED, ResponseHead(304, Headers(pairs)), NOW, NOW, Lifetime(30.0))


def test_section_4_3_4_newer_fields_replace_stored_ones() -> None:
    entry = updated(("x-both", "new"), ("x-both", "too"), ("x-new", "2"))
    assert entry.headers.get_all("x-both") == ("new", "too")
    assert (entry.headers.get("x-new"), entry.headers.get("x-old")) == ("2", "1")


@pytest.mark.parametrize(
    "name", ["content-length", "content-encoding", "content-type", "content-range", "connection", "age"]
)
def test_section_3_2_fields_that_an_update_leaves_alone(name: str) -> None:
    assert updated((name, "other")).headers.get(name) == STORED.headers.get(name)


def test_section_4_3_4_an_update_makes_the_entry_young_and_keeps_its_body() -> None:
    entry = updated()
    assert (entry.age(NOW), entry.fresh_for(NOW), entry.body) == (0.0, 30.0, STORED.body)


def test_section_4_3_4_an_update_takes_the_age_of_the_304() -> None:
    assert updated(("age", "12")).age(NOW) == 12.0


def test_section_4_3_4_an_update_takes_a_newer_last_modified() -> None:
    newer = format_http_date(NOW - 10)
    assert updated(("last-modified", newer)).last_modified == newer


def test_an_update_keeps_what_the_304_does_not_say() -> None:
    entry = updated()
    assert (entry.etag, entry.last_modified) == (ETAG, LAST_MODIFIED)


def test_what_was_derived_from_the_old_head_is_gone() -> None:
    assert updated().derived == {}
