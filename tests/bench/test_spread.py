"""Medians, spread, and ratios with their noise."""

import pytest

from yatagarasu.bench.spread import Spread, compare


def test_the_spread_of_several_runs():
    found = Spread((90.0, 100.0, 130.0))
    assert (found.median, found.low, found.high) == (100.0, 90.0, 130.0)
    assert found.noise == pytest.approx(0.2)


def test_one_run_has_no_spread_and_a_median_of_nothing_no_noise():
    assert Spread((7.0,)).noise == 0.0
    assert Spread((0.0, 0.0, 3.0)).noise == 0.0


def test_a_ratio_has_the_noise_of_both_sides():
    found = compare([95.0, 100.0, 105.0], [190.0, 200.0, 210.0])
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(95 / 210), pytest.approx(105 / 190))
    assert not found.is_noise


def test_series_that_overlap_differ_by_noise():
    found = compare([100.0, 120.0], [90.0, 105.0])
    assert found is not None
    assert found.is_noise


@pytest.mark.parametrize(("new", "old"), [([], [1.0]), ([1.0], []), ([1.0], [0.0, 1.0])])
def test_there_is_no_ratio_to_nothing(new: list[float], old: list[float]):
    assert compare(new, old) is None
