from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.cache.eviction import MAX_FREQ, S3Fifo

# Ghosts are hashes, and -1 and -2 are the two small integers that share one.
COLLIDING = {-1, -2}
keys = st.integers(-2, 10)
sizes = st.integers(1, 12)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), keys, sizes),
        st.tuples(st.just("resize"), keys, sizes),
        st.tuples(st.just("touch"), keys, st.just(0)),
        st.tuples(st.just("remove"), keys, st.just(0)),
    ),
    max_size=80,
)
shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])


def play(policy: S3Fifo[int], model: dict[int, int], operation: tuple[str, int, int]) -> None:
    """Apply one operation to the policy, and its promised effect to the model: key to size."""
    name, key, size = operation
    if name == "touch":
        policy.touch(key)
    elif name == "remove":
        assert policy.remove(key) == (model.pop(key, None) is not None)
    elif name == "insert" or key in model:
        left = policy.insert(key, size) if name == "insert" else policy.resize(key, size)
        if size > policy.max_size:
            assert left == [key]
            model.pop(key, None)
            return
        assert key not in left
        assert len(left) == len(set(left))
        model[key] = size
        for gone in left:
            del model[gone]


@given(operations, st.integers(0, 30), shares, shares)
def test_whatever_happens_the_bound_holds_and_the_books_balance(
    played: list[tuple[str, int, int]], max_size: int, small_share: float, ghost_share: float
) -> None:
    """Just the keys reported as gone are gone, and sizes add up."""
    policy: S3Fifo[int] = S3Fifo(max_size, small_share=small_share, ghost_share=ghost_share)
    model: dict[int, int] = {}
    for operation in played:
        play(policy, model, operation)
        assert {key: node.size for key, node in policy.nodes.items()} == model
        assert policy.size == sum(model.values()) <= max_size
        assert len(policy) == len(model)
        assert all(0 <= node.freq <= MAX_FREQ for node in policy.nodes.values())


@given(operations, st.integers(1, 30), shares)
def test_queues_and_ghosts_agree_with_their_sums(
    played: list[tuple[str, int, int]], max_size: int, ghost_share: float
) -> None:
    """Each key is in the one queue its node names; ghosts stay within their share and are not present."""
    policy: S3Fifo[int] = S3Fifo(max_size, ghost_share=ghost_share)
    model: dict[int, int] = {}
    for operation in played:
        play(policy, model, operation)
        small, main, ghosts = policy._small, policy._main, policy._ghosts
        assert {*small, *main} == set(policy.nodes)
        assert not {*small} & {*main}
        assert all(not node.is_main for node in small.values())
        assert all(node.is_main for node in main.values())
        assert policy._small_size == sum(node.size for node in small.values())
        assert policy._ghost_size == sum(ghosts.values()) <= ghost_share * max_size
        assert not {hash(key) for key in policy.nodes if key not in COLLIDING} & {*ghosts}


@given(operations, st.integers(1, 30))
def test_nobody_leaves_while_there_is_room(played: list[tuple[str, int, int]], max_size: int) -> None:
    """Evictions stop as soon as the newcomer fits: without the last one it would not have."""
    policy: S3Fifo[int] = S3Fifo(max_size)
    for name, key, size in played:
        if name == "touch":
            policy.touch(key)
        elif name == "insert" and key not in policy and size <= max_size:
            before = {known: node.size for known, node in policy.nodes.items()}
            left = policy.insert(key, size)
            if left:
                assert policy.size + before[left[-1]] > max_size
