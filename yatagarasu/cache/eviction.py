"""S3-FIFO: which keys to keep in a bounded number of bytes.

After Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, algorithm 1.
New keys enter a small queue; those used more than once there move on to the main queue, the others leave and
are remembered by name only, as ghosts; a ghost that comes back enters the main queue. Main is a clock: a key
used since its last turn gets another one. Knows keys and sizes; what they stand for hangs on the node.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# The paper's two-bit counter, and the uses within the small queue that make a key worth keeping.
MAX_FREQ = 3
_PROMOTE_FREQ = 2


class Node(Generic[K]):
    """A present key: `size` bytes, `freq` uses since its last turn (0-3), and the owner's `value`.

    A hit is `if node.freq < MAX_FREQ: node.freq += 1`, inlined where it matters.
    """

    __slots__ = ("freq", "is_main", "key", "size", "value")

    def __init__(self, key: K, size: int, *, is_main: bool) -> None:
        self.key = key
        self.size = size
        self.freq = 0
        self.is_main = is_main
        self.value: Any = None


class S3Fifo(Generic[K]):
    """Keys weighted by bytes, never more than `max_size` of them after any call.

    Each key of `nodes` is in exactly one of the two queues. `nodes` is never rebound: an owner may look keys
    up in it directly.

    Args:
        max_size: bytes, 0 or more.
        small_share: part of `max_size` that new keys may fill before they compete, 0 to 1.
        ghost_share: bytes whose keys are remembered after they left, as a part of `max_size`.
        on_evict: called with each node that leaves to make room, as it leaves: it must not call back.
    """

    __slots__ = (
        "_ghost_max",
        "_ghost_share",
        "_ghost_size",
        "_ghosts",
        "_main",
        "_on_evict",
        "_small",
        "_small_max",
        "_small_share",
        "_small_size",
        "max_size",
        "nodes",
        "size",
    )

    def __init__(
        self,
        max_size: int,
        *,
        small_share: float = 0.1,
        ghost_share: float = 0.9,
        on_evict: Callable[[Node[K]], None] | None = None,
    ) -> None:
        if max_size < 0:
            raise ValueError(f"max_size is negative: {max_size}")
        self.max_size = max_size
        self._on_evict = on_evict
        self.size = 0
        self.nodes: dict[K, Node[K]] = {}
        # Not dict: taking the first key of a dict again and again scans what was deleted before it.
        self._small: OrderedDict[K, Node[K]] = OrderedDict()
        self._small_size = 0
        self._small_share, self._ghost_share = small_share, ghost_share
        self._small_max = int(max_size * small_share)
        self._main: OrderedDict[K, Node[K]] = OrderedDict()
        # Hashes, not keys: keys are long, and a collision costs no more than one early promotion.
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._ghost_size = 0
        self._ghost_max = int(max_size * ghost_share)

    def node(self, key: K) -> Node[K] | None:
        """The node of a present key."""
        return self.nodes.get(key)

    def touch(self, key: K) -> None:
        """Count a use of `key`; an absent key is ignored."""
        node = self.nodes.get(key)
        if node is not None and node.freq < MAX_FREQ:
            node.freq += 1

    def insert(self, key: K, size: int) -> list[K]:
        """Make room for `key` and let it in; a present key is resized.

        Returns the keys that had to leave, in that order: `[key]` alone where `size` is over `max_size`. The
        key let in is never among them otherwise. Raises ValueError for a size below 1.
        """
        if key in self.nodes:
            return self.resize(key, size)
        _check_size(size)
        if size > self.max_size:
            return [key]
        # Before making room, which makes new ghosts and may drop this one.
        ghost = self._ghosts.pop(hash(key), None)
        if ghost is not None:
            self._ghost_size -= ghost
        evicted = self._make_room(size)
        node = Node(key, size, is_main=ghost is not None)
        self.nodes[key] = node
        self._enqueue(node)
        return evicted

    def resize(self, key: K, size: int) -> list[K]:
        """Change the size of a present `key`, which goes to the end of its queue and keeps its uses.

        Returns and raises as `insert` does, and KeyError for an absent key.
        """
        _check_size(size)
        node = self.nodes[key]
        self._dequeue(node)
        if size > self.max_size:
            del self.nodes[key]
            return [key]
        # Out of its queue meanwhile, so that it cannot be its own victim.
        evicted = self._make_room(size)
        node.size = size
        self._enqueue(node)
        return evicted

    def restore(self, key: K, size: int, *, is_main: bool) -> list[K]:
        """Let an absent `key` in as it was before a restart: into the queue it was in. Returns as `insert` does."""
        _check_size(size)
        if size > self.max_size:
            return [key]
        evicted = self._make_room(size)
        node = Node(key, size, is_main=is_main)
        self.nodes[key] = node
        self._enqueue(node)
        return evicted

    def limit(self, max_size: int) -> list[K]:
        """Change the bound; returns the keys that had to leave."""
        if max_size != self.max_size:
            # The shares move with it: whole numbers, as when it was made.
            self._small_max = int(max_size * self._small_share)
            self._ghost_max = int(max_size * self._ghost_share)
            self.max_size = max_size
        return self._make_room(0)

    def remove(self, key: K) -> bool:
        """Forget `key`, without a ghost; whether it was present."""
        node = self.nodes.pop(key, None)
        if node is None:
            return False
        self._dequeue(node)
        return True

    def clear(self) -> None:
        """Forget everything, ghosts too."""
        self.nodes.clear()
        self._small.clear()
        self._main.clear()
        self._ghosts.clear()
        self.size = self._small_size = self._ghost_size = 0

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, key: object) -> bool:
        return key in self.nodes

    def __repr__(self) -> str:
        return (
            f"S3Fifo(size={self.size}, max_size={self.max_size}, small={len(self._small)}, "
            f"main={len(self._main)}, ghosts={len(self._ghosts)})"
        )

    def _enqueue(self, node: Node[K]) -> None:
        self.size += node.size
        if node.is_main:
            self._main[node.key] = node
        else:
            self._small[node.key] = node
            self._small_size += node.size

    def _dequeue(self, node: Node[K]) -> None:
        self.size -= node.size
        if node.is_main:
            del self._main[node.key]
        else:
            del self._small[node.key]
            self._small_size -= node.size

    def _make_room(self, size: int) -> list[K]:
        """Evict until `size` more bytes fit; 0 <= size <= max_size."""
        evicted: list[K] = []
        while self.size + size > self.max_size:
            node = None
            if self._small and (self._small_size >= self._small_max or not self._main):
                node = self._evict_small()
            if node is None:
                node = self._evict_main()
            self.size -= node.size
            del self.nodes[node.key]
            evicted.append(node.key)
            if self._on_evict is not None:
                self._on_evict(node)
        return evicted

    def _evict_small(self) -> Node[K] | None:
        """Take the first key that was not used enough, promoting those before it; None if all were."""
        while self._small:
            key, node = self._small.popitem(last=False)
            self._small_size -= node.size
            if node.freq < _PROMOTE_FREQ:
                self._haunt(key, node.size)
                return node
            node.freq = 0
            node.is_main = True
            self._main[key] = node
        return None

    def _evict_main(self) -> Node[K]:
        """Take the first key not used since its last turn; ends, for each turn costs a use."""
        main = self._main
        while True:
            key = next(iter(main))
            node = main[key]
            if node.freq == 0:
                del main[key]
                return node
            node.freq -= 1
            main.move_to_end(key)

    def _haunt(self, key: K, size: int) -> None:
        """Remember a key that left the small queue; the oldest ghosts give way."""
        name = hash(key)
        self._ghost_size += size - self._ghosts.pop(name, 0)
        self._ghosts[name] = size
        while self._ghost_size > self._ghost_max:
            self._ghost_size -= self._ghosts.popitem(last=False)[1]


def _check_size(size: int) -> None:
    # A key that weighs nothing would never have to leave.
    if size < 1:
        raise ValueError(f"size is below one byte: {size}")
