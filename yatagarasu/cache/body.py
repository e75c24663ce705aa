"""Bodies: the bytes of one generation, possibly with holes, possibly still arriving.

A flight writes, any number of readers look: `present_until` says how far the bytes at a position go, `view`
or `fileno` hand them out, `progress` wakes whoever found none. Bodies know neither HTTP nor who fills them.
"""

import os
import tempfile
from collections import deque
from contextlib import suppress
from typing import Protocol

import trio

from yatagarasu.cache.extents import Extents
from yatagarasu.errors import StoreError

Bytes = bytes | bytearray | memoryview

# Below this a finished buffer is copied once into immutable bytes, which every later hit sends without a
# view; above it the copy would cost more than all the views.
_FREEZE_BYTES = 1024 * 1024


class Body(Protocol):
    """What readers and flights need of a body.

    `size` is the whole representation's length in bytes, None while unknown. Positions are offsets in the
    whole representation.
    """

    size: int | None

    @property
    def is_complete(self) -> bool:
        """Every byte is present and the size is known."""
        ...

    @property
    def present_bytes(self) -> int:
        """Bytes present."""
        ...

    def present_until(self, pos: int) -> int:
        """End of the run of present bytes that holds `pos`; `pos` itself where that byte is missing."""
        ...

    def write(self, pos: int, data: Bytes) -> None:
        """Store `data` at `pos` and wake waiters. Raises StoreError when the store is full or broken."""
        ...

    def finish(self, size: int) -> None:
        """Fix a size that was unknown, and wake waiters."""
        ...

    def view(self, pos: int, stop: int) -> Bytes:
        """Present bytes from `pos`, at least one, at most up to `stop`."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that holds the bytes at their own offsets, or None where they are in memory."""
        ...

    def progress(self) -> trio.Event:
        """An event set at the next write, finish or wake."""
        ...

    def wake(self) -> None:
        """Wake waiters: something else about the fetch has changed."""
        ...

    def close(self) -> None:
        """Release descriptors; idempotent."""
        ...


class _Progress:
    """One event per step, made only when somebody waits (a trio.Event cannot be cleared)."""

    __slots__ = ("_step",)

    def __init__(self) -> None:
        self._step: trio.Event | None = None

    def progress(self) -> trio.Event:
        if self._step is None:
            self._step = trio.Event()
        return self._step

    def wake(self) -> None:
        step = self._step
        if step is not None:
            self._step = None
            step.set()


class NoBody(_Progress):
    """A body of which nothing is kept: the head alone is stored, the size may be known."""

    __slots__ = ("size",)

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.size = size

    @property
    def is_complete(self) -> bool:
        """True only for the empty object."""
        return self.size == 0

    @property
    def present_bytes(self) -> int:
        """None are."""
        return 0

    def present_until(self, pos: int) -> int:
        """Nothing is present."""
        return pos

    def write(self, pos: int, data: Bytes) -> None:
        """Refuse: a reader asks the coalescer for a real body first."""
        raise StoreError("no place for bytes in a head-only entry")

    def finish(self, size: int) -> None:
        """Fix the size."""
        self.size = size

    def view(self, pos: int, stop: int) -> Bytes:
        """Nothing to see."""
        return b""

    def fileno(self) -> int | None:
        """None: no bytes."""
        return None

    def close(self) -> None:
        """Nothing is held."""


