"""The tiers as one cache: asked from the quickest down, written to both.

Knows the order of tiers, what moves between them, and which request fields select a variant; what is in a tier is the
tier's.
"""

from collections.abc import Iterator
from typing import Protocol

from yatagarasu.cache.body import Body, FileBody, MemoryBody
from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskTier
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

    def __contains__(self, key: Key) -> bool: ...

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
        disk: asked next; None where there is none.
        flusher: the disk tier's, for what takes time.
        max_memory_object: bytes of the largest object that is put together in memory.
        temporary_directory: for bodies that no tier keeps; None for the system's.
    """

    __slots__ = ("_temporary_directory", "disk", "flusher", "max_memory_object", "memory", "variants")

    def __init__(
        self,
        memory: Tier,
        disk: DiskTier | None = None,
        flusher: Flusher | None = None,
        *,
        max_memory_object: int = 1024 * 1024,
        temporary_directory: str | None = None,
    ) -> None:
        self.memory = memory
        self.disk = disk
        self.flusher = flusher
        self.max_memory_object = max_memory_object
        self.variants = Variants()
        self._temporary_directory = temporary_directory

    def new_body(self, key: Key, size: int | None) -> Body:
        """An empty body for an object of `key`, in the tier that its size belongs to.

        Raises StoreError: there is no place for it.
        """
        if size is not None and size <= self.max_memory_object:
            return MemoryBody(size)
        if self.disk is not None and size is not None:
            body = self.disk.new_body(key, size)
            if body is not None:
                return body
        return FileBody.temporary(size, directory=self._temporary_directory)

    @staticmethod
    def keeps(body: Body) -> bool:
        """Whether a body stays when nobody reads it: its holes can be filled later."""
        return isinstance(body, MemoryBody | DiskBody)

    def get(self, key: Key) -> Entry | None:
        """The entry of `key` from the first tier that has it; a small one moves up to memory."""
        entry = self.memory.get(key)
        if self.disk is None or (entry is not None and (entry.body.is_complete or entry.body.present_bytes)):
            return entry
        found = self.disk.get(key)
        if isinstance(found, tuple):
            self.variants.remember_vary(key, found)
            return entry
        if found is None:
            return entry
        if isinstance(found.body, MemoryBody):
            self.memory.put(found, charge_of(found))
        return found

    def holds(self, key: Key) -> bool:
        """Whether `key` is where it outlives this process; without a disk tier, whether it is in memory."""
        return key in self.memory if self.disk is None else self.disk.holds(key)

    def put(self, entry: Entry, charge: int | None = None) -> bool:
        """Hold `entry` in place of any other of its key; whether any tier does.

        Args:
            entry: a response. Its body is complete, or may be completed: then it is held as it grows, until `rest`.
            charge: bytes it costs; None for `charge_of(entry)`.
        """
        if isinstance(entry.body, DiskBody):
            self.memory.remove(entry.key)
            return self.disk is not None and self.disk.put(entry)
        is_held = self.memory.put(entry, charge_of(entry) if charge is None else charge)
        if self.disk is not None and entry.body.is_complete:
            is_held = self.disk.put(entry) or is_held
        return is_held

    def fill(self, entry: Entry) -> None:
        """Somebody is about to fill holes of a stored entry, until `rest`."""
        if self.disk is not None and isinstance(entry.body, DiskBody) and not self.disk.is_filling(entry):
            self.disk.put(entry)

    def rest(self, entry: Entry) -> None:
        """Nobody fills `entry` any more."""
        if self.disk is not None and isinstance(entry.body, DiskBody):
            self.disk.rest(entry)

    def keep_head(self, entry: Entry) -> None:
        """Hold the head of an object on disk, as a body that is all holes, where that can be filled later."""
        disk, size = self.disk, entry.size
        if disk is None or size is None or entry.strong_etag is None or disk.holds(entry.key):
            return
        body = disk.new_body(entry.key, size)
        if body is not None:
            kept = entry.with_body(body)
            disk.put(kept)
            disk.rest(kept)

    def demote(self, entry: Entry) -> None:
        """An entry has left memory to make room: it goes to disk where it is not there already."""
        if self.disk is not None and entry.body.is_complete and not self.disk.holds(entry.key):
            self.disk.put(entry)

    def replace(self, entry: Entry) -> bool:
        """Swap in a freshened entry over the same body; whether its key was held."""
        is_held = self.memory.replace(entry)
        if self.disk is not None and (is_held or isinstance(entry.body, DiskBody)):
            is_held = self.disk.replace(entry) or is_held
        return is_held

    def remove(self, key: Key) -> Entry | None:
        """Forget `key` in every tier; returns the entry it had in memory."""
        if self.disk is not None:
            self.disk.remove(key)
        return self.memory.remove(key)

    def clear(self) -> None:
        """Forget every entry in memory and what selects variants."""
        self.memory.clear()
        self.variants.clear()

    def is_unverified(self, entry: Entry) -> bool:
        """Whether the machine has crashed since the entry was written: `verify` it before its first use."""
        return isinstance(entry.body, DiskBody) and not entry.body.is_verified

    async def verify(self, entry: Entry) -> None:
        """Hold an entry's bytes against their checksums; what does not agree has gone. Look it up again then."""
        if self.flusher is not None:
            await self.flusher.verify(entry)

    def remember_vary(self, primary: Key, names: tuple[str, ...], now: float = 0.0) -> None:
        """Note at epoch `now` that the responses of `primary` vary by `names`; see `Variants.remember_vary`."""
        if self.disk is not None and names and self.variants.vary_of(primary) != names:
            self.disk.put_vary(primary, names, now)
        self.variants.remember_vary(primary, names)

    def vary_of(self, primary: Key) -> tuple[str, ...] | None:
        """Request field names that select among the responses of `primary`, None where none do."""
        return self.variants.vary_of(primary)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry in memory as of this moment, uncounted."""
        return iter(self.memory)
