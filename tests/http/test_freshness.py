import pytest

from yatagarasu.http.cache_control import ResponseDirectives
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.freshness import explicit_freshness, initial_age
from yatagarasu.http.headers import Headers, Pair

NOW = 1_000_000_000.0


def date(seconds_from_now: float) -> Pair:
    return ("date", format_http_date(NOW + seconds_from_now))


def expires(seconds_from_now: float) -> Pair:
    return ("expires", format_http_date(NOW + seconds_from_now))


@pytest.mark.parametrize(
    ("pairs", "delay", "expected"),
    [
        pytest.param([], 0.0, 0.0, id="4.2.3-nothing-said"),
        pytest.param([], 2.0, 2.0, id="4.2.3-response-delay-counts"),
        pytest.param([date(-30)], 0.0, 30.0, id="4.2.3-apparent-age"),
        pytest.param([date(30)], 0.0, 0.0, id="4.2.3-apparent-age-is-never-negative"),
        pytest.param([("age", "5")], 2.0, 7.0, id="4.2.3-corrected-age-value"),
        pytest.param([date(-30), ("age", "5")], 2.0, 30.0, id="4.2.3-the-larger-one-apparent"),
        pytest.param([date(-3), ("age", "5")], 2.0, 7.0, id="4.2.3-the-larger-one-corrected"),
        pytest.param([("age", "5"), ("age", "9")], 0.0, 5.0, id="5.1-the-first-of-several"),
        pytest.param([("age", "-5")], 0.0, 0.0, id="5.1-negative-is-ignored"),
        pytest.param([("age", "1.5")], 0.0, 0.0, id="5.1-a-fraction-is-ignored"),
        pytest.param([("age", "9" * 5000)], 0.0, 2.0**31, id="1.2.2-overflow"),
        pytest.param([("date", "today")], 0.0, 0.0, id="no-date"),
    ],
)
def test_initial_age(pairs: list[Pair], delay: float, expected: float) -> None:
    assert initial_age(Headers(pairs), NOW - delay, NOW) == expected


def test_the_rest_of_a_second_that_date_cannot_say_is_no_age() -> None:
    assert initial_age(Headers([date(0)]), NOW + 0.9, NOW + 0.9) == 0.0


def test_a_clock_that_went_back_while_waiting_makes_nothing_younger() -> None:
    assert initial_age(Headers([("age", "5")]), NOW + 10, NOW) == 5.0


NOTHING = ResponseDirectives()


@pytest.mark.parametrize(
    ("directives", "pairs", "expected"),
    [
        pytest.param(ResponseDirectives(s_maxage=1, max_age=2), [date(0), expires(3)], 1.0, id="4.2.1-s-maxage-first"),
        pytest.param(ResponseDirectives(s_maxage=0, max_age=2), [], 0.0, id="4.2.1-s-maxage-zero-is-said"),
        pytest.param(ResponseDirectives(max_age=2), [date(0), expires(3)], 2.0, id="4.2.1-then-max-age"),
        pytest.param(ResponseDirectives(max_age=0), [date(0), expires(3)], 0.0, id="4.2.1-max-age-zero-is-said"),
        pytest.param(NOTHING, [date(0), expires(3)], 3.0, id="4.2.1-then-expires"),
        pytest.param(NOTHING, [date(-10), expires(3)], 13.0, id="4.2.1-less-the-response's-own-date"),
        pytest.param(NOTHING, [expires(3)], 3.0, id="4.2.1-less-the-time-it-came"),
        pytest.param(NOTHING, [date(0), expires(-3)], 0.0, id="5.3-in-the-past"),
        pytest.param(NOTHING, [("expires", "0")], 0.0, id="5.3-zero"),
        pytest.param(NOTHING, [("expires", "")], 0.0, id="5.3-empty"),
        pytest.param(NOTHING, [date(0), expires(3), expires(60)], 0.0, id="4.2.1-two-that-differ"),
        pytest.param(NOTHING, [date(0), expires(3), expires(3)], 3.0, id="4.2.1-two-that-agree"),
        pytest.param(NOTHING, [date(0)], None, id="4.2.1-nothing-said"),
    ],
)
def test_explicit_freshness(directives: ResponseDirectives, pairs: list[Pair], expected: float | None) -> None:
    assert explicit_freshness(Headers(pairs), directives, NOW) == expected
