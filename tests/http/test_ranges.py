import pytest

from yatagarasu.http.ranges import (
    MAX_RANGES,
    ContentRange,
    RangeSpec,
    closing,
    format_content_range,
    parse_content_range,
    parse_range,
    part_head,
    resolve,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("bytes=0-499", [(0, 499)], id="14.1.2-first-500"),
        pytest.param("bytes=500-999", [(500, 999)], id="14.1.2-second-500"),
        pytest.param("bytes=-500", [(None, 500)], id="14.1.2-final-500"),
        pytest.param("bytes=9500-", [(9500, None)], id="14.1.2-open"),
        pytest.param("bytes=0-0,-1", [(0, 0), (None, 1)], id="14.1.2-first-and-last"),
        pytest.param("bytes=0-0", [(0, 0)], id="14.1.1-one-byte"),
        pytest.param("bytes= 0-999, 4500-5499, -1000", [(0, 999), (4500, 5499), (None, 1000)], id="14.1.2-in-space"),
        pytest.param("BYTES=0-1", [(0, 1)], id="14.1-unit-in-any-case"),
        pytest.param("bytes=,0-1,,2-3,", [(0, 1), (2, 3)], id="5.6.1.2-empty-elements"),
        pytest.param("bytes=-0", [(None, 0)], id="14.1.2-suffix-of-nothing"),
        pytest.param("bytes=007-008", [(7, 8)], id="leading-zeros"),
    ],
)
def test_parse_range(text: str, expected: list[tuple[int | None, int | None]]) -> None:
    assert parse_range(text) == tuple(RangeSpec(first, last) for first, last in expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param("bytes", id="no-set"),
        pytest.param("bytes=", id="14.1.1-empty-set"),
        pytest.param("bytes=,", id="14.1.1-commas-only"),
        pytest.param("items=0-1", id="14.2-another-unit"),
        pytest.param("bytes=5-4", id="14.1.1-last-before-first"),
        pytest.param("bytes=0-1,5-4", id="14.1.1-one-bad-spoils-all"),
        pytest.param("bytes=-", id="14.1.1-neither-end"),
        pytest.param("bytes=a-b", id="not-a-number"),
        pytest.param("bytes=1", id="no-hyphen"),
        pytest.param("bytes=--1", id="two-hyphens"),
        pytest.param("bytes=0 - 1", id="space-inside"),
        pytest.param("bytes=0-1;2-3", id="no-comma"),
        pytest.param("bytes=\u0661-\u0662", id="other-digits"),
        pytest.param("bytes=0-" + "9" * 5000, id="17.15-digits-without-end"),
    ],
)
def test_no_range_to_honour(text: str | None) -> None:
    assert parse_range(text) is None


def resolved(text: str, size: int) -> list[tuple[int, int]]:
    specs = parse_range(text)
    assert specs is not None
    return list(resolve(specs, size))


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        pytest.param("bytes=0-499", 10_000, [(0, 500)], id="14.1.2-first"),
        pytest.param("bytes=9500-", 10_000, [(9500, 10_000)], id="14.1.2-open"),
        pytest.param("bytes=-500", 10_000, [(9500, 10_000)], id="14.1.2-suffix"),
        pytest.param("bytes=-500", 100, [(0, 100)], id="14.1.2-suffix-longer-than-all"),
        pytest.param("bytes=5-500", 100, [(5, 100)], id="14.1.2-last-beyond-the-end"),
        pytest.param("bytes=0-" + "9" * 19, 100, [(0, 100)], id="14.1.2-last-far-beyond"),
        pytest.param("bytes=99-99", 100, [(99, 100)], id="14.1.2-last-byte"),
        pytest.param("bytes=100-", 100, [], id="15.5.17-first-at-the-end"),
        pytest.param("bytes=100-200", 100, [], id="15.5.17-behind-the-end"),
        pytest.param("bytes=-0", 100, [], id="15.5.17-suffix-of-nothing"),
        pytest.param("bytes=0-0", 0, [], id="15.5.17-empty-object"),
        pytest.param("bytes=0-", 0, [], id="15.5.17-empty-object-open"),
        pytest.param("bytes=0-0,-1", 100, [(0, 1), (99, 100)], id="15.3.7.2-two"),
        pytest.param("bytes=-1,0-0", 100, [(99, 100), (0, 1)], id="15.3.7.2-in-the-order-asked"),
        pytest.param("bytes=0-0,200-300", 100, [(0, 1)], id="15.3.7.2-the-satisfiable-ones"),
        pytest.param("bytes=200-300,400-", 100, [], id="15.5.17-none-satisfiable"),
        pytest.param("bytes=0-4,5-9", 100, [(0, 10)], id="15.3.7.2-touching"),
        pytest.param("bytes=0-6,3-9", 100, [(0, 10)], id="15.3.7.2-overlapping"),
        pytest.param("bytes=0-9,2-3", 100, [(0, 10)], id="15.3.7.2-inside"),
        pytest.param("bytes=0-,0-,0-,0-", 100, [(0, 100)], id="14.2-many-overlapping-are-the-whole"),
        pytest.param("bytes=5-20,6-20,7-20,8-20", 100, [(0, 100)], id="14.2-more-than-two-overlaps"),
        pytest.param("bytes=50-,1-,0-", 100, [(0, 100)], id="14.2-more-than-there-is"),
    ],
)
def test_resolve(text: str, size: int, expected: list[tuple[int, int]]) -> None:
    assert resolved(text, size) == expected


