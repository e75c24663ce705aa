"""The disk tier's time: notes carried out in batches, what is there taken in at start, bounds kept.

One thread at a time does the blocking work; everything that decides happens on trio's side.
"""

import math
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import trio

from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.disk.folder import Digest, digest_of
from yatagarasu.cache.disk.index import Index, Row
from yatagarasu.cache.disk.jobs import Job, carry_out, new_job, verified_extents
from yatagarasu.cache.disk.sweep import Found, examine
from yatagarasu.cache.disk.tier import DiskTier
from yatagarasu.cache.entry import Entry
from yatagarasu.errors import StoreError

T = TypeVar("T")

# What a process that is killed may lose, at most; notes that make room do not wait for it.
_FLUSH_SECONDS = 0.25
_SPACE_SECONDS = 1.0
# Notes of one trip to the thread, and bytes whose sums it may have to make: some milliseconds.
_BATCH = 256
_BATCH_BYTES = 8 * 1024 * 1024
_LOAD_ROWS = 5_000
# How often folders that could not be looked through are tried again.
_LOOK_AGAIN_SECONDS = 60.0
# When a worker comes or goes, what the others count as theirs follows within this time.
_SETTLE_SECONDS = 5.0


class Blocking(Protocol):
    """How blocking work is done: in a thread, that is, but where a test needs it done on the spot."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Do it and return what it returns."""
        ...


