"""What a thread does for the disk tier: one batch of notes, carried out on the files, then on the index."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from yatagarasu.cache.body import MemoryBody
from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.disk.folder import Digest, Folder, add_sums, sum_of_block, sums_of_data
from yatagarasu.cache.disk.index import Index, Row
from yatagarasu.cache.disk.record import BadRecord, Superblock, encode_record
from yatagarasu.cache.disk.tier import Write
from yatagarasu.cache.extents import Extents
from yatagarasu.cache.tags import tags_of


@dataclass(slots=True)
class Job:
    """One note, with what the main thread may change meanwhile copied; afterwards, what came of it.

    `runs` are the present ranges when the job was made: their bytes are in the file. `superblock`, `sums` and `path`
    are the file's afterwards; `error` why it failed.
    """

    digest: Digest
    note: Write | None
    charge: int = 0
    is_main: bool = False
    runs: tuple[tuple[int, int], ...] = ()
    sums: dict[int, int] = field(default_factory=dict)
    superblock: Superblock | None = None
    path: str | None = None
    error: OSError | BadRecord | None = None

    def row(self) -> Row | None:
        """What the index is to say of it; None where there is nothing (any more)."""
        if self.note is None or self.error is not None:
            return None
        entry = self.note.entry
        present = sum(stop - start for start, stop in self.runs)
        return Row(self.digest, entry.key, entry.size or 0, present, self.charge, self.is_main, tags_of(entry.headers))


def new_job(digest: Digest, note: Write | None, charge: int, *, is_main: bool) -> Job:
    """A job for a note; called where the notes are made, so that nothing changes under it."""
    job = Job(digest, note, charge, is_main)
    body = note.entry.body if note is not None else None
    if isinstance(body, DiskBody):
        job.runs, job.sums = tuple(body.extents), body.sums
        job.superblock, job.path = body.superblock, body.path
    elif isinstance(body, MemoryBody) and body.size:
        job.runs = ((0, body.size),)
    return job


def carry_out(jobs: Sequence[Job], folder: Folder, index: Index, block_size: int) -> sqlite3.Error | None:
    """Do all of the jobs; returns what the index said against it. No failed job keeps the others from being done."""
    for job in jobs:
        try:
            _carry_out(job, folder, block_size)
        except (OSError, BadRecord) as exc:
            job.error = exc
        except ValueError as exc:
            job.error = BadRecord(str(exc))
    rows = [row for job in jobs if (row := job.row()) is not None]
    try:
        index.apply(rows, [job.digest for job in jobs if job.row() is None])
    except sqlite3.Error as exc:
        return exc
    return None


def _carry_out(job: Job, folder: Folder, block_size: int) -> None:
    if job.note is None:
        folder.remove(job.digest)
        return
    entry, body = job.note.entry, job.note.entry.body
    if isinstance(body, DiskBody):
        fd = body.fileno()
        assert fd is not None
        assert job.superblock is not None
        job.sums = add_sums(fd, job.superblock.size, job.runs, job.sums, body.block_size)
        record = encode_record(entry, job.runs, job.sums, body.block_size)
        job.superblock = folder.write_record(fd, job.superblock, record)
        if job.path is None:
            # The record first: a file that has its name says what it is.
            assert body.unnamed is not None
            job.path = folder.give_name(body.unnamed, job.digest)
        return
    data = body.data if isinstance(body, MemoryBody) else b""
    assert data is not None
    job.sums = sums_of_data(data, block_size)
    folder.write_whole(job.digest, data, encode_record(entry, job.runs, job.sums, block_size, job.note.varies_by))


def verified_extents(body: DiskBody, runs: Sequence[tuple[int, int]]) -> Extents:
    """The blocks of `runs` that are what their checksums say; what has none is not there. Raises OSError."""
    good, fd, size = Extents(), body.fileno(), body.size or 0
    assert fd is not None
    for start, stop in runs:
        for number in range(start // body.block_size, -(-stop // body.block_size)):
            at, end = number * body.block_size, min((number + 1) * body.block_size, size)
            expected = body.sums.get(number)
            if expected is None or at < start or end > stop:
                continue
            try:
                is_good = sum_of_block(fd, number, body.block_size, size) == expected
            except BadRecord:
                is_good = False
            if is_good:
                good.add(at, end)
    return good