def test_section_17_15_as_many_ranges_as_allowed_are_honoured() -> None:
    text = "bytes=" + ",".join(f"{10 * number}-{10 * number}" for number in range(MAX_RANGES))
    assert len(resolved(text, 10_000)) == MAX_RANGES


def test_section_17_15_more_are_answered_with_the_whole() -> None:
    text = "bytes=" + ",".join(f"{10 * number}-{10 * number}" for number in range(MAX_RANGES + 1))
    assert resolved(text, 10_000) == [(0, 10_000)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("bytes 42-1233/1234", (42, 1234, 1234), id="14.4-complete-length"),
        pytest.param("bytes 42-1233/*", (42, 1234, None), id="14.4-unknown-length"),
        pytest.param("bytes */1234", (None, None, 1234), id="14.4-unsatisfied"),
        pytest.param("bytes 0-0/1", (0, 1, 1), id="14.4-one-byte"),
        pytest.param(" bytes  0-0/1 ", (0, 1, 1), id="in-space"),
    ],
)
def test_parse_content_range(text: str, expected: tuple[int | None, int | None, int | None]) -> None:
    assert parse_content_range(text) == ContentRange(*expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param("items 0-1/2", id="14.4-another-unit"),
        pytest.param("bytes */*", id="14.4-nothing-known"),
        pytest.param("bytes 5-4/10", id="14.4-last-before-first"),
        pytest.param("bytes 0-10/10", id="14.4-last-behind-the-length"),
        pytest.param("bytes 0-1", id="no-length"),
        pytest.param("bytes=0-1/2", id="equals-sign"),
        pytest.param("bytes 0-1/2, bytes 3-4/5", id="two"),
        pytest.param("bytes 0-" + "9" * 5000 + "/*", id="17.15-digits-without-end"),
    ],
)
def test_no_content_range(text: str | None) -> None:
    assert parse_content_range(text) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(1234, "bytes 42-1233/1234", id="14.4-known"),
        pytest.param(None, "bytes 42-1233/*", id="14.4-unknown"),
    ],
)
def test_format_content_range(size: int | None, expected: str) -> None:
    assert format_content_range(42, 1234, size) == expected


def test_section_14_6_a_part_has_its_type_and_range() -> None:
    head = b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/10\r\n\r\n"
    assert part_head("B", "text/plain", 0, 5, 10) == head


def test_section_14_6_a_part_of_unknown_type_has_its_range_only() -> None:
    assert part_head("B", None, 0, 5, 10) == b"\r\n--B\r\nContent-Range: bytes 0-4/10\r\n\r\n"


def test_rfc2046_5_1_1_the_last_boundary_has_two_more_hyphens() -> None:
    assert closing("B") == b"\r\n--B--\r\n"
