"""The disk tier: which entries are on disk, found without waiting, written behind in batches off the main thread.

A hit costs a look at the file, or nothing where it is open already. Everything that changes (new entries, newer heads,
grown bodies, removals) is noted in `_pending`, by digest, and carried out by `disk.flush` a moment later; whoever asks
meanwhile is answered out of the note. Freshness is `cache.policy`'s, eviction `cache.eviction`'s.
"""

import errno
import os
from collections import OrderedDict
from dataclasses import dataclass

import trio

from yatagarasu.cache.body import MemoryBody
from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.disk.folder import Digest, Folder, close, digest_of, read_file, sums_of_data
from yatagarasu.cache.disk.health import Health
from yatagarasu.cache.disk.record import BadRecord, Record, charge_of_file, layout_sparse, layout_whole, vary_entry
from yatagarasu.cache.disk.share import Share, Whole
from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.eviction import Node, S3Fifo
from yatagarasu.cache.extents import Extents
from yatagarasu.observe.log import Log

# A row in the index, and a place in two queues.
_ROW_BYTES = 256
# What a head takes in a file, as long as there is no head; it may be this much longer, and as much again.
_HEAD_BYTES = 8 * 1024
# Bytes of small objects that may wait for the disk: one that is slower than the origin must not fill the memory.
MAX_PENDING_BYTES = 64 * 1024 * 1024
_HURRY_BYTES = 8 * 1024 * 1024
# Taking away a file of this size costs some tens of microseconds; a large one costs more than a hit may wait.
_UNLINK_NOW_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """Numbers of `[cache] disk`: bytes, but for `open_files`.

    `max_object_size` is that of the largest object that is kept, `memory_object_size` that of the largest which the
    memory tier takes: those are read at once.
    """

    path: str
    max_size: int
    max_object_size: int
    min_free: int = 0
    block_size: int = 1024 * 1024
    memory_object_size: int = 1024 * 1024
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class DiskStatistics:
    """State of the tier: `bytes` on disk, of at most `max_bytes`; `pending` notes; evictions and errors in all."""

    bytes: int
    entries: int
    evictions: int
    max_bytes: int
    pending: int
    open_files: int
    errors: int


@dataclass(frozen=True, slots=True)
class Write:
    """A note that an entry is to be on disk as it is; `varies_by` where its key only says what selects variants."""

    entry: Entry
    varies_by: tuple[str, ...] = ()


