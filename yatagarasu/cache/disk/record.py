"""What a cache file says of itself: an entry's head, which bytes are present, their checksums. No I/O.

A file is a body's bytes at their own offsets, then room for one or two records, then a fixed superblock at the very
end, which says where the valid record is. So a hit needs the file alone, never the index.

A record of a body that is still filling is written beside the one before it, and the superblock, which never crosses
a page, turns to it afterwards: a process that dies in between leaves the old record.
"""

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from yatagarasu.cache.body import Body, NoBody
from yatagarasu.cache.entry import Entry, Key, Lifetime
from yatagarasu.errors import StoreError
from yatagarasu.http.headers import Headers

PAGE = 4096
# Magic and layout version, body size, where the records begin, room for each (0: one record, of its own length),
# the valid one's offset, length and CRC-32, boot id, and the CRC-32 of all that.
_SUPERBLOCK = struct.Struct("<8sQQQQII16sI")
SUPERBLOCK_BYTES = _SUPERBLOCK.size
_MAGIC = b"YTGRS\0\0\1"
# Length of the head's JSON, number of runs, number of checksums, bytes a checksum covers.
_RECORD = struct.Struct("<IIII")
# Head fields may grow by a 304: room beyond what they take at first.
_SLACK_BYTES = 16 * 1024


class BadRecord(StoreError):
    """Bytes that are no record: cut short, changed, or not ours. The file is as good as absent."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """Where things are in a file: offsets and lengths in bytes; `boot_id` is the machine's run that wrote it."""

    size: int
    base: int
    room: int
    offset: int
    length: int
    crc: int
    boot_id: bytes

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return self.base + (2 * self.room if self.room else self.length) + SUPERBLOCK_BYTES

    def with_record(self, record: bytes, boot_id: bytes) -> "Superblock":
        """The same file with a newer record, in the other place where there are two.

        Raises ValueError where there is no room for it.
        """
        if self.room and len(record) > self.room:
            raise ValueError(f"a record of {len(record)} bytes has room for {self.room}")
        offset = self.base + self.room if self.room and self.offset == self.base else self.base
        return replace(self, offset=offset, length=len(record), crc=zlib.crc32(record), boot_id=boot_id)

    def encode(self) -> bytes:
        """Its bytes, which go to the end of the file."""
        fields = (_MAGIC, self.size, self.base, self.room, self.offset, self.length, self.crc, self.boot_id)
        return _SUPERBLOCK.pack(*fields, zlib.crc32(_SUPERBLOCK.pack(*fields, 0)[:-4]))


def decode_superblock(data: bytes, file_bytes: int) -> Superblock:
    """Read the last `SUPERBLOCK_BYTES` of a file. Raises BadRecord."""
    if len(data) != SUPERBLOCK_BYTES:
        raise BadRecord("too short")
    magic, size, base, room, offset, length, crc, boot_id, check = _SUPERBLOCK.unpack(data)
    if magic != _MAGIC or check != zlib.crc32(data[:-4]):
        raise BadRecord("no superblock")
    found = Superblock(size, base, room, offset, length, crc, boot_id)
    if found.file_bytes != file_bytes or not size <= base <= offset <= file_bytes - length:
        raise BadRecord("superblock and file do not agree")
    return found


