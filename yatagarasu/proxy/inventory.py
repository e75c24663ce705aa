"""What is in the cache of this process: listed, looked at, purged, counted. Values out of here are JSON's."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Any

import trio

from yatagarasu.cache.body import Body
from yatagarasu.cache.disk.index import Row
from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.tags import tags_of
from yatagarasu.cache.tiers import Tiers
from yatagarasu.proxy.coalescer import Coalescer

# Entries dealt with before other tasks get their turn, and changes before they are written down.
_TURN = 32
_BATCH = 512
# Keys are listed as the index of the disk tier orders them: there no character comes after the separator.
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Selection:
    """Some entries: of one bucket, of one object or all with a prefix in it, with a tag. None is no condition.

    `object_key` and `prefix` need a bucket.
    """

    bucket: str | None = None
    object_key: str | None = None
    prefix: str | None = None
    tag: str | None = None

    @property
    def start(self) -> str:
        """What the cache keys of these entries begin with, and no others' do."""
        if self.bucket is None:
            return ""
        if self.object_key is not None:
            return f"{self.bucket}\0{self.object_key}\0"
        return f"{self.bucket}\0{self.prefix or ''}"

    def matches(self, key: Key) -> bool:
        """Whether a cache key meets what keys can meet."""
        return key.startswith(self.start)

    def among(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of `entries` that meet all of it."""
        start, tag = self.start, self.tag
        found = [entry for entry in entries if entry.key.startswith(start)]
        return found if tag is None else [entry for entry in found if tag in tags_of(entry.headers)]


def split_key(key: Key) -> tuple[str, str, list[str]]:
    """Bucket, object key, and what else selects: the query first."""
    bucket, object_key, *rest = key.split("\0")
    return bucket, object_key, rest


def order_of(key: Key) -> str:
    """What keys are sorted by."""
    return key.replace("\0", _LAST)


class Inventory:
    """The cache as whoever runs it sees it.

    Args:
        clock: epoch seconds.
    """

    def __init__(self, tiers: Tiers, coalescer: Coalescer, *, clock: Callable[[], float]) -> None:
        self._tiers = tiers
        self._coalescer = coalescer
        self._clock = clock

    async def page(self, selection: Selection, *, after: Key = "", limit: int = 100) -> list[dict[str, Any]]:
        """At most `limit` entries behind key `after`, in the order of `order_of`, in short."""
        behind = order_of(after)
        entries = [entry for entry in selection.among(self._tiers) if order_of(entry.key) > behind]
        found = {entry.key: _brief(entry.key, entry.size, entry.body.present_bytes, _place(entry)) for entry in entries}
        for row in await self._rows(selection, after=after, limit=limit):
            brief = found.setdefault(row.key, _brief(row.key, row.size, row.present, "disk"))
            if "disk" not in brief["tiers"]:
                brief["tiers"].append("disk")
        return [found[key] for key in nsmallest(limit, found, key=order_of)]

    async def look(self, bucket: str, object_key: str) -> list[dict[str, Any]]:
        """All there is of one object: every query and variant of it."""
        selection = Selection(bucket, object_key)
        found: dict[Key, dict[str, Any]] = {}
        for entry in selection.among(self._tiers):
            found[entry.key] = self._detail(entry, _place(entry))
        async for entry in self._on_disk(selection):
            if entry.key in found:
                found[entry.key]["tiers"].append("disk")
            else:
                found[entry.key] = self._detail(entry, "disk")
        for entry in self._coalescer.assembling():
            if selection.matches(entry.key):
                found.setdefault(entry.key, self._detail(entry, None))["in_flight"] = True
        return [found[key] for key in sorted(found, key=order_of)]

    async def purge(self, selection: Selection, *, soft: bool = False) -> dict[str, int]:
        """Take entries away, or make them stale; returns how many by where they were.

        What is in the air is not kept, whichever way: it was asked for before. What the disk tier of another process
        holds is that process's to purge.
        """
        counts = {"memory": 0, "disk": 0, "in_flight": 0}
        tag = selection.tag
        counts["in_flight"] += self._coalescer.purge(selection.matches, tag=tag)
        counts["memory"] += self._purge_memory(selection, soft=soft)
        if self._tiers.disk is not None:
            counts["disk"] += await (self._soften_disk(selection) if soft else self._purge_disk(selection))
            # What came in meanwhile may have been asked for before.
            counts["in_flight"] += self._coalescer.purge(selection.matches, tag=tag)
            counts["memory"] += self._purge_memory(selection, soft=soft)
        return counts

    def _purge_memory(self, selection: Selection, *, soft: bool) -> int:
        now, count = self._clock(), 0
        for entry in selection.among(self._tiers):
            if not soft or entry.status != 200:
                self._tiers.memory.remove(entry.key)
                count += 1
            elif entry.fresh_for(now) > 0:
                self._tiers.replace(_stale(entry, now))
                count += 1
        return count

    async def _purge_disk(self, selection: Selection) -> int:
        disk, flusher, count = self._tiers.disk, self._tiers.flusher, 0
        assert disk is not None
        assert flusher is not None
        for row in await self._rows(selection):
            if disk.owns(row.key):
                disk.remove(row.key)
                count += 1
                if not count % _BATCH:
                    await trio.lowlevel.checkpoint()
        await flusher.flush()
        return count

    async def _soften_disk(self, selection: Selection) -> int:
        disk, flusher, count = self._tiers.disk, self._tiers.flusher, 0
        assert disk is not None
        assert flusher is not None
        async for entry in self._on_disk(selection):
            now = self._clock()
            if entry.fresh_for(now) > 0 and disk.replace(_stale(entry, now)):
                count += 1
                if not count % _BATCH:
                    await flusher.flush()
        await flusher.flush()
        return count

    async def _on_disk(self, selection: Selection) -> AsyncIterator[Entry]:
        """Entries of a selection that this process finds on disk, read one by one."""
        disk = self._tiers.disk
        if disk is None:
            return
        for number, row in enumerate(await self._rows(selection)):
            entry = disk.get(row.key)
            if isinstance(entry, Entry):
                yield entry
            if number % _TURN == _TURN - 1:
                await trio.lowlevel.checkpoint()

    async def _rows(self, selection: Selection, *, after: Key = "", limit: int = -1) -> list[Row]:
        """What the index of the disk tier has of a selection."""
        if self._tiers.flusher is None:
            return []
        return await self._tiers.flusher.select(
            bucket=selection.bucket,
            object_key=selection.object_key,
            prefix=selection.prefix,
            tag=selection.tag,
            after=after,
            limit=limit,
        )

    def statistics(self) -> dict[str, Any]:
        """Numbers of this process, which add up over several: tiers, what is in the air, memory by bucket."""
        memory = self._tiers.memory.statistics()
        numbers: dict[str, Any] = {
            "memory": {
                "entries": memory.entries,
                "bytes": memory.bytes,
                "max_bytes": memory.max_bytes,
                "evictions": memory.evictions,
            },
            "in_flight": {
                "fetches": len(self._coalescer.flights),
                "waiting_clients": self._coalescer.waiting,
            },
            "buckets": {},
        }
        if self._tiers.disk is not None:
            disk = self._tiers.disk.statistics()
            numbers["disk"] = {
                "entries": disk.entries,
                "bytes": disk.bytes,
                "evictions": disk.evictions,
                "pending": disk.pending,
                "errors": disk.errors,
            }
        for entry in self._tiers:
            bucket = split_key(entry.key)[0]
            sums = numbers["buckets"].setdefault(bucket, {}).setdefault("memory", {"entries": 0, "bytes": 0})
            sums["entries"] += 1
            sums["bytes"] += entry.body.present_bytes
        return numbers

    async def totals_on_disk(self) -> dict[str, dict[str, int]]:
        """By bucket, of the whole directory: entries, bytes of bodies, bytes that they take."""
        if self._tiers.flusher is None:
            return {}
        found = await self._tiers.flusher.totals()
        return {
            bucket: {"entries": count, "bytes": present, "bytes_on_disk": charge}
            for bucket, (count, present, charge) in found.items()
        }

    def _detail(self, entry: Entry, tier: str | None) -> dict[str, Any]:
        now, body, lifetime = self._clock(), entry.body, entry.lifetime
        fresh_for = entry.fresh_for(now)
        return {
            **_brief(entry.key, entry.size, body.present_bytes, tier),
            "in_flight": False,
            "extents": _extents(body),
            "status": entry.status,
            "etag": entry.etag,
            "last_modified": entry.last_modified,
            "age_seconds": round(entry.age(now), 3),
            "fresh_for_seconds": round(fresh_for, 3),
            "is_fresh": fresh_for > 0 and not lifetime.always_revalidate,
            "stale_while_revalidate_seconds": lifetime.stale_while_revalidate_seconds,
            "stale_if_error_seconds": lifetime.stale_if_error_seconds,
            "varies_by": dict(entry.selecting),
            "tags": list(tags_of(entry.headers)),
            "headers": [list(pair) for pair in entry.headers],
        }


def _brief(key: Key, size: int | None, present: int, tier: str | None) -> dict[str, Any]:
    bucket, object_key, rest = split_key(key)
    return {
        "bucket": bucket,
        "key": object_key,
        "selectors": rest,
        "cache_key": key,
        "size": size,
        "present": present,
        "tiers": [tier] if tier is not None else [],
    }


def _place(entry: Entry) -> str:
    """Of an entry in memory, whether that is all of it: the bytes of a large one lie elsewhere, if anywhere."""
    return "memory" if entry.body.is_complete or entry.body.present_bytes else "head"


def _extents(body: Body) -> list[list[int]]:
    """Which bytes are there, as [start, stop] pairs; `stop` is not among them."""
    if body.is_complete:
        return [[0, body.size]] if body.size else []
    return [list(run) for run in getattr(body, "extents", ())]


def _stale(entry: Entry, now: float) -> Entry:
    lifetime = replace(entry.lifetime, fresh_seconds=min(entry.lifetime.fresh_seconds, entry.age(now)))
    return replace(entry, lifetime=lifetime, derived={})