class DiskTier:
    """Entries on disk, by cache key. Nothing here awaits; `disk.flush.Flusher` does what takes time.

    Args:
        share: which keys' files this process changes; others it only reads.
    """

    def __init__(
        self,
        settings: DiskSettings,
        *,
        log: Log,
        share: Share | None = None,
    ) -> None:
        self.settings = settings
        self.folder = Folder(settings.path)
        self.health = Health(log)
        # Never rebound: the policy appends to it.
        self._left: list[Node[Digest]] = []
        self.policy: S3Fifo[Digest] = S3Fifo(settings.max_size, on_evict=self._left.append)
        self.share: Share = share or Whole()
        self.owns = self.share.owns
        # True once every file of ours is known: a key without a node is not on disk.
        self.knows_all = False
        # Read by their names before the index was: it may not have them.
        self.unlisted: set[Digest] = set()
        # False while keys move from process to process: then nothing is evicted on the others' account.
        self.is_settled = True
        # False while there is less than `min_free`, or when this process is about to end.
        self.is_open = True
        self.pending: dict[Digest, Write | None] = {}
        self.pending_bytes = 0
        # Notes that a thread is carrying out at this moment.
        self.writing: dict[Digest, Write | None] = {}
        # Set where notes should not wait: room is to be made, or much memory is taken.
        self.hurry = trio.Event()
        self.evictions = 0
        self._is_shared = self.share.is_shared
        self._open: OrderedDict[Digest, Entry] = OrderedDict()
        # Bodies that grow: found here as long as their assemblies live, however many files are open.
        self._filling: dict[Digest, Entry] = {}

    def __repr__(self) -> str:
        return f"<DiskTier {self.folder.path} {self.statistics()!r}>"

    # Asking

    def get(self, key: Key) -> Entry | tuple[str, ...] | None:
        """The entry of `key`, counted as a use; or the names of the fields that select its variants.

        An object that the memory tier takes comes with a MemoryBody, ready for it; a larger one with a DiskBody,
        perhaps with holes, but only for whoever owns the key.
        """
        digest = digest_of(key)
        if digest in self.pending:
            return self._noted(self.pending[digest], key)
        if digest in self.writing:
            return self._noted(self.writing[digest], key)
        entry = self._filling.get(digest) or self._open.get(digest)
        if entry is not None and entry.key == key and self._is_current(entry):
            if digest in self._open:
                self._open.move_to_end(digest)
            self.policy.touch(digest)
            return entry
        owns = self.owns(key)
        if owns and self._is_absent(digest):
            return None
        found = self._read(key, digest, owns=owns)
        if isinstance(found, Entry):
            if owns:
                self.policy.touch(digest)
            if not owns and not found.body.is_complete:
                return None
            if isinstance(found.body, DiskBody):
                self._keep_open(digest, found)
        return found

    def _noted(self, note: Write | None, key: Key) -> Entry | tuple[str, ...] | None:
        if note is None or note.entry.key != key:
            return None
        return note.varies_by or note.entry

    def _is_current(self, entry: Entry) -> bool:
        """Whether nobody else has changed or removed the file of an open entry."""
        body = entry.body
        if not self._is_shared or not isinstance(body, DiskBody):
            return True
        try:
            status = os.fstat(body.fileno() or 0)
        except OSError:
            return False
        if status.st_nlink == 0:
            return False
        return status.st_mtime_ns == body.stamp if body.stamp else self.owns(entry.key)

    def _read(self, key: Key, digest: Digest, *, owns: bool) -> Entry | tuple[str, ...] | None:
        path = self.folder.path_of(digest)
        try:
            fd = self._open_file(path, owns=owns)
        except FileNotFoundError:
            if owns and digest in self.policy.nodes:
                self.discard(digest)
            return None
        except OSError as exc:
            self.health.failed("read", exc)
            return None
        try:
            superblock, record, data, stamp = read_file(fd)
            if record.entry.key != key:
                close(fd)
                return None
            if owns and digest not in self.policy.nodes:
                self._admit(digest, charge_of_file(_present(record), superblock) + _ROW_BYTES)
                if not self.knows_all:
                    self.unlisted.add(digest)
            if record.varies_by:
                close(fd)
                return record.varies_by
            is_verified = superblock.boot_id == self.folder.boot_id
            is_whole = record.runs == ((0, superblock.size),) or not superblock.size
            if is_whole and superblock.size <= self.settings.memory_object_size:
                if data is None:
                    data = os.pread(fd, superblock.size, 0)
                if len(data) != superblock.size or not (is_verified or _holds(data, record)):
                    raise BadRecord("the body's checksum does not hold")
                close(fd)
                return record.entry.with_body(MemoryBody.of(data))
        except OSError as exc:
            close(fd)
            self.health.failed("read", exc)
            return None
        except BadRecord:
            # Cut short, changed or foreign: as if it were not there.
            close(fd)
            self.health.damaged += 1
            if owns:
                self.discard(digest)
            return None
        extents = Extents()
        for start, stop in record.runs:
            extents.add(start, stop)
        body = DiskBody(
            fd,
            superblock,
            block_size=record.block_size,
            extents=extents,
            sums=record.sums,
            path=path,
            on_error=self._body_failed,
        )
        body.is_verified, body.stamp = is_verified, stamp
        return record.entry.with_body(body)

    @staticmethod
    def _open_file(path: str, *, owns: bool) -> int:
        if owns:
            try:
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as exc:
                if exc.errno not in (errno.EROFS, errno.EACCES):
                    raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _is_absent(self, digest: Digest) -> bool:
        """Whether there surely is no file. Where others use the directory, one may have become ours just now."""
        return self.knows_all and not self._is_shared and digest not in self.policy.nodes

    def holds(self, key: Key) -> bool:
        """Whether `key` is on disk or on its way there, as far as is known."""
        digest = digest_of(key)
        return self.pending.get(digest) is not None or digest in self.policy.nodes

    # Changing

    def new_body(self, key: Key, size: int) -> DiskBody | None:
        """An empty body for an object of `size` bytes; None where it is not for this tier."""
        settings = self.settings
        if size > settings.max_object_size or not self.is_open or not self.health.is_good or not self.owns(key):
            return None
        superblock = layout_sparse(size, _HEAD_BYTES, settings.block_size)
        try:
            fd, path = self.folder.create()
        except OSError as exc:
            self.health.failed("create", exc)
            return None
        body = DiskBody(fd, superblock, block_size=settings.block_size, on_error=self._body_failed)
        body.unnamed = path
        try:
            os.ftruncate(fd, superblock.file_bytes)
        except OSError as exc:
            self.health.failed("create", exc)
            return None
        return body

    def put(self, entry: Entry) -> bool:
        """Hold `entry` in place of any other of its key; whether it will be held.

        One with a DiskBody may have holes: it is held as it grows, until `rest`. One with a MemoryBody must be whole.
        """
        digest, body = digest_of(entry.key), entry.body
        if not self._takes(entry):
            self.remove(entry.key)
            return False
        self._detach(digest, body)
        if isinstance(body, DiskBody):
            charge = charge_of_file(body.extents.total, body.superblock)
            body.attach(lambda grown: self._grew(digest, grown))
            if body.is_complete:
                self._keep_open(digest, entry)
            else:
                self._filling[digest] = entry
        else:
            charge = charge_of_file(entry.size or 0, layout_whole((entry.size or 0) + _HEAD_BYTES // 4))
        self._note(digest, Write(entry))
        return self._admit(digest, charge + _ROW_BYTES)

    def _takes(self, entry: Entry) -> bool:
        body = entry.body
        if not self.owns(entry.key) or entry.status != 200:
            return False
        if isinstance(body, DiskBody):
            return True
        return (
            isinstance(body, MemoryBody)
            and body.is_complete
            and body.present_bytes <= self.settings.max_object_size
            and self.is_open
            and self.health.is_good
            and self.pending_bytes < MAX_PENDING_BYTES
        )

    def put_vary(self, key: Key, names: tuple[str, ...], now: float) -> None:
        """Note that the responses of `key` vary by `names`."""
        if self.owns(key) and self.is_open and self.health.is_good:
            digest = digest_of(key)
            self._detach(digest, None)
            self._note(digest, Write(vary_entry(key, now), names))
            self._admit(digest, 4096 + _ROW_BYTES)

    def rest(self, entry: Entry) -> None:
        """Nobody fills `entry` any more: what is there of it stays."""
        digest = digest_of(entry.key)
        filling = self._filling.get(digest)
        if filling is not None and filling.body is entry.body:
            del self._filling[digest]
            self._note(digest, Write(filling))
            self._keep_open(digest, filling)

    def replace(self, entry: Entry) -> bool:
        """Swap in a freshened entry over the same body; whether the key was held.

        Whoever holds a MemoryBody knows that nothing newer is here.
        """
        digest = digest_of(entry.key)
        if digest not in self.policy.nodes or not self.owns(entry.key):
            return False
        if isinstance(entry.body, DiskBody) and not self._is_newest(digest, entry.body):
            return False
        for held in (self._open, self._filling):
            if digest in held and held[digest].body is entry.body:
                held[digest] = entry
        if isinstance(entry.body, DiskBody) or (isinstance(entry.body, MemoryBody) and entry.body.is_complete):
            self._note(digest, Write(entry))
        return True

    def _is_newest(self, digest: Digest, body: DiskBody) -> bool:
        """Whether no other generation has taken the key since: notes know, or what is held, or else the file's name."""
        note = self.pending.get(digest) or self.writing.get(digest)
        for entry in (note.entry if note is not None else None, self._filling.get(digest), self._open.get(digest)):
            if entry is not None:
                return entry.body is body
        try:
            return body.path is not None and os.fstat(body.fileno() or 0).st_nlink > 0
        except OSError:
            return False

    def remove(self, key: Key) -> None:
        """Forget `key`, and take its file away."""
        digest = digest_of(key)
        may_be_there = not self._is_absent(digest) or self.is_noted(digest)
        self._forget(digest)
        if may_be_there and self.owns(key):
            self._note(digest, None)

    def statistics(self) -> DiskStatistics:
        """A snapshot."""
        return DiskStatistics(
            bytes=self.policy.size,
            entries=len(self.policy),
            evictions=self.evictions,
            max_bytes=self.settings.max_size,
            pending=len(self.pending) + len(self.writing),
            open_files=len(self._open) + len(self._filling),
            errors=self.health.errors,
        )

    # For the flusher

    def restore(self, digest: Digest, charge: int, *, is_main: bool) -> None:
        """Take in what the index, or a file without a row, says is there."""
        self.unlisted.discard(digest)
        if digest not in self.policy.nodes and self.pending.get(digest, True) is not None:
            self._evicted(self.policy.restore(digest, charge, is_main=is_main), digest)

    def release(self, digest: Digest) -> None:
        """Another process answers for a key by now; its file stays."""
        if not self.is_noted(digest):
            self.policy.remove(digest)

    def bound(self, max_bytes: int) -> None:
        """Evict until no more than `max_bytes` are left, and stay below."""
        self.policy.limit(max_bytes)
        self._drop_left()

    def keep_share(self) -> None:
        """Stay within what the other processes leave, and tell them what is left for them."""
        if self.is_settled:
            self.bound(self.share.max_bytes(self.settings.max_size))
        self.share.report(self.policy.size)

    def take_note(self, digest: Digest) -> Write | None:
        """Begin to carry out a note: it stays visible in `writing` until that is done."""
        note = self.pending.pop(digest)
        self.pending_bytes -= _waiting_bytes(note)
        self.writing[digest] = note
        return note

    def forget_notes(self) -> None:
        """Carry out nothing of what is to be done."""
        self.pending.clear()
        self.pending_bytes = 0

    def rewrite(self, entry: Entry) -> None:
        """Write an entry's record again: what is known of its file has changed."""
        if self.owns(entry.key):
            self._note(digest_of(entry.key), Write(entry))

    def is_noted(self, digest: Digest) -> bool:
        """Whether something is to be done for a key, or is being done."""
        return digest in self.pending or digest in self.writing

    def is_filling(self, entry: Entry) -> bool:
        """Whether this body is held as it grows."""
        held = self._filling.get(digest_of(entry.key))
        return held is not None and held.body is entry.body

    def lost(self, digest: Digest) -> None:
        """An entry's file has gone: forget it."""
        self._forget(digest)

    def discard(self, digest: Digest) -> None:
        """What lies there is not what should: forget it, and take it away with the next notes, or those after them."""
        self._forget(digest)
        if digest not in self.pending:
            self.pending[digest] = None

    # Book-keeping

    def _body_failed(self, cause: OSError) -> None:
        """Bytes could not be written: the next bodies are not begun here for a moment."""
        self.health.failed("write", cause)

    def _note(self, digest: Digest, note: Write | None) -> None:
        """What is to be done for a key; the last word counts."""
        old = self.pending.pop(digest, None)
        self.pending_bytes += _waiting_bytes(note) - _waiting_bytes(old)
        self.pending[digest] = note
        if note is None or self.pending_bytes > _HURRY_BYTES:
            self.hurry.set()

    def _admit(self, digest: Digest, charge: int) -> bool:
        gone = self.policy.insert(digest, charge)
        self._evicted(gone, digest)
        if self._is_shared:
            self.keep_share()
        return digest in self.policy.nodes

    def _evicted(self, gone: list[Digest], digest: Digest) -> None:
        self._drop_left()
        if digest in gone:
            self._drop(digest)

    def _drop_left(self) -> None:
        left, self._left[:] = list(self._left), []
        for node in left:
            self._drop(node.key)
            if node.size <= _UNLINK_NOW_BYTES:
                self._unlink(node.key)

    def _unlink(self, digest: Digest) -> None:
        """Make room at once: the thread is behind where this one is busy. Its note stays, for the index."""
        try:
            self.folder.remove(digest)
        except OSError as exc:
            self.health.failed("remove", exc)

    def _drop(self, digest: Digest) -> None:
        self.evictions += 1
        self._forget(digest)
        self._note(digest, None)

    def _forget(self, digest: Digest) -> None:
        self.policy.remove(digest)
        self._detach(digest, None)

    def _detach(self, digest: Digest, body: object) -> None:
        """Let go of what is held of a key, unless it is over `body`."""
        for held in (self._open, self._filling):
            entry = held.get(digest)
            if entry is not None and entry.body is not body:
                del held[digest]
                if isinstance(entry.body, DiskBody):
                    entry.body.let_go()

    def _keep_open(self, digest: Digest, entry: Entry) -> None:
        self._open[digest] = entry
        self._open.move_to_end(digest)
        while len(self._open) > self.settings.open_files:
            self._open.popitem(last=False)

    def _grew(self, digest: Digest, body: DiskBody) -> None:
        entry = self._filling.get(digest)
        if entry is None or entry.body is not body or digest not in self.policy.nodes:
            body.let_go()
            return
        if body.is_complete:
            del self._filling[digest]
            self._keep_open(digest, entry)
        self._note(digest, Write(entry))
        self._admit(digest, charge_of_file(body.extents.total, body.superblock) + _ROW_BYTES)


def _present(record: Record) -> int:
    return sum(stop - start for start, stop in record.runs)


def _holds(data: bytes, record: Record) -> bool:
    return sums_of_data(data, record.block_size) == record.sums


def _waiting_bytes(note: Write | None) -> int:
    """Bytes that a note keeps in memory."""
    return note.entry.body.present_bytes if note is not None and isinstance(note.entry.body, MemoryBody) else 0
