"""The load generator: `run(plan)` starts its workers, keeps them in step, adds up what they counted."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from yatagarasu.bench.cpu import cpu_seconds
from yatagarasu.bench.endpoint import find_endpoint
from yatagarasu.bench.plan import Plan, cores_of, shares
from yatagarasu.bench.result import Result
from yatagarasu.bench.sockets import tls_context
from yatagarasu.bench.tally import Tally
from yatagarasu.bench.worker import write_order
from yatagarasu.errors import ConfigError, InternalError

_SECOND = 1_000_000_000
# Workers get their start this long before it, to be asleep when it comes.
_LEAD_SECONDS = 0.05
# They speak ten times a second; opening connections takes them ten seconds at the most.
_SILENCE_SECONDS = 30.0
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run gets on: `seconds` since its start (of `total_seconds`, None until a count), sums of all requests."""

    seconds: float
    total_seconds: float | None
    answers: int
    body_bytes: int
    errors: int


def run(plan: Plan, on_progress: Callable[[Progress], None] | None = None) -> Result:
    """Run a load to its end; blocks this thread, in which `on_progress` is called up to ten times a second.

    Whatever ends it early, an exception out of `on_progress` included, ends the workers too. Under trio: in a thread,
    with `trio.from_thread.check_cancelled` in `on_progress`.

    Raises:
        ConfigError: the plan's URL or CA file cannot be used, or nothing listens there.
        InternalError: a worker died.
    """
    endpoint = find_endpoint(plan)
    if endpoint.tls_name is not None:
        try:
            tls_context(plan)
        except OSError as error:
            raise ConfigError(f"cannot trust {plan.ca_file}: {error.strerror or error}") from error
    cores = cores_of(plan)
    parts = shares(plan, len(cores))
    # On one core only the kernel's scheduler knows better than a fixed place.
    places: Sequence[int | None] = cores if len(os.sched_getaffinity(0)) > 1 or plan.cores else [None]
    with contextlib.ExitStack() as stack:
        crew = [
            stack.enter_context(_worker(write_order(plan, part, endpoint, places[part.index % len(places)])))
            for part in parts
        ]
        return _Run(plan, crew, on_progress).result()


class _Worker:
    """A process, and its lines as they come."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.progress = (0, 0, 0)
        self.is_open = False
        self.tally: Tally | None = None
        self._rest = b""

    def read(self) -> None:
        """Take what it has said. Raises InternalError where it has ended without its tally."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        if not data:
            raise InternalError(f"a worker of the load generator has died: {self._last_words()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said: dict[str, Any] = json.loads(line)
            self.is_open |= "open" in said
            self.progress = said.get("progress", self.progress)
            if "tally" in said:
                self.tally = Tally.from_dict(said["tally"])

    def start(self, at: int) -> None:
        """Tell it when to start, in monotonic ns."""
        _write(self.process.stdin, b"%d\n" % at)

    def _last_words(self) -> str:
        assert self.process.stderr is not None
        lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.wait()}"


@contextlib.contextmanager
def _worker(order: bytes) -> Iterator[_Worker]:
    process = subprocess.Popen(
        [sys.executable, "-m", "yatagarasu.bench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            _write(process.stdin, order)
            yield _Worker(process)
        finally:
            process.kill()


def _write(pipe: IO[bytes] | None, line: bytes) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError):  # What it died of is read from its other pipes.
        pipe.write(line)
        pipe.flush()


class _Run:
    """One run of a crew of workers."""

    def __init__(self, plan: Plan, crew: Sequence[_Worker], on_progress: Callable[[Progress], None] | None) -> None:
        self._plan = plan
        self._crew = crew
        self._on_progress = on_progress
        self._selector = selectors.DefaultSelector()
        for worker in crew:
            assert worker.process.stdout is not None
            self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        # CPU time of the server's processes at the ends of the window.
        self._marks: list[tuple[float, dict[int, float]]] = []
        self._told_at = 0.0

    def result(self) -> Result:
        with self._selector:
            while not all(worker.is_open for worker in self._crew):
                self._listen(_SILENCE_SECONDS)
            start = time.monotonic_ns() + int(_LEAD_SECONDS * _SECOND)
            for worker in self._crew:
                worker.start(start)
            self._follow(start / _SECOND)
        tally = Tally()
        for worker in self._crew:
            assert worker.tally is not None
            tally.add(worker.tally)
        return Result(self._plan, tally, len(self._crew), self._server_share())

    def _follow(self, start: float) -> None:
        """Listen until the last worker has its tally; look at the server's CPU where the window begins and ends."""
        begin = start + self._plan.warmup_seconds
        ends = [begin, *([begin + self._plan.seconds] if self._plan.seconds is not None else [])]
        while not all(worker.tally for worker in self._crew):
            now = time.monotonic()
            if ends and now >= ends[0]:
                ends.pop(0)
                self._mark(now)
                continue
            self._listen(ends[0] - now if ends else _SILENCE_SECONDS, is_patient=bool(ends))
            if self._on_progress is not None and now - self._told_at >= _PROGRESS_SECONDS:
                self._told_at = now
                self._tell(self._on_progress, now - start)
        if len(self._marks) < 2:
            self._mark(time.monotonic())

    def _tell(self, on_progress: Callable[[Progress], None], seconds: float) -> None:
        plan = self._plan
        total = None if plan.seconds is None else plan.warmup_seconds + plan.seconds
        sums = [sum(column) for column in zip(*(worker.progress for worker in self._crew), strict=True)]
        on_progress(Progress(max(0.0, seconds), total, *sums))

    def _listen(self, seconds: float, *, is_patient: bool = False) -> None:
        ready = self._selector.select(max(0.0, seconds))
        if not ready and not is_patient:
            raise InternalError("a worker of the load generator says nothing any more")
        for key, _ in ready:
            key.data.read()
            if key.data.tally is not None:
                self._selector.unregister(key.fileobj)

    def _mark(self, now: float) -> None:
        if self._plan.server_pids:
            self._marks.append((now, cpu_seconds(self._plan.server_pids)))

    def _server_share(self) -> float | None:
        """The share of a core that the busiest process of the server used in the window."""
        if len(self._marks) < 2:
            return None
        (began, before), (ended, after) = self._marks[0], self._marks[-1]
        used = [seconds - before.get(pid, 0.0) for pid, seconds in after.items()]
        return max(used, default=0.0) / (ended - began)
