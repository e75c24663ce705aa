"""One run of `warm-cache`: journal, signals, what is told meanwhile."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import trio

from yatagarasu.cli.progress import WarmProgress
from yatagarasu.config.model import Config
from yatagarasu.errors import ConfigError
from yatagarasu.observe.scrub import Scrubber
from yatagarasu.parts import secrets_of
from yatagarasu.warm.job import WarmJob
from yatagarasu.warm.journal import Journal, job_digest
from yatagarasu.warm.order import Order
from yatagarasu.warm.report import Failure, Tally
from yatagarasu.warmup import open_reach, source_of

# What a run may change without being another job.
_PACE = ("concurrency", "rate", "bandwidth", "strict")


class Warming:
    """One run of the command.

    Args:
        order: has been checked.
        journal_path: None for one in the user's state directory, by what is ordered.
        failed_path: takes the keys that failed.
        restarts: forget what an interrupted run has done.
        is_quiet: say nothing while it runs.

    Attributes:
        is_interrupted: whether a signal ended it.
    """

    def __init__(
        self,
        order: Order,
        config: Config | None,
        via: str | None,
        *,
        config_path: Path | None,
        journal_path: Path | None,
        failed_path: Path | None,
        restarts: bool,
        is_quiet: bool,
    ) -> None:
        self._order, self._config, self._via = order, config, via
        self._config_path, self._failed_path = config_path, failed_path
        self._journal = _journal_of(order, via, config_path, journal_path)
        self._is_quiet = is_quiet
        self.is_interrupted = False
        if restarts:
            self._journal.remove()

    async def run(self) -> Tally:
        """Run it to its end, or to a signal; returns what it did. Raises ConfigError."""
        order = self._order
        with ExitStack() as stack:
            write_failed = self._failed_writer(stack)
            progress = stack.enter_context(WarmProgress(order.lists, is_quiet=self._is_quiet))

            def on_failure(failure: Failure) -> None:
                write_failed(failure)
                progress.failed(failure)

            signals = stack.enter_context(trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
            async with open_reach(self._config, order, self._via) as reach:
                job = WarmJob(
                    source_of(order, reach.route_of),
                    reach.warmer,
                    order.settings(time.time()),
                    journal=self._journal,
                    is_repeatable="-" not in order.lists,
                    on_malformed=progress.malformed,
                    on_failure=on_failure,
                    scrub=Scrubber(secrets_of(self._config) if self._config is not None else []).scrub,
                )
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, signals, nursery.cancel_scope)
                    nursery.start_soon(progress.show, job.tally, reach.said)
                    await job.run()
                    nursery.cancel_scope.cancel()
        if self.is_interrupted:
            job.tally.notes.append("interrupted: the same command goes on from here")
        return job.tally

    async def _watch(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for _ in signals:
            self.is_interrupted = True
            scope.cancel()
            return

    def _failed_writer(self, stack: ExitStack) -> Callable[[Failure], None]:
        if self._failed_path is None:
            return lambda failure: None
        try:
            file = stack.enter_context(self._failed_path.open("w", encoding="utf-8", newline="\n"))
        except OSError as exc:
            raise ConfigError(f"--failed {self._failed_path}: {exc.strerror}") from exc

        def write(failure: Failure) -> None:
            file.write(failure.as_line() + "\n")

        return write


def _journal_of(order: Order, via: str | None, config_path: Path | None, path: Path | None) -> Journal:
    """The journal of just this job: the same lists, as they are, of the same cache."""
    what = {name: value for name, value in order.to_dict().items() if name not in _PACE}
    what["lists"] = [_identity(name) for name in order.lists]
    what["via"] = via
    what["config"] = str(config_path.resolve()) if config_path is not None else None
    digest = job_digest(what)
    if path is None:
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        path = Path(state) / "yatagarasu" / f"warm-{digest}.json"
    return Journal(path, digest)


def _identity(path: str) -> list[object]:
    """What tells a list from another one, and from what it was before."""
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [os.path.abspath(path), found.st_size, found.st_mtime_ns]
