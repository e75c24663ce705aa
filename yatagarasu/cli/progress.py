"""What `warm-cache` says on stderr while it runs: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from yatagarasu.units import format_duration, readable_size
from yatagarasu.warm.item import Malformed
from yatagarasu.warm.outcome import Kind
from yatagarasu.warm.report import Failure, Tally

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_SECONDS = 10.0
_DRAW_SECONDS = 0.2
# Failures and malformed lines that are told one by one; the report has the numbers.
_MAX_TOLD = 20
_COUNT_BYTES = 1 << 20


class WarmProgress:
    """Tells how a job gets on; a context manager.

    Args:
        lists: paths; how many lines they have is how much there is to do, where that can be seen.
        is_quiet: tells nothing.
    """

    def __init__(self, lists: Sequence[str], *, is_quiet: bool) -> None:
        self._lists = lists
        self._is_quiet = is_quiet
        self._told = 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if not self._is_quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.completed:,.0f}/{task.fields[known]}"),
                BarColumn(),
                TextColumn("{task.fields[rates]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def malformed(self, line: Malformed) -> None:
        """A line of a list is no key."""
        self._say(f"{line.source}:{line.line}: {line.reason}: {line.text}")

    def failed(self, failure: Failure) -> None:
        """An item could not be had."""
        where = f" ({failure.source}:{failure.line})" if failure.line else ""
        self._say(f"failed: {failure.as_line()}{where}: {failure.reason}")

    async def show(self, tally: Tally, said: str) -> None:
        """Show a job's numbers until cancelled."""
        if self._is_quiet:
            return
        print(f"warming {said}", file=sys.stderr, flush=True)
        total = await trio.to_thread.run_sync(count_lines, self._lists, abandon_on_cancel=True)
        if self._bar is None:
            while True:
                await trio.sleep(_LINE_SECONDS)
                of = f" of about {total:,}" if total else ""
                print(f"{tally.ended:,}{of}: {_rates(tally)}{_left(tally, total)}", file=sys.stderr, flush=True)
        known = f"{total:,}" if total else "?"
        task = self._bar.add_task("", total=total, known=known, rates="")
        while True:
            self._bar.update(task, completed=tally.ended, rates=_rates(tally))
            await trio.sleep(_DRAW_SECONDS)

    def _say(self, text: str) -> None:
        self._told += 1
        if self._is_quiet or self._told > _MAX_TOLD:
            return
        line = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
        if self._told == _MAX_TOLD:
            line += "\n... and what else fails is in the report"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _rates(tally: Tally) -> str:
    seconds = tally.seconds or 1.0
    failed = tally.kinds[Kind.FAILED]
    return (
        f"{tally.kinds.total() / seconds:,.0f} objects/s, {readable_size(tally.bytes / seconds)}/s"
        f"{f', {failed:,} failed' if failed else ''}"
    )


def _left(tally: Tally, total: int | None) -> str:
    ended = tally.ended - tally.earlier
    if not total or not ended:
        return ""
    return f", {format_duration(round(max(0, total - tally.ended) * tally.seconds / ended))} left"


def count_lines(paths: Sequence[str]) -> int | None:
    """How many lines these files have; None where that says nothing about how many items there are."""
    total = 0
    for path in paths:
        if path == "-" or not path.endswith((".txt", ".csv", ".jsonl", ".ndjson", ".list", ".lst")):
            return None
        try:
            with open(path, "rb") as file:
                while block := file.read(_COUNT_BYTES):
                    total += block.count(b"\n")
        except OSError:
            return None
    return total or None
