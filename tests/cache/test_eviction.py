import itertools
import random
from collections import OrderedDict

import pytest

from yatagarasu.cache.eviction import MAX_FREQ, S3Fifo


def fill(policy: S3Fifo[int], keys: range, size: int = 1) -> list[int]:
    """Insert keys that are not there; returns who left, in order."""
    return [gone for key in keys for gone in policy.insert(key, size)]


def use(policy: S3Fifo[int], *keys: int, times: int = 1) -> None:
    for key in keys:
        for _ in range(times):
            policy.touch(key)


def test_one_hit_wonders_leave_first_in_first_out() -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    assert fill(policy, range(14)) == [0, 1, 2, 3]


def test_a_key_used_twice_outlives_newer_keys_used_never() -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    fill(policy, range(10))
    use(policy, 0, times=2)
    fill(policy, range(10, 60))
    assert 0 in policy


def test_one_use_is_not_enough_to_leave_the_small_queue_for_main() -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    fill(policy, range(10))
    use(policy, 0)
    assert policy.insert(10, 1) == [0]


def test_a_scan_does_not_flush_the_working_set() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    hot = range(80)
    fill(policy, hot)
    use(policy, *hot, times=2)
    left = fill(policy, range(1000, 11000))
    assert [key for key in hot if key not in policy] == []
    assert len(left) == 10080 - 100


def test_a_ghost_that_returns_goes_to_main_and_survives_a_scan() -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    assert 0 in fill(policy, range(12))
    policy.insert(0, 1)
    node = policy.node(0)
    assert node is not None
    assert node.is_main
    fill(policy, range(100, 200))
    assert 0 in policy


def test_a_ghost_is_forgotten_after_ghost_share_more_bytes_have_left() -> None:
    policy: S3Fifo[int] = S3Fifo(10, ghost_share=0.5)
    fill(policy, range(16))  # 0 to 5 have left; 0 was the oldest of six where five fit
    for key, is_main in ((0, False), (5, True)):
        policy.insert(key, 1)
        node = policy.node(key)
        assert node is not None
        assert node.is_main is is_main


def test_ghosts_of_equal_hash_weigh_as_one() -> None:
    assert hash(-1) == hash(-2)
    policy: S3Fifo[int] = S3Fifo(4, ghost_share=0.75)
    fill(policy, range(-3, 1))  # -3, -2, -1, 0
    fill(policy, range(1, 4))  # ghosts: -3, and one for -2 and -1
    assert policy.insert(4, 1) == [0]  # a third ghost, which fits
    policy.insert(-3, 1)
    node = policy.node(-3)
    assert node is not None
    assert node.is_main


def test_a_removed_key_leaves_no_ghost() -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    policy.insert(1, 1)
    assert policy.remove(1)
    policy.insert(1, 1)
    node = policy.node(1)
    assert node is not None
    assert not node.is_main


def test_main_is_a_clock_where_each_use_buys_a_turn() -> None:
    policy: S3Fifo[int] = S3Fifo(4, small_share=0.25)
    fill(policy, range(4))
    use(policy, 0, 1, 2, 3, times=2)
    assert policy.insert(4, 1) == [0]  # all four were promoted; nobody was used since, so the oldest leaves
    use(policy, 1, 2)
    use(policy, 4, times=2)
    assert policy.insert(5, 1) == [3]  # 4 was promoted as well, and 1 and 2 took another turn


def test_each_use_in_main_buys_just_one_turn() -> None:
    policy: S3Fifo[int] = S3Fifo(2, small_share=0.5)
    fill(policy, range(2))
    use(policy, 0, 1, times=2)
    policy.insert(2, 1)  # promotes both and drops 0
    policy.remove(2)
    use(policy, 1, times=3)
    policy.insert(0, 1)  # a newcomer in the small queue
    use(policy, 0, times=2)
    assert policy.insert(3, 1) == [0]  # promoted without uses, it leaves; 1 paid one use for its turn
    node = policy.node(1)
    assert node is not None
    assert node.freq == 2


def test_promotion_clears_the_uses() -> None:
    policy: S3Fifo[int] = S3Fifo(4)
    fill(policy, range(4))
    use(policy, 0, times=3)
    assert policy.insert(4, 1) == [1]
    node = policy.node(0)
    assert node is not None
    assert (node.is_main, node.freq) == (True, 0)


def test_main_gives_way_only_while_the_small_queue_is_below_its_share() -> None:
    policy: S3Fifo[int] = S3Fifo(4, small_share=0.5)
    fill(policy, range(4))
    use(policy, 0, 1, 2, times=2)
    assert policy.insert(4, 1) == [3]  # main 0 1 2, small 4
    assert policy.insert(5, 1) == [0]  # small has one of its two: main gives way
    assert policy.insert(6, 1) == [4]  # small has both


