from math import inf

import pytest

from yatagarasu.http.cache_control import (
    NO_REQUEST_DIRECTIVES,
    RequestDirectives,
    ResponseDirectives,
    parse_request_directives,
    parse_response_directives,
    targeted_directives,
)
from yatagarasu.http.headers import Headers, Pair

MOST = 2.0**31


def request(text: str) -> RequestDirectives:
    return parse_request_directives(Headers([("cache-control", text)]))


def response(text: str) -> ResponseDirectives:
    return parse_response_directives(Headers([("cache-control", text)]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("max-age=60", RequestDirectives(max_age=60), id="5.2.1.1-max-age"),
        pytest.param("max-stale", RequestDirectives(max_stale=inf), id="5.2.1.2-max-stale-any"),
        pytest.param("max-stale=60", RequestDirectives(max_stale=60), id="5.2.1.2-max-stale"),
        pytest.param("max-stale=soon", RequestDirectives(max_stale=0), id="5.2.1.2-max-stale-invalid"),
        pytest.param("min-fresh=60", RequestDirectives(min_fresh=60), id="5.2.1.3-min-fresh"),
        pytest.param("min-fresh=x", RequestDirectives(), id="5.2.1.3-min-fresh-invalid"),
        pytest.param("no-cache", RequestDirectives(no_cache=True), id="5.2.1.4-no-cache"),
        pytest.param("no-store", RequestDirectives(no_store=True), id="5.2.1.5-no-store"),
        pytest.param("no-transform", RequestDirectives(no_transform=True), id="5.2.1.6-no-transform"),
        pytest.param("only-if-cached", RequestDirectives(only_if_cached=True), id="5.2.1.7-only-if-cached"),
        pytest.param("stale-if-error=60", RequestDirectives(stale_if_error=60), id="rfc5861-4-stale-if-error"),
        pytest.param("must-revalidate, s-maxage=1", RequestDirectives(), id="5.2.2-response-directives-mean-nothing"),
    ],
)
def test_request_directives(text: str, expected: RequestDirectives) -> None:
    assert request(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("max-age=60", ResponseDirectives(max_age=60), id="5.2.2.1-max-age"),
        pytest.param("must-revalidate", ResponseDirectives(must_revalidate=True), id="5.2.2.2-must-revalidate"),
        pytest.param("must-understand", ResponseDirectives(must_understand=True), id="5.2.2.3-must-understand"),
        pytest.param("no-cache", ResponseDirectives(no_cache=True), id="5.2.2.4-no-cache"),
        pytest.param('no-cache="A, b"', ResponseDirectives(no_cache_fields=("a", "b")), id="5.2.2.4-qualified"),
        pytest.param("no-cache=a", ResponseDirectives(no_cache_fields=("a",)), id="5.2.2.4-token-form"),
        pytest.param('no-cache="a", no-cache', ResponseDirectives(no_cache=True), id="5.2.2.4-plain-covers-qualified"),
        pytest.param("no-store", ResponseDirectives(no_store=True), id="5.2.2.5-no-store"),
        pytest.param("no-transform", ResponseDirectives(no_transform=True), id="5.2.2.6-no-transform"),
        pytest.param("private", ResponseDirectives(private=True), id="5.2.2.7-private"),
        pytest.param('private="x-a"', ResponseDirectives(private_fields=("x-a",)), id="5.2.2.7-qualified"),
        pytest.param("proxy-revalidate", ResponseDirectives(proxy_revalidate=True), id="5.2.2.8-proxy-revalidate"),
        pytest.param("public", ResponseDirectives(public=True), id="5.2.2.9-public"),
        pytest.param("s-maxage=60", ResponseDirectives(s_maxage=60), id="5.2.2.10-s-maxage"),
        pytest.param("immutable", ResponseDirectives(immutable=True), id="rfc8246-2-immutable"),
        pytest.param("stale-while-revalidate=60", ResponseDirectives(stale_while_revalidate=60), id="rfc5861-3-swr"),
        pytest.param("stale-if-error=60", ResponseDirectives(stale_if_error=60), id="rfc5861-4-sie"),
        pytest.param("only-if-cached, min-fresh=1", ResponseDirectives(), id="5.2.1-request-directives-mean-nothing"),
    ],
)
def test_response_directives(text: str, expected: ResponseDirectives) -> None:
    assert response(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Max-Age=60, NO-CACHE", ResponseDirectives(max_age=60, no_cache=True), id="5.2-any-case"),
        pytest.param('max-age="60"', ResponseDirectives(max_age=60), id="5.2-quoted-argument"),
        pytest.param('max-age="6\\0"', ResponseDirectives(max_age=60), id="rfc9110-5.6.4-quoted-pair"),
        pytest.param(",max-age=60,,public,", ResponseDirectives(max_age=60, public=True), id="rfc9110-5.6.1.2-empty"),
        pytest.param("\tmax-age=60 \t, public", ResponseDirectives(max_age=60, public=True), id="white-space"),
        pytest.param('x="a, no-store", public', ResponseDirectives(public=True), id="5.2.3-comma-in-an-extension"),
        pytest.param("community=UCI, public", ResponseDirectives(public=True), id="5.2.3-extension"),
        pytest.param("max-age = 60, public", ResponseDirectives(public=True), id="5.2-no-space-around-equals"),
        pytest.param("@@@, public", ResponseDirectives(public=True), id="unreadable-to-the-next-comma"),
        pytest.param('public, x="no end, no-store', ResponseDirectives(public=True, no_store=True), id="no-end"),
        pytest.param("max-age=60, max-age=30", ResponseDirectives(max_age=30), id="4.2.1-said-twice"),
        pytest.param("max-age=30, max-age=60", ResponseDirectives(max_age=30), id="4.2.1-said-twice-in-any-order"),
        pytest.param("max-age=1.5", ResponseDirectives(max_age=0), id="1.2.2-no-fractions"),
        pytest.param("max-age=-1", ResponseDirectives(max_age=0), id="1.2.2-no-sign"),
        pytest.param("max-age=\xb2", ResponseDirectives(max_age=0), id="1.2.2-ascii-digits"),
        pytest.param("max-age=2147483649", ResponseDirectives(max_age=MOST), id="1.2.2-overflow"),
        pytest.param("max-age=" + "9" * 5000, ResponseDirectives(max_age=MOST), id="1.2.2-digits-without-end"),
        pytest.param("", ResponseDirectives(), id="empty"),
    ],
)
def test_syntax(text: str, expected: ResponseDirectives) -> None:
    assert response(text) == expected


