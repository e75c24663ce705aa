from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.units import GIB, KIB, MIB, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1b", 1),
        ("64KiB", 64 * KIB),
        ("64kib", 64 * KIB),
        (" 64 KiB ", 64 * KIB),
        ("1.5MiB", 3 * MIB // 2),
        ("2GiB", 2 * GIB),
        ("1TiB", 1024 * GIB),
        ("10kB", 10_000),
        ("10MB", 10_000_000),
        ("3GB", 3_000_000_000),
        ("1TB", 10**12),
        ("10_000", 10_000),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_size_is_read(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("64K", "'K' is not a unit of size; did you mean \"64KiB\"?"),
        ("1g", 'did you mean "1GiB"?'),
        ("5 Mo", 'did you mean "5MiB"?'),
        ("3T", 'did you mean "3TiB"?'),
        ("7x", 'did you mean "7KiB"?'),
        ("", "'' is not a size"),
        ("-1KiB", "'-1KiB' is not a size"),
        ("_1KiB", "is not a size"),
        ("1_KiB", "is not a size"),
        (".5KiB", "is not a size"),
        ("1e3", "is not a size"),
        ("1KiB1KiB", "is not a size"),
        ("\N{ARABIC-INDIC DIGIT FOUR}KiB", "is not a size"),
    ],
)
def test_bad_size_says_what_would_be_right(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert complaint in str(caught.value)


def test_size_of_absurd_length_is_no_crash() -> None:
    assert parse_size("9" * 400 + "GiB") > 10**400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("0.5ms", 0.0005),
        ("10s", 10.0),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        (" 10 s ", 10.0),
        ("1_000ms", 1.0),
    ],
)
def test_duration_is_read(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10", "'10' has no unit we know; did you mean \"10s\"?"),
        ("1h30", 'did you mean "30s"?'),
        ("10sec", 'did you mean "10s"?'),
        ("10 Seconds", 'did you mean "10s"?'),
        ("5min", 'did you mean "5m"?'),
        ("5M", 'did you mean "5m"?'),
        ("250MS", 'did you mean "250ms"?'),
        ("2hours", 'did you mean "2h"?'),
        ("3days", 'did you mean "3d"?'),
        ("5 parsecs", "'parsecs' is not a unit of time; use ms, s, m, h or d"),
        ("2months", "'months' is not a unit of time"),
        ("", "'' is not a duration"),
        ("soon", "'soon' is not a duration"),
        ("-5s", "'-5s' is not a duration"),
        ("5s!", "is not a duration"),
        ("5s,3ms", "is not a duration"),
    ],
)
def test_bad_duration_says_what_would_be_right(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1, "1B"), (1000, "1000B"), (64 * KIB, "64KiB"), (3 * MIB // 2, "1536KiB"), (1024 * GIB, "1TiB")],
)
def test_size_is_written(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (1.5, "1500ms"),
        (10, "10s"),
        (90, "90s"),
        (120.0, "2m"),
        (3600, "1h"),
        (86400, "1d"),
        (1234567.891, "1234567891ms"),
    ],
)
def test_duration_is_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=2**63))
def test_written_size_reads_as_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=10**12))
def test_written_duration_reads_as_itself(microseconds: int) -> None:
    seconds = float(Decimal(microseconds) / 10**6)
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)
