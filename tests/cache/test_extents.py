import pytest

from yatagarasu.cache.extents import Extents


def extents_of(*ranges: tuple[int, int]) -> Extents:
    extents = Extents()
    for start, stop in ranges:
        extents.add(start, stop)
    return extents


@pytest.mark.parametrize(
    ("added", "runs"),
    [
        pytest.param([(0, 4), (4, 8), (8, 9)], [(0, 9)], id="in order grows one run"),
        pytest.param([(8, 9), (4, 8), (0, 4)], [(0, 9)], id="backwards grows one run"),
        pytest.param([(0, 2), (4, 6)], [(0, 2), (4, 6)], id="a gap keeps two runs"),
        pytest.param([(4, 6), (0, 2)], [(0, 2), (4, 6)], id="sorted whatever the order"),
        pytest.param([(0, 2), (4, 6), (2, 4)], [(0, 6)], id="filling a gap joins its neighbours"),
        pytest.param([(0, 2), (3, 4), (5, 6), (9, 10), (1, 7)], [(0, 7), (9, 10)], id="swallows what it covers"),
        pytest.param([(0, 9), (2, 4)], [(0, 9)], id="a part of a run changes nothing"),
        pytest.param([(0, 9), (20, 30), (2, 4)], [(0, 9), (20, 30)], id="a part of an earlier run changes nothing"),
        pytest.param([(5, 5)], [], id="the empty range adds nothing"),
        pytest.param([(0, 2), (4, 6), (3, 3)], [(0, 2), (4, 6)], id="the empty range joins nothing"),
    ],
)
def test_adding_keeps_runs_sorted_and_apart(added: list[tuple[int, int]], runs: list[tuple[int, int]]) -> None:
    assert list(extents_of(*added)) == runs


def test_total_counts_bytes_added_twice_once() -> None:
    assert extents_of((0, 10), (5, 15), (20, 30), (8, 22)).total == 30


@pytest.mark.parametrize(("start", "stop"), [(3, 2), (-1, 4), (-5, -5), (-4, -2)])
def test_what_is_no_range_is_refused_and_changes_nothing(start: int, stop: int) -> None:
    extents = extents_of((0, 4))
    with pytest.raises(ValueError, match="not a range"):
        extents.add(start, stop)
    assert list(extents) == [(0, 4)]


@pytest.mark.parametrize(
    ("pos", "end"),
    [
        pytest.param(0, 0, id="before every run"),
        pytest.param(2, 5, id="first byte of a run"),
        pytest.param(4, 5, id="last byte of a run"),
        pytest.param(5, 5, id="the byte after a run"),
        pytest.param(9, 12, id="second run"),
        pytest.param(40, 40, id="after every run"),
    ],
)
def test_present_until_is_the_end_of_the_run_that_holds_the_byte(pos: int, end: int) -> None:
    assert extents_of((2, 5), (8, 12)).present_until(pos) == end


@pytest.mark.parametrize(
    ("pos", "stop", "first"),
    [
        pytest.param(0, 20, 2, id="start of the next run"),
        pytest.param(3, 20, 3, id="already within a run"),
        pytest.param(5, 20, 8, id="the byte after a run"),
        pytest.param(5, 7, 7, id="the next run starts past stop"),
        pytest.param(12, 20, 20, id="no run left"),
    ],
)
def test_next_present_is_the_first_present_byte_before_stop(pos: int, stop: int, first: int) -> None:
    assert extents_of((2, 5), (8, 12)).next_present(pos, stop) == first


@pytest.mark.parametrize(
    ("start", "stop", "missing"),
    [
        pytest.param(0, 14, [(0, 2), (5, 8), (12, 14)], id="before, between and after"),
        pytest.param(3, 10, [(5, 8)], id="starts and stops within runs"),
        pytest.param(6, 7, [(6, 7)], id="within a hole"),
        pytest.param(2, 5, [], id="all present"),
        pytest.param(6, 6, [], id="empty"),
    ],
)
def test_holes_are_what_is_missing_within_the_bounds(start: int, stop: int, missing: list[tuple[int, int]]) -> None:
    assert extents_of((2, 5), (8, 12)).holes(start, stop) == missing


def test_nothing_added_is_one_hole() -> None:
    assert Extents().holes(3, 9) == [(3, 9)]


@pytest.mark.parametrize(
    ("start", "stop", "covered"),
    [(2, 5, True), (3, 4, True), (2, 6, False), (1, 3, False), (4, 9, False), (6, 6, True), (6, 7, False)],
)
def test_covers_needs_every_byte(start: int, stop: int, covered: bool) -> None:
    assert extents_of((2, 5), (8, 12)).covers(start, stop) is covered
