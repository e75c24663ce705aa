"""The cache directory: where files lie, who may use it, and the system calls on single files.

Files are found by the hash of their cache key. All of this blocks; what takes longer than a hit may wait is called in
a thread. Foreign errors come out as they are (OSError): the tier decides what they mean.
"""

import fcntl
import json
import os
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from typing import Any

from yatagarasu.cache.body import Bytes
from yatagarasu.cache.disk.record import (
    SUPERBLOCK_BYTES,
    BadRecord,
    Record,
    Superblock,
    decode_record,
    decode_superblock,
    layout_whole,
)
from yatagarasu.cache.entry import Key
from yatagarasu.errors import ConfigError

Digest = bytes
_DIGEST_BYTES = 16
_READ_BYTES = 1024 * 1024
_NOTE_BYTES = 64 * 1024
# The record of a small object, and the object, in one read.
_TAIL_BYTES = 16 * 1024


def digest_of(key: Key) -> Digest:
    """The name of a key's file: 16 bytes, equal in every process."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def boot_id() -> bytes:
    """Sixteen bytes that are others after the machine has been started again; zeros where it does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return bytes.fromhex(file.read().strip().replace("-", ""))[:16].ljust(16, b"\0")
    except (OSError, ValueError):
        return bytes(16)


class FolderInUse(ConfigError):
    """Another process has the directory; `holder` is what it noted there, {} where that cannot be read."""

    def __init__(self, path: str, holder: Mapping[str, Any]) -> None:
        said = "another process"
        if {"pid", "host", "since"} <= holder.keys():
            said = f"process {holder['pid']} on {holder['host']}, since {holder['since']} UTC"
        super().__init__(f"cache.disk.path {path} is in use by {said}")
        self.holder = holder


def lock_folder(path: str) -> int:
    """Take a directory for this process and its children; returns the descriptor that holds the lock.

    Raises:
        FolderInUse: another process has it.
        ConfigError: names the directory and what else stands against it.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(path, "LOCK"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(f"cache.disk.path {path}: there is a file where a directory is needed") from exc
    except OSError as exc:
        raise ConfigError(f"cache.disk.path {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = _read_note(fd)
        close(fd)
        raise FolderInUse(path, holder) from exc
    except OSError as exc:
        close(fd)
        raise ConfigError(f"cache.disk.path {path} cannot be locked: {exc.strerror}") from exc
    note_holder(fd, ())
    return fd


def note_holder(fd: int, addresses: Sequence[str]) -> None:
    """Note who holds a directory, and where it serves what is in there, for those who find it taken."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "listen": list(addresses)}
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(note).encode(), 0)
    except OSError:
        pass  # A full disk takes no note; the lock holds all the same.


