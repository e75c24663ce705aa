"""What wakes the supervisor, and what tells workers that it has died: three pipes, and signals as bytes on one."""

import contextlib
import math
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_READ_BYTES = 4096


class Pipes:
    """The supervisor's pipes.

    Attributes:
        parent: for workers: reads end-of-file when the supervisor has died.
        news: for workers: a byte written here wakes the supervisor.
    """

    def __init__(self) -> None:
        # Nothing is ever written to the first pair: its reader learns that the last holder of the other end is gone.
        self.parent, self._life = os.pipe()
        self._heard, self.news = os.pipe()
        self._signals, self._wakeup = os.pipe()
        self._poll = select.poll()
        for fd in (self._heard, self._signals):
            self._poll.register(fd, select.POLLIN)
        for fd in (self._heard, self._signals, self._wakeup):
            os.set_blocking(fd, False)

    @contextmanager
    def caught_signals(self) -> Iterator[None]:
        """Take the signals meant for the supervisor, until the end of the block."""
        wakeup = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        # Python writes the byte only for a signal that has a handler.
        before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)

    def wait(self, seconds: float) -> bytes:
        """Wait for news, a signal, or so many seconds; returns the numbers of the signals that came."""
        # A little late rather than a little early: early means another turn for nothing.
        self._poll.poll(None if math.isinf(seconds) else math.ceil(max(0.0, seconds) * 1000))
        with contextlib.suppress(BlockingIOError):
            os.read(self._heard, _READ_BYTES)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._signals, _READ_BYTES)
        return b""

    def become_worker(self) -> None:
        """In the child, with SIGNALS blocked: leave the parent's ends, and its way with signals.

        Ctrl-C and a closed terminal reach all processes of the group; the parent passes on what they mean.
        """
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            is_ignored = number in (signal.SIGINT, signal.SIGHUP)
            signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        for fd in (self._life, self._heard, self._signals, self._wakeup):
            os.close(fd)

    def close(self) -> None:
        """Close both ends of all."""
        for fd in (self.parent, self._life, self._heard, self.news, self._signals, self._wakeup):
            os.close(fd)
