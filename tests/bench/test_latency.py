"""Histograms of latencies: what they may round, and that they add up."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yatagarasu.bench.latency import MAX_NS, SLOTS, Histogram, highest_of, slot_of

LATENCIES = st.integers(0, 4096) | st.integers(0, MAX_NS)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(LATENCIES)
@example(2047)
@example(2048)
@example(MAX_NS)
def test_any_value_is_known_to_a_thousandth(ns: int):
    highest = highest_of(slot_of(ns))
    assert ns <= highest <= ns * 1.001


def test_buckets_follow_each_other_without_a_gap():
    assert slot_of(MAX_NS) == SLOTS - 1
    for slot in range(SLOTS - 1):
        assert slot_of(highest_of(slot)) == slot
        assert slot_of(highest_of(slot) + 1) == slot + 1


@given(st.lists(LATENCIES, min_size=1), st.floats(0, 100))
def test_a_percentile_is_that_of_the_sorted_values(values: list[int], percent: float):
    rank = max(1, math.ceil(len(values) * percent / 100))
    exact = sorted(values)[rank - 1]
    assert exact <= histogram(values).percentile(percent) <= exact * 1.001


@given(st.lists(LATENCIES), st.lists(LATENCIES))
def test_histograms_of_two_processes_add_up_to_that_of_one(some: list[int], others: list[int]):
    made = histogram(some)
    made.add(Histogram(histogram(others).pairs()))
    assert made == histogram(some + others)
    assert made.count == len(some) + len(others)


def test_a_value_out_of_range_counts_as_the_nearest():
    assert histogram([MAX_NS * 3, -5]) == histogram([MAX_NS, 0])


def test_one_slow_answer_of_a_thousand_shows_at_three_nines_only():
    made = histogram([1_000_000] * 999 + [5_000_000_000])
    assert made.percentile(99.9) == pytest.approx(1_000_000, rel=0.001)
    assert made.percentile(99.95) == made.max == pytest.approx(5_000_000_000, rel=0.001)
    assert made.mean == pytest.approx(5_999_000, rel=0.001)


@given(st.lists(LATENCIES, min_size=1))
def test_a_curve_rises_to_the_highest(values: list[int]):
    made = histogram(values)
    points = made.curve()
    assert points == sorted(points)
    assert points[-1] == (100.0, made.max)
    assert all(ns == made.percentile(percent) for percent, ns in points[:-1])


def test_nothing_recorded_has_no_curve_and_zeros():
    made = Histogram()
    assert (made.count, made.max, made.mean, made.percentile(99), made.curve()) == (0, 0, 0.0, 0, [])
