from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.cache.extents import Extents

SIZE = 40
offsets = st.integers(0, SIZE)
ranges = st.tuples(offsets, offsets).map(lambda pair: (min(pair), max(pair)))
additions = st.lists(ranges, max_size=12)


def build(added: list[tuple[int, int]]) -> tuple[Extents, set[int]]:
    """The same additions to extents and to the model: a set of offsets."""
    extents, model = Extents(), set[int]()
    for start, stop in added:
        extents.add(start, stop)
        model.update(range(start, stop))
    return extents, model


@given(additions)
def test_runs_hold_just_the_bytes_added_and_never_touch(added: list[tuple[int, int]]) -> None:
    extents, model = build(added)
    runs = list(extents)
    assert {pos for start, stop in runs for pos in range(start, stop)} == model
    assert all(start < stop for start, stop in runs)
    assert all(before[1] < after[0] for before, after in pairwise(runs))


@given(additions)
def test_total_is_the_number_of_bytes(added: list[tuple[int, int]]) -> None:
    extents, model = build(added)
    assert extents.total == len(model)


@given(additions, offsets)
def test_present_until_is_the_next_missing_byte(added: list[tuple[int, int]], pos: int) -> None:
    extents, model = build(added)
    assert extents.present_until(pos) == next(at for at in range(pos, SIZE + 2) if at not in model)


@given(additions, ranges)
def test_next_present_is_the_next_byte_there_is(added: list[tuple[int, int]], bounds: tuple[int, int]) -> None:
    extents, model = build(added)
    pos, stop = bounds
    assert extents.next_present(pos, stop) == next((at for at in range(pos, stop) if at in model), stop)


@given(additions, ranges)
def test_holes_are_the_missing_bytes_as_few_sorted_ranges(
    added: list[tuple[int, int]], bounds: tuple[int, int]
) -> None:
    extents, model = build(added)
    missing = extents.holes(*bounds)
    assert [at for start, stop in missing for at in range(start, stop)] == [
        at for at in range(*bounds) if at not in model
    ]
    assert all(before[1] < after[0] for before, after in pairwise(missing))


@given(additions, ranges)
def test_covers_agrees_with_the_model(added: list[tuple[int, int]], bounds: tuple[int, int]) -> None:
    extents, model = build(added)
    assert extents.covers(*bounds) == (set(range(*bounds)) <= model)


@given(additions, ranges)
def test_filling_the_holes_covers_the_range(added: list[tuple[int, int]], bounds: tuple[int, int]) -> None:
    extents, _ = build(added)
    for hole in extents.holes(*bounds):
        extents.add(*hole)
    assert extents.covers(*bounds)
    assert extents.holes(*bounds) == []
