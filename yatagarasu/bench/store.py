"""Objects of the embedded origin: bytes, or a pattern that is made as it is read."""

import hashlib
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Pair

_BLOCK = 64 * 1024
_SEEDS = 61


def seed_of(key: str) -> int:
    """The seed of the pattern that benchmarks give to an object: few, for each costs memory; a mix-up still shows."""
    return zlib.crc32(key.encode()) % _SEEDS


def pattern_bytes(seed: int, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of the endless pattern of `seed`: blocks of 64 KiB that differ by their number."""
    parts = []
    pos = start
    while pos < stop:
        number, offset = divmod(pos, _BLOCK)
        end = min(stop, (number + 1) * _BLOCK)
        parts.append(_piece(seed, number, offset, offset + end - pos))
        pos = end
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _piece(seed: int, number: int, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of one block: its number in eight bytes, then the base from an offset of its own."""
    base = _BASES.get(seed)
    if base is None:
        base = _BASES[seed] = hashlib.shake_128(seed.to_bytes(8, "big", signed=True)).digest(_BLOCK + 4096)
    shift = number * 37 % 4096
    if start >= 8:
        return base[shift + start : shift + stop]
    return number.to_bytes(8, "big")[start:stop] + base[shift + 8 : max(shift + 8, shift + stop)]


_BASES: dict[int, bytes] = {}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object; `data` None is the pattern of `seed`. `etag` has its quotes."""

    size: int
    etag: str
    last_modified: str
    headers: tuple[Pair, ...]
    data: bytes | None = None
    seed: int = 0
    modified_at: float = field(default=0.0)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Bytes [start, stop)."""
        if self.data is not None:
            return memoryview(self.data)[start:stop]
        return pattern_bytes(self.seed, start, stop)


class ObjectStore:
    """Buckets of objects in memory."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {}

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket; one that is there stays."""
        self.buckets.setdefault(bucket, {})

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        etag: str | None = None,
        modified_at: float | None = None,
    ) -> StoredObject:
        """Store bytes; the ETag is their MD5 unless it is given (with quotes)."""
        tag = etag or f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        return self._keep(bucket, key, len(data), tag, content_type, headers, modified_at, data, 0)

    def put_pattern(
        self, bucket: str, key: str, size: int, *, seed: int = 0, headers: Mapping[str, str] | None = None
    ) -> StoredObject:
        """Store an object of any size that takes no memory; see `pattern_bytes`."""
        tag = f'"{hashlib.md5(f"{seed}-{size}".encode(), usedforsecurity=False).hexdigest()}"'
        return self._keep(bucket, key, size, tag, "application/octet-stream", headers, None, None, seed)

    def _keep(
        self,
        bucket: str,
        key: str,
        size: int,
        etag: str,
        content_type: str,
        headers: Mapping[str, str] | None,
        modified_at: float | None,
        data: bytes | None,
        seed: int,
    ) -> StoredObject:
        when = time.time() if modified_at is None else modified_at
        extra = tuple((name.lower(), value) for name, value in (headers or {}).items())
        stored = StoredObject(
            size, etag, format_http_date(when), (("content-type", content_type), *extra), data, seed, when
        )
        self.buckets.setdefault(bucket, {})[key] = stored
        return stored

    def get(self, bucket: str, key: str) -> StoredObject | None:
        """The newest version."""
        return self.buckets.get(bucket, {}).get(key)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        self.buckets.get(bucket, {}).pop(key, None)
