"""What `bench` says on stderr while it runs: one live line on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from yatagarasu.bench.load import Progress

if TYPE_CHECKING:
    from rich.status import Status


class BenchWatch:
    """Tells how a bench gets on; a context manager."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._status: Status | None = None
        self._text = ""

    def __enter__(self) -> Self:
        if not self._is_quiet and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Tell what is going on."""
        self._text = text
        if self._status is not None:
            self._status.update(text)
        elif not self._is_quiet:
            print(text, file=sys.stderr, flush=True)

    def progress(self, progress: Progress) -> None:
        """Tell how a load gets on; called in a thread."""
        if self._status is None:
            return
        of = f" of {progress.total_seconds:.0f}" if progress.total_seconds else ""
        seconds = max(progress.seconds, 0.001)
        self._status.update(
            f"{self._text}: {progress.seconds:.0f}{of} s, {progress.answers / seconds:,.0f} requests/s, "
            f"{progress.body_bytes / seconds / 1e6:,.0f} MB/s, {progress.errors:,} errors"
        )