def _read_note(fd: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(fd, _NOTE_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Folder:
    """Files under one directory: `data/ab/…` by digest, `tmp/` while they have no name yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.boot_id = boot_id()
        self._data = os.path.join(path, "data")
        self._tmp = os.path.join(path, "tmp")
        self._names = count(1)

    def prepare(self) -> None:
        """Make the directories. Raises OSError."""
        for folder in (self._data, self._tmp):
            os.makedirs(folder, mode=0o700, exist_ok=True)

    def path_of(self, digest: Digest) -> str:
        """Where a key's file lies."""
        name = digest.hex()
        return f"{self._data}/{name[:2]}/{name[2:]}"

    # One file

    def create(self) -> tuple[int, str]:
        """A new file without its name yet: descriptor and path."""
        path = f"{self._tmp}/{os.getpid()}-{next(self._names)}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def give_name(self, temporary: str, digest: Digest) -> str:
        """Put a finished file where it is looked for, in place of any other; returns the path."""
        path = self.path_of(digest)
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(temporary, path)
        return path

    def write_whole(self, digest: Digest, data: Bytes, record: bytes) -> Superblock:
        """Write a complete object in one go."""
        superblock = layout_whole(len(data)).with_record(record, self.boot_id)
        fd, temporary = self.create()
        try:
            try:
                write_at(fd, (data, record, superblock.encode()), 0)
            finally:
                os.close(fd)
            self.give_name(temporary, digest)
        except BaseException:
            unlink(temporary)
            raise
        return superblock

    def write_record(self, fd: int, superblock: Superblock, record: bytes) -> Superblock:
        """Write a newer record into a file; a process that dies meanwhile leaves the older one."""
        newer = superblock.with_record(record, self.boot_id)
        write_at(fd, (record,), newer.offset)
        if not newer.room:
            write_at(fd, (newer.encode(),), newer.offset + newer.length)
            os.ftruncate(fd, newer.file_bytes)
        else:
            write_at(fd, (newer.encode(),), newer.base + 2 * newer.room)
        return newer

    def remove(self, digest: Digest) -> None:
        """Take a key's file away; one that is not there is gone already."""
        unlink(self.path_of(digest))

    # All of them

    def digests(self, first: int) -> Iterator[tuple[Digest | None, str]]:
        """The files whose names begin with byte `first`: digest, or None for what is not ours, and path."""
        folder = f"{self._data}/{first:02x}"
        for rest in _names(folder):
            try:
                digest = bytes((first, *bytes.fromhex(rest)))
            except ValueError:
                digest = b""
            is_ours = len(digest) == _DIGEST_BYTES and digest.hex() == f"{first:02x}{rest}"
            yield (digest if is_ours else None), f"{folder}/{rest}"

    def clear_temporary(self) -> None:
        """Take away what processes that are gone left half done; what cannot be taken away is in nobody's way."""
        with suppress(OSError):
            for name in _names(self._tmp):
                with suppress(OSError):
                    unlink(f"{self._tmp}/{name}")

    def clear_orphans(self) -> None:
        """Take away what processes that have died left half done, where others of ours still run."""
        for name in _names(self._tmp):
            pid = name.partition("-")[0]
            if not pid.isdecimal() or not _is_alive(int(pid)):
                unlink(f"{self._tmp}/{name}")

    def free_bytes(self) -> int:
        """Bytes that the file system has left for us."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


def read_file(fd: int) -> tuple[Superblock, Record, bytes | None, int]:
    """Read what a file says of itself.

    Returns:
        Superblock, record, the body's bytes where the whole file was small enough to come along, and the time of the
        last change, nanoseconds.

    Raises:
        BadRecord: it is none of ours, or damaged.
        OSError: it cannot be read.
    """
    status = os.fstat(fd)
    start = max(0, status.st_size - _TAIL_BYTES)
    tail = os.pread(fd, status.st_size - start, start)
    superblock = decode_superblock(tail[-SUPERBLOCK_BYTES:], status.st_size)
    if superblock.offset >= start:
        data = tail[superblock.offset - start :][: superblock.length]
    else:
        data = os.pread(fd, superblock.length, superblock.offset)
    record = decode_record(data, superblock)
    body = tail[: superblock.size] if start == 0 and not superblock.room else None
    return superblock, record, body, status.st_mtime_ns


def sums_of_data(data: Bytes, block_size: int) -> dict[int, int]:
    """CRC-32s of a whole body's blocks."""
    view = memoryview(data)
    return {at // block_size: zlib.crc32(view[at : at + block_size]) for at in range(0, len(view), block_size)}


def add_sums(
    fd: int, size: int, runs: Iterable[tuple[int, int]], sums: dict[int, int], block_size: int
) -> dict[int, int]:
    """`sums` and those of further blocks that lie wholly within `runs`, read back from the file."""
    found = dict(sums)
    for start, stop in runs:
        number = -(-start // block_size)
        while number * block_size < stop and min((number + 1) * block_size, size) <= stop:
            if number not in found:
                found[number] = sum_of_block(fd, number, block_size, size)
            number += 1
    return found


def sum_of_block(fd: int, number: int, block_size: int, size: int) -> int:
    """CRC-32 of one block as it is in the file."""
    at, stop = number * block_size, min((number + 1) * block_size, size)
    crc = 0
    while at < stop:
        data = os.pread(fd, min(_READ_BYTES, stop - at), at)
        if not data:
            raise BadRecord("the file is shorter than its body")
        crc, at = zlib.crc32(data, crc), at + len(data)
    return crc


def write_at(fd: int, parts: Iterable[Bytes], offset: int) -> None:
    """Write all of the parts, one behind the other."""
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        written = os.pwritev(fd, views, offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def close(fd: int) -> None:
    """Close a file that nothing was written to here: whatever is said against it, the descriptor is free."""
    with suppress(OSError):
        os.close(fd)


def unlink(path: str) -> None:
    """Take a name away; whoever has the file open keeps it."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _names(path: str) -> list[str]:
    try:
        with os.scandir(path) as found:
            return [item.name for item in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


def take_folder(path: str) -> int:
    """Take a cache directory for this process, ready for use; returns the descriptor that holds it.

    Raises:
        ConfigError: as `lock_folder`.
    """
    fd = lock_folder(path)
    folder = Folder(path)
    try:
        folder.prepare()
    except OSError as exc:
        close(fd)
        raise ConfigError(f"cache.disk.path {path}: {exc.strerror}") from exc
    # Nobody else is here, so what has no name yet belongs to nobody.
    folder.clear_temporary()
    return fd