class MemoryBody(_Progress):
    """A body in memory, of known size; `data` is immutable bytes once complete and small enough.

    Args:
        size: bytes of the whole representation.
    """

    __slots__ = ("_buffer", "data", "extents", "is_complete", "size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size: int | None = size
        self.extents = Extents()
        self._buffer: bytearray | None = None
        self.data: Bytes | None = b"" if size == 0 else None
        self.is_complete = size == 0

    @classmethod
    def of(cls, data: bytes) -> "MemoryBody":
        """A complete body."""
        body = cls(len(data))
        if data:
            body.write(0, data)
        return body

    @property
    def present_bytes(self) -> int:
        """Bytes present."""
        return self.extents.total

    def present_until(self, pos: int) -> int:
        """End of the run of present bytes that holds `pos`."""
        return self.extents.present_until(pos)

    def write(self, pos: int, data: Bytes) -> None:
        """Store `data` at `pos`; bytes past the size are refused with StoreError."""
        size = self.size or 0
        stop = pos + len(data)
        if stop > size:
            raise StoreError(f"bytes {pos}-{stop} lie outside a body of {size}")
        if self.is_complete or pos == stop:
            return
        if len(data) == size:
            # The whole object in one piece: keep the very bytes that came off the socket.
            self.data = bytes(data)
        else:
            if self._buffer is None:
                self._buffer = bytearray(size)
            self._buffer[pos:stop] = data
        self.extents.add(pos, stop)
        if self.extents.total == size:
            self.is_complete = True
            if self.data is None:
                assert self._buffer is not None
                self.data = bytes(self._buffer) if size <= _FREEZE_BYTES else memoryview(self._buffer).toreadonly()
                self._buffer = None
        self.wake()

    def finish(self, size: int) -> None:
        """Nothing to fix: the size is known from the start."""
        self.wake()

    def view(self, pos: int, stop: int) -> Bytes:
        """Present bytes from `pos`, at most up to `stop`."""
        end = min(stop, self.extents.present_until(pos))
        source = self.data if self.data is not None else self._buffer
        assert source is not None
        return memoryview(source)[pos:end]

    def fileno(self) -> int | None:
        """None: the bytes are in memory."""
        return None

    def close(self) -> None:
        """Nothing is held but memory."""


class FileBody(_Progress):
    """A body in a sparse file, which it closes at its own end; the size may be unknown until `finish`.

    Writes go to the page cache, on the caller's thread: 64 KiB cost less there than a hop to another one.

    Args:
        fd: the file, which holds `extents` already.
    """

    __slots__ = ("_fd", "extents", "size")

    def __init__(self, size: int | None, fd: int, extents: Extents | None = None) -> None:
        super().__init__()
        self.size = size
        self.extents = Extents() if extents is None else extents
        self._fd = fd

    @classmethod
    def temporary(cls, size: int | None, *, directory: str | None = None) -> "FileBody":
        """A body in a file without a name. Raises StoreError."""
        try:
            return cls(size, _unlinked_file(directory))
        except OSError as exc:
            raise StoreError(f"no temporary file: {exc.strerror}") from exc

    @property
    def is_complete(self) -> bool:
        """Every byte is present and the size is known."""
        return self.size is not None and self.extents.total == self.size

    @property
    def present_bytes(self) -> int:
        """Bytes present."""
        return self.extents.total

    def present_until(self, pos: int) -> int:
        """End of the run of present bytes that holds `pos`."""
        return self.extents.present_until(pos)

    def write(self, pos: int, data: Bytes) -> None:
        """Store `data` at `pos`; raises StoreError (disk full, I/O error, past the size)."""
        stop = pos + len(data)
        if self.size is not None and stop > self.size:
            raise StoreError(f"bytes {pos}-{stop} lie outside a body of {self.size}")
        if pos == stop:
            return
        at, rest = pos, memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, at)
                at, rest = at + written, rest[written:]
        except OSError as exc:
            raise StoreError(f"a body's file: {exc.strerror}") from exc
        self.extents.add(pos, stop)
        self.wake()

    def finish(self, size: int) -> None:
        """Fix the size, and wake waiters."""
        self.size = size
        self.wake()

    def view(self, pos: int, stop: int) -> Bytes:
        """Present bytes from `pos`, at most 256 KiB and at most up to `stop`; raises StoreError."""
        end = min(stop, self.extents.present_until(pos), pos + 256 * 1024)
        try:
            data = os.pread(self._fd, end - pos, pos)
        except OSError as exc:
            raise StoreError(f"a body's file: {exc.strerror}") from exc
        if not data and end > pos:
            raise StoreError("a body's file is shorter than its extents")
        return data

    def fileno(self) -> int | None:
        """The file's descriptor."""
        return self._fd

    def close(self) -> None:
        """Close the file, which is its end: it has no name."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # The descriptor is free all the same, and nobody needs the bytes.
                os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


class WindowBody(_Progress):
    """A body that only one reader will ever see: bytes leave as they are sent, so memory stays constant.

    For answers that must not be shared. `room` is what the flight waits for while the window is full.
    """

    __slots__ = ("_chunks", "_consumed", "_head", "_tail", "_window_bytes", "size")

    def __init__(self, size: int | None, *, start: int = 0, window_bytes: int = 1024 * 1024) -> None:
        super().__init__()
        self.size = size
        self._head = self._tail = start
        self._window_bytes = window_bytes
        self._chunks: deque[memoryview] = deque()
        self._consumed: trio.Event | None = None

    @property
    def is_complete(self) -> bool:
        """Never: what was sent is gone."""
        return False

    @property
    def present_bytes(self) -> int:
        """Bytes waiting for the reader."""
        return self._tail - self._head

    def present_until(self, pos: int) -> int:
        """End of the window; raises StoreError for a position that has already left it."""
        self._drop(pos)
        return max(pos, self._tail)

    def write(self, pos: int, data: Bytes) -> None:
        """Append; `pos` must be the window's end."""
        if pos != self._tail:
            raise StoreError(f"window ends at {self._tail}, not {pos}")
        if len(data):
            self._chunks.append(memoryview(data))
            self._tail += len(data)
            self.wake()

    def finish(self, size: int) -> None:
        """Fix the size, and wake the reader."""
        self.size = size
        self.wake()

    def view(self, pos: int, stop: int) -> Bytes:
        """The chunk at `pos`, at most up to `stop`; everything before `pos` is let go."""
        self._drop(pos)
        return self._chunks[0][: stop - pos]

    def _drop(self, pos: int) -> None:
        if pos < self._head:
            raise StoreError(f"byte {pos} has left the window at {self._head}")
        while self._chunks and self._head + len(self._chunks[0]) <= pos:
            self._head += len(self._chunks.popleft())
        if self._chunks and self._head < pos:
            self._chunks[0] = self._chunks[0][pos - self._head :]
            self._head = pos
        if self._consumed is not None and self._tail - self._head < self._window_bytes:
            consumed, self._consumed = self._consumed, None
            consumed.set()

    async def room(self) -> None:
        """Return once the window has room. Cancellation leaves nothing behind."""
        while self._tail - self._head >= self._window_bytes:
            if self._consumed is None:
                self._consumed = trio.Event()
            await self._consumed.wait()

    def fileno(self) -> int | None:
        """None: the bytes are in memory."""
        return None

    def close(self) -> None:
        """Let the bytes go."""
        self._chunks.clear()


def _unlinked_file(directory: str | None) -> int:
    """Open a file that has no name from the start where the file system can (O_TMPFILE), else from then on."""
    directory = directory or tempfile.gettempdir()
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):
        fd, path = tempfile.mkstemp(prefix="yatagarasu-", dir=directory)
        try:
            os.unlink(path)
        except BaseException:
            os.close(fd)
            raise
        return fd