def test_section_5_2_field_lines_are_one_list() -> None:
    headers = Headers([("cache-control", "max-age=60"), ("cache-control", "public")])
    assert parse_response_directives(headers) == ResponseDirectives(max_age=60, public=True)


def test_a_response_without_cache_control_says_nothing() -> None:
    assert parse_response_directives(Headers([("pragma", "no-cache")])) == ResponseDirectives()


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param([], NO_REQUEST_DIRECTIVES, id="neither"),
        pytest.param([("pragma", "no-cache")], RequestDirectives(no_cache=True), id="5.4-pragma"),
        pytest.param([("pragma", "x, No-Cache")], RequestDirectives(no_cache=True), id="5.4-in-a-list"),
        pytest.param([("pragma", "x")], NO_REQUEST_DIRECTIVES, id="5.4-another-pragma"),
        pytest.param(
            [("pragma", "no-cache"), ("cache-control", "max-age=1")],
            RequestDirectives(max_age=1),
            id="5.4-ignored-beside-cache-control",
        ),
    ],
)
def test_pragma(pairs: list[Pair], expected: RequestDirectives) -> None:
    assert parse_request_directives(Headers(pairs)) == expected


def targeted(text: str) -> ResponseDirectives | None:
    return targeted_directives(Headers([("cdn-cache-control", text), ("cache-control", "no-store")]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("max-age=60", ResponseDirectives(max_age=60), id="2.1-integer"),
        pytest.param("max-age=60, no-cache", ResponseDirectives(max_age=60, no_cache=True), id="2.1-several"),
        pytest.param("max-age=60\t,\tpublic", ResponseDirectives(max_age=60, public=True), id="2.1-white-space"),
        pytest.param("no-cache=?1", ResponseDirectives(no_cache=True), id="2.1-true"),
        pytest.param("no-cache=?0, public", ResponseDirectives(public=True), id="2.1-false"),
        pytest.param('private="x-a"', ResponseDirectives(private_fields=("x-a",)), id="2.1-string"),
        pytest.param("max-age=60;a=1;b, public;c", ResponseDirectives(max_age=60, public=True), id="2.1-parameters"),
        pytest.param('max-age="60", public', ResponseDirectives(public=True), id="2.1-a-string-is-no-integer"),
        pytest.param("max-age=60.0, public", ResponseDirectives(public=True), id="2.1-a-decimal-is-no-integer"),
        pytest.param("max-age, public", ResponseDirectives(public=True), id="2.1-true-is-no-integer"),
        pytest.param("max-age=-1, public", ResponseDirectives(public=True), id="2.1-negative"),
        pytest.param("max-age=5, max-age=60", ResponseDirectives(max_age=60), id="rfc8941-3.2-the-last-counts"),
        pytest.param("x=(a b), public", ResponseDirectives(public=True), id="rfc8941-3.1.1-inner-list"),
        pytest.param("x=:YQ==:, public", ResponseDirectives(public=True), id="rfc8941-3.3.5-byte-sequence"),
        pytest.param("", None, id="2.2-empty"),
        pytest.param("Max-Age=60", None, id="rfc8941-3.2-keys-are-lower-case"),
        pytest.param("max-age=60,", None, id="rfc8941-4.2.2-trailing-comma"),
        pytest.param("max-age=60 public", None, id="rfc8941-4.2.2-no-comma"),
        pytest.param("max-age=?x", None, id="rfc8941-4.2.8-no-boolean"),
        pytest.param("&", None, id="2.2-does-not-parse"),
    ],
)
def test_rfc9213_targeted_directives(text: str, expected: ResponseDirectives | None) -> None:
    assert targeted(text) == expected


def test_rfc9213_2_2_the_first_valid_field_of_the_target_list_counts() -> None:
    headers = Headers([("b", "max-age=2"), ("c", "max-age=3"), ("a", "&")])
    assert targeted_directives(headers, ("a", "b", "c")) == ResponseDirectives(max_age=2)


def test_rfc9213_2_2_no_targeted_field_is_none() -> None:
    assert targeted_directives(Headers([("cache-control", "max-age=1")])) is None
