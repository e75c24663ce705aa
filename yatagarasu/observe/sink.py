"""Where logs go: a descriptor that somebody else reads, for whom nobody here may ever wait.

A blocked pipe would block the loop, and with it every client. Descriptors like standard output are shared with other
processes, so they are not made non-blocking: they are asked first.
"""

import fcntl
import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# POSIX: so much goes into a pipe in one piece, and a pipe that is writable has room for it (pipe(7)).
_PIECE_BYTES = select.PIPE_BUF


class Sink:
    """Takes whole lines, as many as can be written at once.

    Args:
        fd: borrowed, never closed.
        lock: a descriptor that other processes which write there lock too, so that no lines mix; None where none do.
    """

    __slots__ = ("_fd", "_has_reader", "_lock", "_poll")

    def __init__(self, fd: int, lock: int | None = None) -> None:
        self._fd = fd
        self._lock = lock
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._has_reader = _has_reader(fd)

    def is_ready(self) -> bool:
        """Whether some bytes, a line of usual length, can be written without waiting."""
        return not self._has_reader or bool(self._poll.poll(0))

    def write(self, data: bytes) -> int:
        """Write lines; returns how many bytes were taken: all of them too where nobody will ever read them."""
        done = 0
        try:
            with self._locked() as is_mine:
                while is_mine and done < len(data) and self.is_ready():
                    done += os.write(self._fd, data[done : self._end_of_piece(data, done)])
        except OSError:
            return len(data)  # The reader has gone, or the disk is full.
        return done

    def _end_of_piece(self, data: bytes, start: int) -> int:
        if not self._has_reader or len(data) - start <= _PIECE_BYTES:
            return len(data)
        # A line that is longer than a piece may mix with others' and cannot be helped.
        return data.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or start + _PIECE_BYTES

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        if self._lock is None or not self._has_reader:
            yield True  # What is appended to a file is appended in one piece.
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False  # Who holds it may have been stopped.
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)


def _has_reader(fd: int) -> bool:
    """Whether somebody at the other end may be slow: of a pipe, a socket or a terminal, but not of a file."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
