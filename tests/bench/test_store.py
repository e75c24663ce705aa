"""Objects of the embedded origin."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.bench.pattern import pattern_bytes
from yatagarasu.bench.store import ObjectStore

BLOCK = 64 * 1024
EDGES = st.sampled_from([0, 1, 7, 8, 9, BLOCK - 1, BLOCK, BLOCK + 7, BLOCK + 8, BLOCK + 9, 3 * BLOCK])
WHOLE = pattern_bytes(7, 0, 4 * BLOCK)


@given(start=EDGES | st.integers(0, 4 * BLOCK), stop=EDGES | st.integers(0, 4 * BLOCK))
def test_any_part_of_a_pattern_is_that_part_of_the_whole(start: int, stop: int):
    assert pattern_bytes(7, start, stop) == WHOLE[start : max(start, stop)]


def test_no_two_blocks_or_seeds_are_alike():
    """Bytes from the wrong place, or of another generation, can be told."""
    blocks = {pattern_bytes(seed, n * BLOCK, (n + 1) * BLOCK) for seed in (1, 2) for n in range(200)}
    assert len(blocks) == 400


def test_an_etag_is_the_md5_of_the_bytes():
    stored = ObjectStore().put("b", "k", b"hello")
    assert stored.etag == f'"{hashlib.md5(b"hello", usedforsecurity=False).hexdigest()}"'


def test_a_patterns_etag_follows_its_seed_and_size():
    store = ObjectStore()
    assert store.put_pattern("b", "k", 10, seed=1).etag == store.put_pattern("b", "l", 10, seed=1).etag
    etags = {store.put_pattern("b", "k", size, seed=seed).etag for size in (10, 11) for seed in (1, 2)}
    assert len(etags) == 4


def test_a_deleted_object_is_gone_and_twice_is_no_error():
    store = ObjectStore()
    store.put("b", "k", b"x")
    store.delete("b", "k")
    store.delete("b", "k")
    assert store.get("b", "k") is None
