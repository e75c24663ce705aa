from email import message_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.http.ranges import (
    ContentRange,
    RangeSpec,
    closing,
    format_content_range,
    multipart_length,
    parse_content_range,
    parse_range,
    part_head,
    resolve,
)

sizes = st.integers(0, 60)
positions = st.integers(0, 80)


def ordered(pair: tuple[int, int]) -> RangeSpec:
    return RangeSpec(min(pair), max(pair))


specs = st.one_of(
    st.tuples(positions, positions).map(ordered),
    positions.map(lambda first: RangeSpec(first, None)),
    positions.map(lambda suffix: RangeSpec(None, suffix)),
)
spec_lists = st.lists(specs, min_size=1, max_size=6)


def asked(spec: RangeSpec, size: int) -> set[int]:
    """The offsets one spec selects, said as RFC 9110, section 14.1.2, says it."""
    if spec.first is None:
        return set(range(size)[-spec.last :] if spec.last else ())
    return {offset for offset in range(size) if offset >= spec.first and (spec.last is None or offset <= spec.last)}


def write(spec: RangeSpec) -> str:
    return f"{'' if spec.first is None else spec.first}-{'' if spec.last is None else spec.last}"


@given(spec_lists)
def test_what_is_written_is_read(wanted: list[RangeSpec]) -> None:
    assert parse_range("bytes=" + ", ".join(map(write, wanted))) == tuple(wanted)


@given(st.text(alphabet="bytes=0123456789-, \t*x", max_size=30))
def test_any_text_is_a_range_or_none(text: str) -> None:
    found = parse_range(text)
    assert found is None or all(spec.first is None or spec.last is None or spec.first <= spec.last for spec in found)


@given(spec_lists, sizes)
def test_resolved_ranges_hold_every_byte_asked_for_and_no_other_unless_the_whole(
    wanted: list[RangeSpec], size: int
) -> None:
    found = resolve(wanted, size)
    offsets = {offset for start, stop in found for offset in range(start, stop)}
    selected = set[int]().union(*(asked(spec, size) for spec in wanted))
    assert offsets == selected or found == ((0, size),)
    assert bool(found) == bool(selected)


@given(spec_lists, sizes)
def test_resolved_ranges_lie_within_the_size(wanted: list[RangeSpec], size: int) -> None:
    assert all(0 <= start < stop <= size for start, stop in resolve(wanted, size))


@given(spec_lists, sizes)
def test_an_answer_is_at_most_the_object(wanted: list[RangeSpec], size: int) -> None:
    assert sum(stop - start for start, stop in resolve(wanted, size)) <= size


@given(st.integers(0, 10**17), st.integers(1, 10**9), st.one_of(st.none(), st.integers(0, 10**9)))
def test_a_content_range_that_is_written_is_read(start: int, length: int, behind: int | None) -> None:
    stop = start + length
    size = None if behind is None else stop + behind
    assert parse_content_range(format_content_range(start, stop, size)) == ContentRange(start, stop, size)


@given(spec_lists, st.integers(1, 60), st.sampled_from(["text/plain", None]))
def test_a_multipart_answer_is_as_long_as_announced_and_holds_its_parts(
    wanted: list[RangeSpec], size: int, content_type: str | None
) -> None:
    data = bytes(range(65, 65 + size))
    ranges = resolve(wanted, size)
    parts = (part_head("B0undary", content_type, start, stop, size) + data[start:stop] for start, stop in ranges)
    body = b"".join(parts) + closing("B0undary")
    assert len(body) == multipart_length("B0undary", content_type, ranges, size)
    message = message_from_bytes(b"Content-Type: multipart/byteranges; boundary=B0undary\r\n" + body)
    payload = message.get_payload()
    found = payload if isinstance(payload, list) and message.is_multipart() else []
    read = [(part["content-range"], part.get_payload(decode=True)) for part in found]
    assert read == [(format_content_range(start, stop, size), data[start:stop]) for start, stop in ranges]