def in_one_thread() -> Blocking:
    """One thread at a time, which nobody else's work keeps waiting."""
    limiter = trio.CapacityLimiter(1)

    async def blocking(work: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(work, limiter=limiter)

    return blocking


class Flusher:
    """Keeps a tier and its directory together.

    Args:
        blocking: does the blocking work, one piece at a time.
        has_time: no client waits for this thread: small objects are written in it, because two threads that take the
            interpreter from each other at every system call need a fifth longer.
    """

    def __init__(self, tier: DiskTier, *, blocking: Blocking | None = None, has_time: bool = False) -> None:
        self._tier = tier
        self._index = Index(tier.settings.path)
        self._blocking = blocking or in_one_thread()
        self._has_time = has_time
        self._turn = trio.Lock()
        self._verifying: dict[Digest, trio.Event] = {}
        self._seen_errors = 0
        # Folders of which the index, or this process, may not know every file.
        self._unseen: set[int] = set()
        self._is_renewing = False
        # Until then the others' numbers are not what they will be: whose keys are whose has just changed.
        self._settled_at = -math.inf

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in what is there, then keep up until cancelled. `aclose` does what is left."""
        tier = self._tier
        async with trio.open_nursery() as nursery:
            async with self._turn:  # Whoever asks for a flush meanwhile waits for the index.
                await self._prepare()
            task_status.started()
            nursery.start_soon(self._keep_known)
            last_space, last_look = -_SPACE_SECONDS, trio.current_time()
            while True:
                with trio.move_on_after(_FLUSH_SECONDS):
                    await tier.hurry.wait()
                tier.hurry = trio.Event()
                if trio.current_time() - last_space >= _SPACE_SECONDS:
                    last_space = trio.current_time()
                    await self._keep_space()
                if self._unseen and tier.knows_all and trio.current_time() - last_look >= _LOOK_AGAIN_SECONDS:
                    last_look = trio.current_time()
                    await self._sweep(lambda digest: False, sorted(self._unseen))
                tier.is_settled = trio.current_time() >= self._settled_at
                tier.keep_share()
                await self._carry_out()
                await self._follow_index()
                tier.share.report(tier.policy.size)

    async def aclose(self) -> None:
        """Write what is left, and which entries were popular; then close the index."""
        tier = self._tier
        await self._carry_out()
        changes = [(node.is_main, digest) for digest, node in tier.policy.nodes.items() if node.is_main != node.value]
        if changes:
            await self._in_index(partial(self._index.mark_main, changes))
        await self._blocking(self._index.close)

    async def _in_index(self, work: Callable[[], T]) -> T | None:
        """Ask the index, which may be broken: then nothing, and it is made anew from the files."""
        try:
            return await self._blocking(work)
        except (OSError, sqlite3.Error) as exc:
            await self._index_failed(exc)
        return None

    async def _index_failed(self, cause: OSError | sqlite3.Error) -> None:
        self._tier.health.failed("use the index", cause)
        # Full, read-only, busy: not the index's own fault, and what could not be written it will be later.
        if isinstance(cause, sqlite3.DatabaseError) and not isinstance(cause, sqlite3.OperationalError):
            await self._renew_index()

    async def _prepare(self) -> bool:
        """Have the directory and the index; whether that is another than before, which knows of nothing."""
        tier = self._tier
        try:
            await self._blocking(tier.folder.prepare)
            is_new = await self._blocking(self._index.open)
        except (OSError, sqlite3.Error) as exc:
            tier.health.failed("open", exc)
            return False
        await self._in_index(partial(self._index.apply, (), ()))
        return is_new

    async def _renew_index(self) -> None:
        """A damaged index is made anew, from the files; not again and again, where a new one is no better."""
        if self._is_renewing:
            return
        self._is_renewing = True
        try:
            await self._blocking(self._index.reset)
            await self._sweep(lambda digest: False)
        except (OSError, sqlite3.Error) as exc:
            self._tier.health.failed("make the index", exc)
        finally:
            self._is_renewing = False

    async def _follow_index(self) -> None:
        """Another process has made the index anew: what is ours is listed there too."""
        if self._index.is_replaced():
            await self._in_index(self._index.follow)
            await self._sweep(lambda digest: False)

    # Keeping up

    async def flush(self) -> None:
        """Carry out every note that is there now. Cancellation leaves none half done.

        Raises StoreError: something that was to go is still there, and might be found after a restart.
        """
        if not await self._carry_out():
            raise StoreError("what was to be removed from the disk is still there")

    async def _carry_out(self) -> bool:
        """Do what `flush` does; whether all that was to go has gone."""
        tier, has_gone = self._tier, True
        async with self._turn:
            if tier.health.errors != self._seen_errors:
                # Something was wrong: perhaps the directory has gone, or has come back.
                self._seen_errors = tier.health.errors
                if await self._prepare():
                    await self._sweep(lambda digest: False)
            if not tier.share.may_write:
                tier.forget_notes()
            # Not what is noted meanwhile: a busy cache would keep whoever asks for this waiting for ever.
            left = set(tier.pending)
            while not left.isdisjoint(tier.pending):
                jobs = [self._take(digest) for digest in self._due(left)]
                left.difference_update(job.digest for job in jobs)
                with trio.CancelScope(shield=True):
                    work = partial(carry_out, jobs, tier.folder, self._index, tier.settings.block_size)
                    is_small = not any(job.note and isinstance(job.note.entry.body, DiskBody) for job in jobs)
                    index_error = work() if self._has_time and is_small else await self._blocking(work)
                tier.writing.clear()
                for job in jobs:
                    self._done(job)
                    has_gone &= job.note is not None or job.error is None
                if index_error is not None:
                    await self._index_failed(index_error)
        return has_gone

    def _due(self, left: set[Digest]) -> list[Digest]:
        """What the next trip to the thread does: removals first, for what is to go still counts on the disk."""
        pending = self._tier.pending
        gone = list(islice((digest for digest, note in pending.items() if note is None and digest in left), _BATCH))
        if gone:
            return gone
        chosen: list[Digest] = []
        size = 0
        for digest, note in pending.items():
            if digest not in left:
                continue
            chosen.append(digest)
            size += note.entry.body.present_bytes if note is not None else 0
            if len(chosen) == _BATCH or size >= _BATCH_BYTES:
                break
        return chosen

    def _take(self, digest: Digest) -> Job:
        tier = self._tier
        note = tier.take_note(digest)
        node = tier.policy.node(digest)
        if node is not None:
            node.value = node.is_main
        return new_job(digest, note, node.size if node else 0, is_main=node is not None and node.is_main)

    def _done(self, job: Job) -> None:
        tier, body = self._tier, job.note.entry.body if job.note is not None else None
        if job.error is not None:
            tier.health.failed("write" if job.note is not None else "remove", job.error)
            entry = job.note.entry if job.note is not None else None
            if not tier.is_noted(job.digest) and (
                entry is None or (tier.owns(entry.key) and not tier.is_filling(entry))
            ):
                # What lies there was to go, or to give way to something newer.
                tier.discard(job.digest)
        elif isinstance(body, DiskBody) and job.superblock is not None:
            body.superblock, body.sums = job.superblock, job.sums
            body.path, body.unnamed, body.stamp = job.path, None, 0

    async def _keep_space(self) -> None:
        """Leave `min_free` to everybody else on the file system."""
        tier = self._tier
        if not tier.settings.min_free:
            return
        try:
            free = await self._blocking(tier.folder.free_bytes)
        except OSError as exc:
            tier.health.failed("look at the file system", exc)
            return
        missing = tier.settings.min_free - free
        tier.is_open = missing <= 0
        if missing > 0:
            bound = tier.policy.max_size
            tier.bound(max(0, tier.policy.size - missing))
            tier.bound(bound)

    # What is there

    async def _keep_known(self) -> None:
        """Take in what is there, at the start and whenever it has changed whose it is."""
        tier, known = self._tier, None
        while True:
            members = tier.share.members()
            if members is not None and members != known:
                self._settled_at, tier.is_settled = math.inf, False
                await self._take_in()
                tier.knows_all, known = True, members
                self._settled_at = trio.current_time() + (_SETTLE_SECONDS if tier.share.is_shared else 0.0)
            elif not tier.share.is_shared:
                return
            await trio.sleep(_FLUSH_SECONDS)

    async def _take_in(self) -> None:
        """Read the index, in which order things came; then look whether the files agree."""
        tier, after, others = self._tier, 0, set[Digest]()
        try:
            await self._blocking(tier.folder.clear_orphans)
        except OSError as exc:
            tier.health.failed("tidy up", exc)
        while rows := await self._in_index(partial(self._index.load, after, _LOAD_ROWS)):
            for seq, digest, key, charge, is_main in rows:
                after = seq
                if tier.owns(key):
                    tier.restore(digest, charge, is_main=is_main)
                    if (node := tier.policy.node(digest)) is not None and node.value is None:
                        node.value = is_main
                else:
                    tier.release(digest)
                    others.add(digest)
            await trio.lowlevel.checkpoint()
        nodes, unlisted = tier.policy.nodes, tier.unlisted
        await self._sweep(lambda digest: digest in others or (digest in nodes and digest not in unlisted))
        unlisted.clear()

    async def _sweep(self, is_listed: Callable[[Digest], bool], folders: Iterable[int] = range(256)) -> None:
        """Take in files that the index does not have, forget entries without a file, remove what is damaged."""
        tier = self._tier
        nodes = tier.policy.nodes
        by_folder: list[list[Digest]] = [[] for _ in range(256)]
        for digest in nodes:
            by_folder[digest[0]].append(digest)
        for first in folders:
            before = {digest for digest in by_folder[first] if digest in nodes and not tier.is_noted(digest)}
            self._unseen.discard(first)
            try:
                work = partial(examine, tier.folder, first, is_listed)
                found = await self._blocking(work)
            except OSError as exc:
                found = Found(before, error=exc)
            if found.error is not None:
                self._unseen.add(first)
                tier.health.failed("look through the directory", found.error)
            tier.health.damaged += found.damaged
            rows = [row for row in found.rows if tier.owns(row.key) and not tier.is_noted(row.digest)]
            for row in rows:
                tier.restore(row.digest, row.charge, is_main=False)
            gone = [digest for digest in before - found.digests if not tier.is_noted(digest)]
            for digest in gone:
                tier.lost(digest)
            if rows or gone:
                await self._in_index(partial(self._index.apply, rows, gone))

    # Questions that take time

    async def select(
        self,
        *,
        bucket: str | None = None,
        object_key: str | None = None,
        prefix: str | None = None,
        tag: str | None = None,
        after: str = "",
        limit: int = -1,
    ) -> list[Row]:
        """Entries on disk; see `Index.select`. Raises StoreError: nobody knows, and "none" would be a lie."""
        await self._carry_out()
        work = partial(
            self._index.select,
            bucket=bucket, object_key=object_key, prefix=prefix, tag=tag, after=after, limit=limit,
        )  # fmt: skip
        found = await self._in_index(work)
        if found is None:
            raise StoreError("the index of the disk tier cannot be read")
        return found

    async def totals(self) -> dict[str, tuple[int, int, int]]:
        """By bucket: entries, bytes present, bytes on disk."""
        return await self._in_index(self._index.totals) or {}

    async def verify(self, entry: Entry) -> None:
        """Hold a body against its checksums, once; what does not agree is not there any more.

        Cancellation leaves it unverified.
        """
        body, digest = entry.body, digest_of(entry.key)
        assert isinstance(body, DiskBody)
        while not body.is_verified:
            others = self._verifying.get(digest)
            if others is not None:
                await others.wait()
                continue
            event = self._verifying[digest] = trio.Event()
            try:
                runs = tuple(body.extents)
                good = await self._blocking(partial(verified_extents, body, runs))
                body.extents, body.is_verified = good, True
                body.sums = {number: crc for number, crc in body.sums.items() if good.covers(*body.block(number))}
                if good.total:
                    self._tier.rewrite(entry)
                else:
                    self._tier.remove(entry.key)
            except OSError as exc:
                self._tier.health.failed("read", exc)
                self._tier.remove(entry.key)
                body.is_verified = True
            finally:
                del self._verifying[digest]
                event.set()