def test_the_counter_saturates() -> None:
    policy: S3Fifo[int] = S3Fifo(4)
    policy.insert(0, 1)
    use(policy, 0, times=50)
    node = policy.node(0)
    assert node is not None
    assert node.freq == MAX_FREQ == 3


def test_touching_an_absent_key_does_nothing() -> None:
    policy: S3Fifo[int] = S3Fifo(4)
    policy.touch(7)
    assert (len(policy), policy.size) == (0, 0)


def test_one_large_key_makes_as_many_small_ones_leave_as_it_needs() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert policy.insert(99, 35) == [0, 1, 2, 3]
    assert policy.size == 95


def test_a_key_larger_than_everything_is_refused_and_nobody_leaves() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert policy.insert(99, 101) == [99]
    assert (99 in policy, len(policy), policy.size) == (False, 10, 100)


def test_a_key_as_large_as_everything_is_let_in_alone() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert sorted(policy.insert(99, 100)) == list(range(10))
    assert list(policy.nodes) == [99]


def test_growing_makes_others_leave_never_the_one_that_grows() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert policy.resize(0, 30) == [1, 2]
    assert policy.size == 100


def test_growing_past_everything_makes_the_key_itself_leave() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert policy.resize(0, 101) == [0]
    assert (0 in policy, policy.size) == (False, 90)


def test_shrinking_frees_room() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    fill(policy, range(10), size=10)
    assert policy.resize(3, 1) == []
    assert policy.insert(10, 9) == []


def test_inserting_a_present_key_resizes_it_and_keeps_its_uses() -> None:
    policy: S3Fifo[int] = S3Fifo(100)
    policy.insert(0, 10)
    use(policy, 0, times=2)
    policy.insert(0, 20)
    node = policy.node(0)
    assert node is not None
    assert (node.freq, node.size, policy.size) == (2, 20, 20)


def test_resizing_an_absent_key_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        S3Fifo[int](10).resize(1, 1)


@pytest.mark.parametrize("size", [0, -1])
def test_a_key_that_weighs_nothing_is_refused(size: int) -> None:
    policy: S3Fifo[int] = S3Fifo(10)
    with pytest.raises(ValueError, match="below one byte"):
        policy.insert(1, size)
    assert len(policy) == 0


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        S3Fifo[int](-1)


def test_removing_an_absent_key_says_so() -> None:
    assert not S3Fifo[int](10).remove(1)


def test_on_evict_sees_every_node_that_makes_room_and_no_other() -> None:
    seen: list[tuple[int, int]] = []
    policy: S3Fifo[int] = S3Fifo(4, on_evict=lambda node: seen.append((node.key, node.size)))
    fill(policy, range(5))
    policy.remove(4)
    policy.insert(99, 5)
    assert seen == [(0, 1)]


def test_clearing_forgets_ghosts_too() -> None:
    policy: S3Fifo[int] = S3Fifo(4)
    fill(policy, range(5))  # 0 is a ghost
    policy.clear()
    assert (policy.size, len(policy)) == (0, 0)
    policy.insert(0, 1)
    node = policy.node(0)
    assert node is not None
    assert not node.is_main


def zipf_trace(objects: int, requests: int) -> list[int]:
    weights = list(itertools.accumulate(1 / rank for rank in range(1, objects + 1)))
    return random.Random(1).choices(range(objects), cum_weights=weights, k=requests)


def lru_miss_ratio(trace: list[int], capacity: int) -> float:
    held: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in trace:
        if key in held:
            held.move_to_end(key)
            continue
        misses += 1
        held[key] = None
        if len(held) > capacity:
            held.popitem(last=False)
    return misses / len(trace)


def test_miss_ratio_on_zipf_is_that_of_libcachesim() -> None:
    """Zipf 1.0, a tenth of the objects fits: libcachesim 0.3.5 misses .26775 of this trace (LRU .32633)."""
    trace = zipf_trace(10_000, 200_000)
    policy: S3Fifo[int] = S3Fifo(1_000)
    misses = 0
    for key in trace:
        if key in policy:
            policy.touch(key)
        else:
            misses += 1
            policy.insert(key, 1)
    assert misses / len(trace) == pytest.approx(0.26775, abs=0.01)
    assert lru_miss_ratio(trace, 1_000) == pytest.approx(0.32633, abs=0.001)  # the trace is still that one
