"""Whether the disk can be used: one that fails is left alone for a moment, then tried again.

Disk full, read-only, a vanished directory, permission denied, I/O errors: all the same to the proxy, which goes on
without. They are counted, and said once a minute.
"""

import time
from collections.abc import Callable

from yatagarasu.errors import StoreError
from yatagarasu.observe.log import Log

# How long nothing is written after a failure: short enough that a mended disk is used again soon.
PAUSE_SECONDS = 5.0
# Actions whose failure says nothing of whether writing is worth a try: one bad file must not close the whole disk.
_SINGLE = ("read", "remove", "look through the directory")
_SAY_SECONDS = 60.0


class Health:
    """Failures of one directory.

    Attributes:
        errors: failed calls in all.
        damaged: files that were found cut short, changed or foreign.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, log: Log, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.errors = 0
        self.damaged = 0
        self._log = log
        self._clock = clock
        self._paused_until = float("-inf")

    @property
    def is_good(self) -> bool:
        """Whether writing is worth a try."""
        return self._clock() >= self._paused_until

    def failed(self, action: str, cause: Exception) -> None:
        """Note a failed call."""
        self.errors += 1
        if action not in _SINGLE:
            self._paused_until = self._clock() + PAUSE_SECONDS
        if not self._log.rate_limited(f"disk {action}", _SAY_SECONDS):
            error = StoreError(f"cannot {action}: {getattr(cause, 'strerror', None) or cause}")
            error.__cause__ = cause
            path = getattr(cause, "filename", None)
            self._log.error("disk_failed", exc=error, **({"path": str(path)} if path else {}))
