from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.http.dates import format_http_date, parse_http_date

EXAMPLE = 784111777.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="5.6.7-imf-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE, id="5.6.7-rfc850"),
        pytest.param("Sun Nov  6 08:49:37 1994", EXAMPLE, id="5.6.7-asctime"),
        pytest.param(" Sun, 06 Nov 1994 08:49:37 GMT ", EXAMPLE, id="white-space-around"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, id="epoch"),
        pytest.param("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800.0, id="leap-day"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799.0, id="5.6.7-leap-second"),
        pytest.param("Thursday, 01-Jan-26 00:00:00 GMT", 1767225600.0, id="5.6.7-two-digit-year-of-this-century"),
    ],
)
def test_parse(text: str, expected: float) -> None:
    assert parse_http_date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="zero"),
        pytest.param("784111777", id="epoch-seconds"),
        pytest.param("1994-11-06T08:49:37Z", id="iso-8601"),
        pytest.param("sun, 06 nov 1994 08:49:37 gmt", id="5.6.7-case-matters"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", id="5.6.7-gmt-only"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0100", id="5.6.7-no-offset"),
        pytest.param("Sun, 6 Nov 1994 08:49:37 GMT", id="5.6.7-two-digit-day"),
        pytest.param("Sun, 06 Nov 94 08:49:37 GMT", id="5.6.7-four-digit-year"),
        pytest.param("Xyz, 06 Nov 1994 08:49:37 GMT", id="no-such-day-name"),
        pytest.param("Sun, 06 Xyz 1994 08:49:37 GMT", id="no-such-month"),
        pytest.param("Sun, 30 Feb 2020 08:49:37 GMT", id="no-such-day"),
        pytest.param("Wed, 29 Feb 2023 00:00:00 GMT", id="no-leap-year"),
        pytest.param("Sun, 00 Nov 1994 08:49:37 GMT", id="day-zero"),
        pytest.param("Sun, 06 Nov 1994 24:00:00 GMT", id="hour-24"),
        pytest.param("Sun, 06 Nov 1994 08:60:00 GMT", id="minute-60"),
        pytest.param("Sun, 06 Nov 1994 08:49:61 GMT", id="second-61"),
        pytest.param("Sat, 01 Jan 0000 00:00:00 GMT", id="year-zero"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", id="two-dates"),
    ],
)
def test_no_date(text: str) -> None:
    assert parse_http_date(text) is None


def test_fractions_are_dropped_when_written() -> None:
    assert format_http_date(EXAMPLE + 0.999) == "Sun, 06 Nov 1994 08:49:37 GMT"


LAST_SECOND = 253402300799  # of the year 9999


@given(st.integers(0, LAST_SECOND))
def test_a_written_date_is_what_the_standard_library_writes(epoch: int) -> None:
    assert format_http_date(epoch) == formatdate(epoch, usegmt=True)


@given(st.integers(0, LAST_SECOND))
def test_a_written_date_is_read(epoch: int) -> None:
    assert parse_http_date(format_http_date(epoch)) == epoch
