"""Which worker owns a key: rendezvous hashing, so that a worker that leaves moves its own keys and no others.

Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998). Every process must come to the
same answer, so nothing here depends on `hash()`.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from struct import Struct

from yatagarasu.cache.entry import Key

# One digest of the greatest size holds the scores of so many workers, which costs no more than a short one.
_SCORES = Struct("<8Q")
_GROUP = 8
_NUL = "\0"


def _object_of(key: Key) -> str:
    """Bucket and object key of a cache key: all queries, keyed fields and variants of one object have one owner."""
    bucket, _, rest = key.partition("\0")
    return f"{bucket}\0{rest.partition(_NUL)[0]}"


def owner_of(key: Key, alive: Sequence[int]) -> int:
    """The worker with the highest score for a key.

    Args:
        key: any cache key of the object.
        alive: indices of workers, at least one; their order means nothing.
    """
    data = _object_of(key).encode()
    scores = _SCORES.unpack(blake2b(data, digest_size=64).digest())
    for group in range(1, max(alive) // _GROUP + 1):
        scores += _SCORES.unpack(blake2b(data, digest_size=64, salt=group.to_bytes(8)).digest())
    return max(alive, key=scores.__getitem__)


class Ownership:
    """Whose a key is, as one worker sees it at the moment.

    Args:
        index: this worker's own.
        alive: the workers that answer; this one is not among them while it starts or drains.
    """

    __slots__ = ("_alive", "_index")

    def __init__(self, index: int, alive: Callable[[], Sequence[int]]) -> None:
        self._index = index
        self._alive = alive

    def is_mine(self, key: Key) -> bool:
        """Whether this worker owns any kind of cache key; it does where nobody else is there."""
        return self.peer_for(key) is None

    def peer_for(self, key: Key) -> int | None:
        """The other worker that owns a key, None where it is this one's."""
        alive = self._alive()
        if not alive or (len(alive) == 1 and alive[0] == self._index):
            return None
        owner = owner_of(key, alive)
        return None if owner == self._index else owner
