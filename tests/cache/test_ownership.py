"""Rendezvous hashing: an even spread, and no key moves that does not have to."""

import subprocess
import sys
from collections import Counter

import pytest

from yatagarasu.cache.ownership import Ownership, owner_of

KEYS = [f"bucket\0photos/{number:05}.jpg\0" for number in range(20_000)]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 20])
def test_keys_spread_evenly(count: int):
    found = Counter(owner_of(key, range(count)) for key in KEYS)
    assert set(found) == set(range(count))
    expected = len(KEYS) / count
    assert all(abs(number - expected) < 6 * expected**0.5 for number in found.values())


@pytest.mark.parametrize("count", [2, 4, 8, 12])
def test_a_worker_that_leaves_moves_its_own_keys_only(count: int):
    gone = count // 2
    rest = [index for index in range(count) if index != gone]
    moved = Counter[int]()
    for key in KEYS:
        before, after = owner_of(key, range(count)), owner_of(key, rest)
        if before == gone:
            moved[after] += 1
        else:
            assert after == before
    assert set(moved) == set(rest)


def test_the_order_of_workers_means_nothing():
    assert all(owner_of(key, [0, 1, 2, 9]) == owner_of(key, [9, 2, 1, 0]) for key in KEYS[:500])


def test_every_process_comes_to_the_same_answer():
    code = "from yatagarasu.cache.ownership import owner_of; print([owner_of(f'k{n}', range(12)) for n in range(64)])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str([owner_of(f"k{number}", range(12)) for number in range(64)])


def test_keys_of_any_script_have_an_owner():
    assert owner_of("bücket\0八咫烏.jpg\0", [3]) == 3


@pytest.mark.parametrize(
    ("index", "alive", "peers"),
    [
        (0, [], {None}),
        (0, [0], {None}),
        (0, [1], {1}),
        (0, [0, 1], {None, 1}),
        (2, [0, 1], {0, 1}),
    ],
    ids=["nobody", "alone", "drains", "two", "starts"],
)
def test_a_peer_is_another_worker_that_is_alive(index: int, alive: list[int], peers: set[int | None]):
    ownership = Ownership(index, lambda: alive)
    assert {ownership.peer_for(key) for key in KEYS[:200]} == peers
    assert all(ownership.is_mine(key) == (ownership.peer_for(key) is None) for key in KEYS[:200])
