"""One run of `bench`: its stage, signals, and what is written at the end."""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli
import trio

from yatagarasu.bench.catalogue import Turn, chosen, tour
from yatagarasu.bench.report import Report
from yatagarasu.bench.runner import new_report, run_turns
from yatagarasu.bench.scenario import Needs
from yatagarasu.bench.stage import ForeignStage, LocalStage, embedded_origin, open_foreign, open_local
from yatagarasu.cli.bench_watch import BenchWatch
from yatagarasu.errors import ConfigError, first_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for; `seconds`, `runs` and `connections` None are the defaults."""

    names: list[str]
    settings: list[str]
    seconds: float | None
    runs: int | None
    connections: int | None
    target: str | None
    origin: str | None
    pids: tuple[int, ...]
    config: Path | None

    @property
    def needs(self) -> Needs:
        """What scenarios may need."""
        if self.target is None:
            return Needs.OURS
        return Needs.ANYTHING if self.origin is None else Needs.ORIGIN

    def turns(self) -> list[Turn]:
        """What to run. Raises ConfigError."""
        if self.names:
            return chosen(self.names, self.settings, self.needs)
        if self.settings:
            raise ConfigError("--set is for scenarios that are named: yatagarasu bench SCENARIO --set ...")
        return tour(self.seconds or 30.0, self.needs)

    def stage(self, watch: BenchWatch) -> AbstractAsyncContextManager[LocalStage | ForeignStage]:
        """What to run it on. Raises ConfigError."""
        given = {"seconds": self.seconds, "runs": self.runs, "connections": self.connections}
        settings = {name: value for name, value in given.items() if value is not None}
        if self.target is not None:
            return open_foreign(watch, self.target, self.origin, self.pids, **settings)
        return open_local(watch, read_own(self.config) if self.config is not None else None, **settings)


async def run_bench(wanted: Wanted, watch: BenchWatch) -> tuple[Report, bool]:
    """Run it to its end or to a signal; the report, and whether it was a signal."""
    report = new_report(wanted.target)
    is_interrupted = False
    turns = wanted.turns()
    with ExitStack() as stack:
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
        async with trio.open_nursery() as nursery:

            async def watch_signals(received: AsyncIterator[int]) -> None:
                nonlocal is_interrupted
                async for _ in received:
                    is_interrupted = True
                    nursery.cancel_scope.cancel()
                    return

            nursery.start_soon(watch_signals, signals)
            async with wanted.stage(watch) as stage:
                await run_turns(stage, turns, report)
            nursery.cancel_scope.cancel()
    return report, is_interrupted


async def serve_origin(listen: str) -> None:
    """Serve the embedded origin alone until a signal. Raises ConfigError where it cannot listen there."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--origin-listen {listen}: expected HOST:PORT")
    origin = embedded_origin(host or "127.0.0.1", int(port))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(origin.serve)
            except (OSError, ExceptionGroup) as exc:
                raise ConfigError(f"--origin-listen {listen}: {first_of(exc, OSError) or exc}") from exc
            BenchWatch(is_quiet=False).say(_EXPLAINED.format(url=origin.endpoint))
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


_EXPLAINED = """embedded origin ready on {url}
Every key of bucket "bench" that begins with a size is an object of that size, faults included:
  {url}/bench/10KiB/a              10 KiB
  {url}/bench/1MiB,latency=1s/a    each answer a second late
  {url}/bench/1MiB;cut=300KiB/a    cut once after 300 KiB, then whole
  {url}/-/counts                   what has been asked for
Put a proxy in front of it, then: yatagarasu bench --target http://PROXY/bench --origin {url}
Ctrl-C ends it."""


def read_own(path: Path) -> dict[str, Any]:
    """The tables of a config of the user's; the private server checks the rest. Raises ConfigError."""
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as exc:
        raise ConfigError(f"{path}: {getattr(exc, 'strerror', None) or exc}") from exc


def write_file(path: Path, text: str) -> None:
    """Write a report. Raises ConfigError where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc


def read_report(path: Path) -> Report:
    """Read a report to compare with. Raises ConfigError."""
    try:
        return Report.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: {getattr(exc, 'strerror', None) or exc}") from exc
