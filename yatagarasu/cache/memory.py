"""The memory tier: entries in a bounded number of bytes, S3-FIFO deciding which.

Nothing here awaits or locks: each call is done before another task runs. Knows keys, entries and charges;
freshness is `cache.policy`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.eviction import MAX_FREQ, Node, S3Fifo

# What an entry costs beyond its text and body: objects, dictionary and queue slots, a ghost's hash. Measured
# on CPython 3.11 with 0 to 24 header fields: 1.1 KiB and 193 bytes a field, rounded up.
ENTRY_OVERHEAD_BYTES = 1536
_FIELD_OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """State of a tier: `bytes` charged, of at most `max_bytes`; `entries` held; `evictions` in all."""

    bytes: int
    entries: int
    evictions: int
    max_bytes: int


def charge_of(entry: Entry) -> int:
    """Bytes that holding `entry` costs, at least 1: its head, and its whole body from the first byte on.

    The whole one, because a body's buffer is allocated at once.
    """
    # Twice: parsed, and in the encoded head that is made of it.
    text = sum(2 * (len(name) + len(value)) + _FIELD_OVERHEAD_BYTES for name, value in entry.headers)
    present = entry.body.present_bytes
    held = max(present, entry.body.size or 0) if present else 0
    return ENTRY_OVERHEAD_BYTES + len(entry.key) + text + held


class MemoryTier:
    """Entries by cache key.

    Args:
        max_size: bytes charged in all, 0 or more; 0 holds nothing.
        max_object_size: bytes of one object; its head may come on top.
        on_evict: called with each entry that left to make room, after it has left. Not for removals.
    """

    __slots__ = ("_evictions", "_left", "_max_object_size", "_nodes", "_policy", "on_evict")

    def __init__(self, max_size: int, max_object_size: int, *, on_evict: Callable[[Entry], None] | None = None) -> None:
        # Nodes that left during a put, until it is done: `on_evict` may call the tier.
        self._left: list[Node[Key]] = []
        self._policy: S3Fifo[Key] = S3Fifo(max_size, on_evict=self._left.append)
        self._nodes = self._policy.nodes
        self._max_object_size = max_object_size
        self.on_evict = on_evict
        self._evictions = 0

    def get(self, key: Key) -> Entry | None:
        """The entry of `key`, counted as a use."""
        node = self._nodes.get(key)
        if node is None:
            return None
        if node.freq < MAX_FREQ:
            node.freq += 1
        entry: Entry = node.value
        return entry

    def put(self, entry: Entry, charge: int) -> bool:
        """Hold `entry` at `charge` bytes in place of any other of its key, and evict to make room.

        Returns whether it is held. One too large is not, and then neither is the entry it supersedes.
        """
        key = entry.key
        charge = max(charge, 1)
        object_bytes = charge if entry.size is None else min(charge, entry.size)
        if object_bytes > self._max_object_size or charge > self._policy.max_size:
            self._policy.remove(key)
            return False
        self._policy.insert(key, charge)
        self._nodes[key].value = entry
        if self._left:
            left: list[Entry] = [node.value for node in self._left]
            self._left.clear()
            self._evictions += len(left)
            if self.on_evict is not None:
                for gone in left:
                    self.on_evict(gone)
        return True

    def replace(self, entry: Entry) -> bool:
        """Swap in a freshened entry over the same body; position, uses and charge stay.

        Returns whether the body was held: one that has left meanwhile stays out, and a newer one stays in.
        """
        node = self._nodes.get(entry.key)
        if node is None or node.value.body is not entry.body:
            return False
        node.value = entry
        return True

    def remove(self, key: Key) -> Entry | None:
        """Forget `key`; returns the entry it had."""
        node = self._nodes.get(key)
        if node is None:
            return None
        self._policy.remove(key)
        entry: Entry = node.value
        return entry

    def clear(self) -> None:
        """Forget everything."""
        self._policy.clear()

    def statistics(self) -> MemoryStatistics:
        """A snapshot."""
        return MemoryStatistics(
            bytes=self._policy.size,
            entries=len(self._nodes),
            evictions=self._evictions,
            max_bytes=self._policy.max_size,
        )

    def __iter__(self) -> Iterator[Entry]:
        """Entries as of this moment, uncounted: the tier may change during the iteration."""
        return iter([node.value for node in self._nodes.values()])

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, key: object) -> bool:
        return key in self._nodes

    def __repr__(self) -> str:
        return f"MemoryTier({self.statistics()!r})"
