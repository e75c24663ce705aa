"""Looking through the directory: what lies there that the index does not know. It blocks; it runs in a thread."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from yatagarasu.cache.disk.folder import Digest, Folder, close, digest_of, read_file
from yatagarasu.cache.disk.index import Row
from yatagarasu.cache.disk.record import BadRecord, charge_of_file
from yatagarasu.cache.tags import tags_of


@dataclass(slots=True)
class Found:
    """What one of the 256 folders holds.

    `digests` are all that have a file; `rows` describe those that nobody knew; `damaged` counts files of ours that
    were no good and have been removed, `foreign` what others have put there, which is left alone; `error` is why some
    file could not be read, which says nothing of what it holds.
    """

    digests: set[Digest] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    damaged: int = 0
    foreign: int = 0
    error: OSError | None = None


def examine(folder: Folder, first: int, is_listed: Callable[[Digest], bool]) -> Found:
    """Look through the files whose digests begin with byte `first`. Raises OSError: they cannot be listed."""
    found = Found()
    for digest, path in folder.digests(first):
        if digest is None:
            found.foreign += 1
            continue
        found.digests.add(digest)
        if is_listed(digest):
            continue
        try:
            row = _row_of(path, digest)
        except OSError as exc:
            found.error = exc
            continue
        if row is None:
            # Its name is one of ours, its content is not: nothing will ever be served out of it.
            found.damaged += 1
            found.digests.discard(digest)
            with suppress(OSError):
                folder.remove(digest)
        else:
            found.rows.append(row)
    return found


def _row_of(path: str, digest: Digest) -> Row | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        superblock, record, _, _ = read_file(fd)
    except BadRecord:
        return None
    finally:
        close(fd)
    entry = record.entry
    if digest_of(entry.key) != digest:
        return None
    present = sum(stop - start for start, stop in record.runs)
    return Row(
        digest, entry.key, superblock.size, present, charge_of_file(present, superblock), tags=tags_of(entry.headers)
    )
