"""The tiers as one cache: asked from the quickest down. Memory is the only one so far.

Knows the order of tiers and which request fields select a variant; what is in a tier is the tier's.
"""

from collections.abc import Iterator
from typing import Protocol

from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.memory import MemoryStatistics, charge_of
from yatagarasu.cache.variants import Variants


class Tier(Protocol):
    """A place for entries, by cache key; none of its calls waits."""

    def get(self, key: Key) -> Entry | None:
        """The entry of `key`, counted as a use."""
        ...

    def put(self, entry: Entry, charge: int) -> bool:
        """Hold `entry` at `charge` bytes; whether it is held."""
        ...

    def replace(self, entry: Entry) -> bool:
        """Swap in a freshened entry over the same body; whether the key was held."""
        ...

    def remove(self, key: Key) -> Entry | None:
        """Forget `key`; returns the entry it had."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def statistics(self) -> MemoryStatistics:
        """A snapshot."""
        ...

    def __iter__(self) -> Iterator[Entry]:
        """Entries as of this moment, uncounted."""
        ...


class Tiers:
    """The cache as the proxy sees it.

    Args:
        memory: asked first; open to a caller that wants nothing between itself and a hit.
    """

    __slots__ = ("memory", "variants")

    def __init__(self, memory: Tier) -> None:
        self.memory = memory
        self.variants = Variants()

    def get(self, key: Key) -> Entry | None:
        """The entry of `key` from the first tier that has it."""
        return self.memory.get(key)

    def put(self, entry: Entry, charge: int | None = None) -> bool:
        """Hold `entry` in place of any other of its key; whether any tier does.

        Args:
            entry: a response, its body complete or not.
            charge: bytes it costs; None for `charge_of(entry)`.
        """
        return self.memory.put(entry, charge_of(entry) if charge is None else charge)

    def replace(self, entry: Entry) -> bool:
        """Swap in a freshened entry over the same body; whether its key was held."""
        return self.memory.replace(entry)

    def remove(self, key: Key) -> Entry | None:
        """Forget `key` in every tier; returns the entry it had in the quickest."""
        return self.memory.remove(key)

    def clear(self) -> None:
        """Forget every entry and what selects variants."""
        self.memory.clear()
        self.variants.clear()

    def remember_vary(self, primary: Key, names: tuple[str, ...]) -> None:
        """Note that the responses of `primary` vary by `names`; see `Variants.remember_vary`."""
        self.variants.remember_vary(primary, names)

    def vary_of(self, primary: Key) -> tuple[str, ...] | None:
        """Request field names that select among the responses of `primary`, None where none do."""
        return self.variants.vary_of(primary)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry as of this moment, uncounted."""
        return iter(self.memory)
