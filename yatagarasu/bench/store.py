"""Objects of the embedded origin: bytes, or a pattern that is made as it is read, or described by their key."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from yatagarasu.bench.on_demand import Described, describe
from yatagarasu.bench.pattern import pattern_bytes, seed_of
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Pair


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


# Objects on demand have been there since the release of S3.
_LONG_AGO = 1_142_380_800.0


def _described(key: str, described: Described) -> StoredObject:
    seed = seed_of(key)
    tag = f'"{seed:08x}{described.size:024x}"'
    pairs = (("content-type", "application/octet-stream"), *described.headers)
    return StoredObject(described.size, tag, format_http_date(_LONG_AGO), pairs, None, seed, _LONG_AGO)


class ObjectStore:
    """Buckets of objects in memory. Those in `on_demand` also have every object that its key describes."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {}
        self.on_demand: set[str] = set()

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
        found = self.buckets.get(bucket, {}).get(key)
        if found is None and bucket in self.on_demand and (described := describe(key)) is not None:
            return _described(key, described)
        return found

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        self.buckets.get(bucket, {}).pop(key, None)
