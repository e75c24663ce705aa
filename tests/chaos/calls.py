"""Every call that the cache makes on files, counted, and failing where a test wants it.

The cache's modules alone are given other names for `os` and the like: sockets, the origin and the test call the real
ones. A call is known by the function that makes it and how often that has made it, so that plays of one scenario agree.
"""

import errno
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from yatagarasu.cache import body
from yatagarasu.cache.disk import body as disk_body
from yatagarasu.cache.disk import folder, index, sweep, tier

_FUNCTIONS = (
    "open", "close", "pread", "pwrite", "pwritev", "ftruncate", "rename", "unlink", "makedirs", "scandir", "stat",
    "fstat", "statvfs",
)  # fmt: skip
_MAKING = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY
_WRITING = os.O_RDWR | os.O_WRONLY


class Call(NamedTuple):
    """A call: what, from where, and which in the order of those."""

    name: str
    site: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} {self.number} of {self.site}"


def _os_error(number: int) -> Callable[[], OSError]:
    return lambda: OSError(number, os.strerror(number))


def _sqlite_error(kind: type[sqlite3.Error], text: str) -> Callable[[], sqlite3.Error]:
    return lambda: kind(text)


# Part of a read or write is done, and said to be.
SHORT = "short"
Failure = Callable[[], Exception] | str

_FULL, _EIO, _READ_ONLY, _MANY, _GONE = map(
    _os_error, (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOENT)
)
_OPERATIONAL = sqlite3.OperationalError
# What goes wrong, with which calls, and as what. "open" makes a file or opens one to write, "read" opens one to read.
TROUBLES: dict[str, dict[str, Failure]] = {
    "full": {
        **dict.fromkeys(("open", "pwrite", "pwritev", "ftruncate", "rename", "makedirs", "mkstemp"), _FULL),
        **dict.fromkeys(("execute", "executemany"), _sqlite_error(_OPERATIONAL, "database or disk is full")),
    },
    "failing": {
        **dict.fromkeys((*_FUNCTIONS, "read", "mkstemp"), _EIO),
        **dict.fromkeys(("execute", "executemany"), _sqlite_error(_OPERATIONAL, "disk I/O error")),
        "flock": _os_error(errno.ENOLCK),
    },
    "read-only": {
        **dict.fromkeys(("open", "rename", "unlink", "makedirs", "mkstemp"), _READ_ONLY),
        **dict.fromkeys(
            ("execute", "executemany"), _sqlite_error(_OPERATIONAL, "attempt to write a readonly database")
        ),
    },
    "no descriptors": {
        **dict.fromkeys(("open", "read", "scandir", "mkstemp"), _MANY),
        "connect": _sqlite_error(_OPERATIONAL, "unable to open database file"),
    },
    "gone": {
        **dict.fromkeys(("open", "read", "rename", "stat"), _GONE),
        "gettempdir": lambda: FileNotFoundError(errno.ENOENT, "No usable temporary directory found"),
    },
    "damaged": {
        "pread": SHORT,
        **dict.fromkeys(
            ("execute", "executemany"), _sqlite_error(sqlite3.DatabaseError, "database disk image is malformed")
        ),
    },
    # A new one is made, and is no better.
    "worn out": {"executemany": _sqlite_error(sqlite3.DatabaseError, "database disk image is malformed")},
    "interrupted": {"pwrite": SHORT, "pwritev": SHORT},
}


@dataclass
class Fault:
    """Call `at` fails, or is the first of all that fail from there on."""

    trouble: str
    at: Call
    is_sticky: bool

    def __str__(self) -> str:
        return f"{self.trouble} {'from' if self.is_sticky else 'at'} {self.at}"


class _Stand:
    """A module with some of its functions replaced."""

    def __init__(self, real: ModuleType, **functions: object) -> None:
        self._real = real
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Calls:
    """Counts calls.

    `counted` are those from `begin` to `mend`, `struck` those of them that failed.

    Args:
        has_unnamed: the file system makes files without a name in one go.
    """

    def __init__(self, *, has_unnamed: bool = True) -> None:
        self.counted: list[Call] = []
        self.struck: list[Call] = []
        self._has_unnamed = has_unnamed
        self._counts_now = False
        self._fault: Fault | None = None
        self._counts: Counter[tuple[str, str]] = Counter()

    def begin(self, fault: Fault | None) -> None:
        """Count from the start; fail as `fault` says."""
        self._fault, self._counts_now = fault, True
        self.counted, self.struck = [], []
        self._counts.clear()

    def mend(self) -> None:
        """Let every call be done from here on, uncounted."""
        self._counts_now = False

    @property
    def is_sticky(self) -> bool:
        """Whether what fails goes on failing."""
        return self._fault is not None and self._fault.is_sticky

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let calls be done meanwhile, uncounted."""
        self._counts_now = False
        yield
        self._counts_now = True

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Come between the cache and the system."""
        stand = _Stand(os, **{name: self._on_file(name) for name in _FUNCTIONS})
        for module in (body, disk_body, folder, index, sweep, tier):
            patch.setattr(module, "os", stand)
        functions = {name: self._plain(name, getattr(tempfile, name)) for name in ("mkstemp", "gettempdir")}
        patch.setattr(body, "tempfile", _Stand(tempfile, **functions))
        patch.setattr(folder, "fcntl", _Stand(folder.fcntl, flock=self._plain("flock", folder.fcntl.flock)))
        patch.setattr(index, "sqlite3", _Stand(sqlite3, connect=self._connect))

    def _failure(self, name: str) -> Failure | None:
        """Count a call of whoever called the caller, and tell what is to go wrong with it."""
        if not self._counts_now:
            return None
        site = sys._getframe(2).f_code.co_qualname
        self._counts[name, site] += 1
        call = Call(name, site, self._counts[name, site])
        self.counted.append(call)
        fault = self._fault
        if fault is None or (call != fault.at and not (fault.is_sticky and self.struck)):
            return None
        failure = TROUBLES[fault.trouble].get(name)
        if failure is not None:
            self.struck.append(call)
        return failure

    def _plain(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            failure = self._failure(name)
            if callable(failure):
                raise failure()
            return real(*args, **named)

        return call

    def _on_file(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **named: Any) -> Any:
            if name == "open" and not self._has_unnamed and args[1] & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            if name == "scandir":
                real(*args).close()  # The 256 folders that are mostly not there say nothing.
            kind = name
            if name == "open" and not args[1] & (_MAKING | _WRITING):
                kind = "read"
            failure = self._failure(kind)
            if failure == SHORT:
                return self._in_part(name, real, *args)
            if failure is None:
                return real(*args, **named)
            if name == "close":
                real(*args)  # Whatever it says, the descriptor is free.
            assert callable(failure)
            raise failure()

        return call

    @staticmethod
    def _in_part(name: str, real: Callable[..., Any], fd: int, what: Any, offset: int) -> Any:
        if name == "pread":
            return real(fd, what // 2, offset)
        data = b"".join(what) if name == "pwritev" else bytes(what)
        return os.pwrite(fd, data[: -(-len(data) // 2)], offset)

    def _connect(self, *args: Any, **named: Any) -> sqlite3.Connection:
        calls = self

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                failure = calls._failure("execute")
                if callable(failure):
                    raise failure()
                return super().execute(*args)

            def executemany(self, *args: Any) -> sqlite3.Cursor:
                failure = calls._failure("executemany")
                if callable(failure):
                    raise failure()
                return super().executemany(*args)

        failure = self._failure("connect")
        if callable(failure):
            raise failure()
        return sqlite3.connect(*args, **named, factory=Connection)