def layout_sparse(size: int, head_bytes: int, block_size: int) -> Superblock:
    """The layout of a file that is filled bit by bit: two places for records, each from a page's start.

    Args:
        head_bytes: length of the first record, which has neither runs nor checksums yet.
    """
    blocks = -(-size // block_size) if size else 0
    base = -(-size // PAGE) * PAGE
    room = -(-(head_bytes + _SLACK_BYTES + 8 * blocks + 16 * (2 * blocks + 16)) // PAGE) * PAGE
    # The superblock's own page begins where the second place ends.
    return Superblock(size, base, room, base, 0, 0, bytes(16))


def layout_whole(size: int) -> Superblock:
    """The layout of a file that is written at once: its one record right behind the body."""
    return Superblock(size, size, 0, size, 0, 0, bytes(16))


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded record.

    `entry` has no body yet; `runs` are the present ranges, half open; `sums` CRC-32s by block number, of blocks that
    are wholly present. `varies_by` is set instead of a useful entry where the key only says what selects variants.
    """

    entry: Entry
    runs: tuple[tuple[int, int], ...]
    sums: dict[int, int]
    block_size: int
    varies_by: tuple[str, ...] = ()


def encode_record(
    entry: Entry,
    runs: Iterable[tuple[int, int]],
    sums: dict[int, int],
    block_size: int,
    varies_by: tuple[str, ...] = (),
) -> bytes:
    """A record's bytes."""
    lifetime = entry.lifetime
    head = json.dumps(
        {
            "key": entry.key,
            "status": entry.status,
            "headers": list(entry.headers),
            "size": entry.size,
            "response_time": entry.response_time,
            "initial_age": entry.initial_age,
            "lifetime": [
                lifetime.fresh_seconds,
                lifetime.stale_while_revalidate_seconds,
                lifetime.stale_if_error_seconds,
                lifetime.must_revalidate,
                lifetime.always_revalidate,
            ],
            "selecting": entry.selecting,
            "varies_by": varies_by,
        },
        separators=(",", ":"),
    ).encode("ascii")
    flat = [bound for run in runs for bound in run]
    numbered = [number for pair in sums.items() for number in pair]
    return b"".join(
        (
            _RECORD.pack(len(head), len(flat) // 2, len(sums), block_size),
            head,
            struct.pack(f"<{len(flat)}Q", *flat),
            struct.pack(f"<{len(numbered)}I", *numbered),
        )
    )


def decode_record(data: bytes, superblock: Superblock) -> Record:
    """Read a record. Raises BadRecord."""
    if len(data) != superblock.length or zlib.crc32(data) != superblock.crc:
        raise BadRecord("the record's checksum does not hold")
    try:
        head_bytes, run_count, sum_count, block_size = _RECORD.unpack_from(data)
        at = _RECORD.size + head_bytes
        head = json.loads(data[_RECORD.size : at])
        flat = struct.unpack_from(f"<{2 * run_count}Q", data, at)
        numbered = struct.unpack_from(f"<{2 * sum_count}I", data, at + 16 * run_count)
        headers = Headers((name, value) for name, value in head["headers"])
        fresh, while_revalidate, if_error, must_revalidate, always_revalidate = head["lifetime"]
        entry = Entry(
            key=head["key"],
            status=head["status"],
            headers=headers,
            body=NoBody(superblock.size),
            size=head["size"],
            response_time=head["response_time"],
            initial_age=head["initial_age"],
            lifetime=Lifetime(fresh, while_revalidate, if_error, must_revalidate, always_revalidate),
            etag=headers.get("etag"),
            last_modified=headers.get("last-modified"),
            selecting=tuple((name, value) for name, value in head["selecting"]),
        )
        varies_by = tuple(head["varies_by"])
    except (ValueError, KeyError, TypeError, struct.error) as exc:
        # The checksum holds, so it is a record of another version of this program.
        raise BadRecord("not a record of this version") from exc
    runs = tuple(zip(flat[::2], flat[1::2], strict=True))
    return Record(entry, runs, dict(zip(numbered[::2], numbered[1::2], strict=True)), block_size, varies_by)


def vary_entry(key: Key, now: float) -> Entry:
    """The entry that stands for "this key has variants": no bytes, never served."""
    return Entry(key, 0, Headers(), NoBody(0), 0, now, 0.0, Lifetime(0.0))


def charge_of_file(present: int, superblock: Superblock) -> int:
    """Bytes that a file takes on disk, in whole pages, its records and superblock included; holes are not there."""
    pages = -(-present // PAGE)
    if not superblock.room:
        return -(-superblock.file_bytes // PAGE) * PAGE
    return (pages + 2 * -(-superblock.length // PAGE) + 1) * PAGE


def with_body(record: Record, body: Body) -> Entry:
    """The record's entry over a body."""
    return record.entry.with_body(body)
