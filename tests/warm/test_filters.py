"""Which items are taken."""

import pytest

from yatagarasu.warm.filters import Filters, parse_newer_than
from yatagarasu.warm.item import Item


@pytest.mark.parametrize(
    ("filters", "item", "reason"),
    [
        (Filters(), Item("a"), None),
        (Filters(prefix="a/"), Item("a/b"), None),
        (Filters(prefix="a/"), Item("ab"), "outside the prefix"),
        (Filters(include=("*.jpg", "*.png")), Item("a/b/c.png"), None),
        (Filters(include=("*.jpg",)), Item("a.jpg.txt"), "not included"),
        (Filters(include=("a?",)), Item("ab\n"), "not included"),
        (Filters(include=("*\n*",)), Item("a\nb"), None),
        (Filters(exclude=("*/tmp/*",)), Item("a/tmp/b"), "excluded"),
        (Filters(include=("*.jpg",), exclude=("*/tmp/*",)), Item("a/tmp/b.jpg"), "excluded"),
        (Filters(include=("[!a]*",)), Item("b"), None),
        (Filters(include=("A",)), Item("a"), "not included"),
        (Filters(max_bytes=10), Item("a", size=10), None),
        (Filters(max_bytes=10), Item("a", size=11), "larger than max-bytes"),
        (Filters(max_bytes=0), Item("a", size=1), "larger than max-bytes"),
        (Filters(max_bytes=10), Item("a"), None),
        (Filters(newer_than=5.0), Item("a", modified=5.0), None),
        (Filters(newer_than=5.0), Item("a", modified=4.9), "older than newer-than"),
        (Filters(newer_than=5.0), Item("a"), None),
    ],
)
def test_refusal(filters: Filters, item: Item, reason: str | None) -> None:
    assert filters.refuses(item) == reason


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("7d", 1_000_000 - 7 * 86400),
        ("1h30m", 1_000_000 - 5400),
        ("2024-01-02", 1704153600.0),
        ("2024-01-02T03:04:05Z", 1704164645.0),
        ("2024-01-02T03:04:05+01:00", 1704161045.0),
        ("2024-01-02 03:04:05", 1704164645.0),
    ],
)
def test_newer_than(text: str, epoch: float) -> None:
    assert parse_newer_than(text, 1_000_000) == epoch


@pytest.mark.parametrize("text", ["", "7", "yesterday", "2024-13-01", "-7d", "d"])
def test_newer_than_that_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|neither"):
        parse_newer_than(text, 0)
