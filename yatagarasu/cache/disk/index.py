"""The index beside the files: what is there, in which order it came, under which names it can be purged.

SQLite, write-ahead log. No hit asks it: files are found by hash. It is what eviction remembers across restarts and
what listings and purges search. Lost or damaged, it is made anew from the files. All of it blocks.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from yatagarasu.cache.disk.folder import Digest
from yatagarasu.cache.entry import Key

_VERSION = 1
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,        -- the order in which entries came
    digest BLOB NOT NULL UNIQUE,
    key TEXT NOT NULL,
    bucket TEXT NOT NULL,
    object_key TEXT NOT NULL,
    size INTEGER NOT NULL,          -- bytes of the whole body
    present INTEGER NOT NULL,       -- bytes of it that are there
    charge INTEGER NOT NULL,        -- bytes on disk
    is_main INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX entries_by_object ON entries (bucket, object_key);
CREATE TABLE tags (
    tag TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (tag, digest)
) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (digest);
"""
# Changes that may wait for an index which cannot be written: below a hundred megabytes.
_MAX_OWED = 100_000
# Some of SQLite's functions end a text at a NUL. No byte as a Latin-1 letter is this one.
_NUL = "\u2400"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as the index has it; sizes in bytes."""

    digest: Digest
    key: Key
    size: int
    present: int
    charge: int
    is_main: bool = False
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str]:
        """Bucket and object key."""
        bucket, _, rest = self.key.partition("\0")
        return bucket, rest.partition("\0")[0]


class Index:
    """The index of one directory; every call blocks, and one thread at a time may make them.

    What could not be written is written before anything is read: an entry that no question finds could not be purged.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.join(path, "index.sqlite")
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        # What the rows of these digests are to be, None for no row.
        self._owed: dict[Digest, Row | None] = {}
        self._has_lost_track = False

    def open(self) -> bool:
        """Open it, or make it; whether it is another than before. Raises OSError, sqlite3.Error: it cannot be had."""
        self.close()
        if self._has_lost_track:
            self.reset()
            return True
        before = self._inode
        try:
            is_new = self._connect() or before not in (0, self._inode)
            self._opened().execute("SELECT count(*) FROM (SELECT seq FROM entries ORDER BY seq LIMIT 1)").fetchone()
        except sqlite3.OperationalError:
            self.close()
            raise  # No such directory, read-only, full: not the index's own fault.
        except sqlite3.DatabaseError:
            self.reset()
            return True
        return is_new

    def _connect(self) -> bool:
        # Autocommit: transactions are begun by hand, so that readers in other processes never wait for one.
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._inode = os.stat(self._path).st_ino
            is_new = self._make_tables(db)
        except BaseException:
            with suppress(sqlite3.Error):
                db.close()
            raise
        self._db = db
        return is_new

    @staticmethod
    def _make_tables(db: sqlite3.Connection) -> bool:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            return False
        # Several workers come here at once; one of them makes the tables.
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            db.execute("COMMIT")
            return False
        for table in ("entries", "tags"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
        return True

    def reset(self) -> None:
        """Make it anew, empty. Raises as `open` does."""
        self.close()
        self._has_lost_track = True
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self._path + suffix)
        self._connect()
        self._has_lost_track = False
        self._owed.clear()

    def follow(self) -> None:
        """Go on with what another process has put in its place. Raises as `open` does."""
        self.close()
        self._connect()

    def is_replaced(self) -> bool:
        """Whether another process has put a new one in its place."""
        try:
            return self._db is not None and os.stat(self._path).st_ino != self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it; idempotent."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def apply(self, rows: Iterable[Row], gone: Iterable[Digest]) -> None:
        """Write changes, all or none; what could not be written comes with the next. Raises sqlite3.Error."""
        self._owed.update((digest, None) for digest in gone)
        self._owed.update((row.digest, row) for row in rows)
        try:
            self._settle()
        except sqlite3.Error:
            if len(self._owed) > _MAX_OWED:
                self._owed.clear()
                self._has_lost_track = True
            raise

    def _settle(self) -> None:
        """Write what is owed."""
        if not self._owed:
            return
        db = self._opened()
        rows = [row for row in self._owed.values() if row is not None]
        removed = [(digest,) for digest, row in self._owed.items() if row is None]
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM entries WHERE digest = ?", removed)
            db.executemany("DELETE FROM tags WHERE digest = ?", removed)
            db.executemany(
                "INSERT INTO entries (digest, key, bucket, object_key, size, present, charge, is_main)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
                " size = excluded.size, present = excluded.present, charge = excluded.charge",
                [(r.digest, _text(r.key), *map(_text, r.names), r.size, r.present, r.charge, r.is_main) for r in rows],
            )
            db.executemany("DELETE FROM tags WHERE digest = ?", [(row.digest,) for row in rows])
            db.executemany(
                "INSERT INTO tags (tag, digest) VALUES (?, ?)", [(_text(tag), r.digest) for r in rows for tag in r.tags]
            )
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        self._owed.clear()

    def mark_main(self, changes: Iterable[tuple[bool, Digest]]) -> None:
        """Note which queue entries are in, so that a restart does not take the popular for the new."""
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("UPDATE entries SET is_main = ? WHERE digest = ?", list(changes))
        db.execute("COMMIT")

    def load(self, after: int, count: int) -> list[tuple[int, Digest, Key, int, bool]]:
        """The next `count` rows behind sequence number `after`: number, digest, key, charge, queue."""
        found = self._settled().execute(
            "SELECT seq, digest, key, charge, is_main FROM entries WHERE seq > ? ORDER BY seq LIMIT ?", (after, count)
        )
        return [(seq, bytes(digest), _key(key), charge, bool(is_main)) for seq, digest, key, charge, is_main in found]

    def select(
        self,
        *,
        bucket: str | None = None,
        object_key: str | None = None,
        prefix: str | None = None,
        tag: str | None = None,
        after: str = "",
        limit: int = -1,
    ) -> list[Row]:
        """Entries by bucket, by key or prefix in it, or by tag; in the order of keys, behind key `after`."""
        where, values = ["key > ?"], [_text(after)]
        for condition, value in (("bucket = ?", bucket), ("object_key = ?", object_key)):
            if value is not None:
                where.append(condition)
                values.append(_text(value))
        if prefix:
            # The index orders keys as bytes; so does the range of a prefix.
            where.append("object_key >= ? AND substr(object_key, 1, ?) = ?")
            values += [_text(prefix), len(_text(prefix)), _text(prefix)]  # type: ignore[list-item]
        if tag is not None:
            where.append("digest IN (SELECT digest FROM tags WHERE tag = ?)")
            values.append(_text(tag))
        found = self._settled().execute(
            "SELECT digest, key, size, present, charge, is_main FROM entries"
            f" WHERE {' AND '.join(where)} ORDER BY key LIMIT ?",
            (*values, limit),
        )
        return [
            Row(bytes(digest), _key(key), size, present, charge, bool(is_main))
            for digest, key, size, present, charge, is_main in found
        ]

    def totals(self) -> dict[str, tuple[int, int, int]]:
        """By bucket: entries, bytes of bodies that are present, bytes on disk."""
        found = self._settled().execute(
            "SELECT bucket, count(*), sum(present), sum(charge) FROM entries GROUP BY bucket ORDER BY bucket"
        )
        return {_key(bucket): (count, present, charge) for bucket, count, present, charge in found}

    def _opened(self) -> sqlite3.Connection:
        if self._db is None or self._has_lost_track:
            raise sqlite3.OperationalError("the index is not open")
        return self._db

    def _settled(self) -> sqlite3.Connection:
        self._settle()
        return self._opened()


def _text(value: str) -> str:
    """A text as SQLite takes it: bytes as Latin-1 letters, for it knows no lone surrogates, and keys hold NULs."""
    if value.isascii():
        return value.replace("\0", _NUL)
    return value.encode("utf-8", "surrogatepass").decode("latin-1").replace("\0", _NUL)


def _key(text: str) -> str:
    """The opposite of `_text`."""
    value = text.replace(_NUL, "\0")
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "surrogatepass")
