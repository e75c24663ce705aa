import pytest

from yatagarasu.http.numbers import parse_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("9" * 5_000, None),
        *((text, None) for text in (None, "", " 1", "+1", "-1", "1.0", "1e2", "0x1", "1_000", "\u00b2", "\u0663")),
    ],
)
def test_a_count_is_ascii_digits_and_not_too_many(text: str | None, count: int | None):
    assert parse_count(text) == count
