"""Jobs inside a server: started, shown, paused and cancelled from outside, and not ended by a reload.

Each job has two files in a folder: its order with its state, and its journal. Who holds the lock on a job runs it; one
that nobody holds, because its process was replaced or has died, is taken over by whoever looks first.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import trio

from yatagarasu.errors import YatagarasuError
from yatagarasu.observe.log import Log
from yatagarasu.warm.job import WarmJob
from yatagarasu.warm.journal import Journal, job_digest
from yatagarasu.warm.order import Order
from yatagarasu.warm.report import Tally

# How soon a job whose process has gone goes on, and how many of those that are over are still shown.
_LOOK_SECONDS = 1.0
_KEPT = 20
_PARK_SECONDS = 15.0


class State(StrEnum):
    """What a job is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_LIVE = (State.RUNNING, State.PAUSED)

# Makes a job of an order; raises ConfigError where it cannot be carried out.
NewJob = Callable[[Order, Journal], WarmJob]


@dataclass(slots=True)
class _Held:
    """A job of this process."""

    id: str
    order: Order
    started_at: float
    state: State = State.RUNNING
    job: WarmJob | None = None
    tally: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    lock: int | None = None
    ended: trio.Event = field(default_factory=trio.Event)


class WarmJobs:
    """The jobs of one process.

    Args:
        nursery: where they run.
        folder: for their files; None keeps none, and jobs end with the process.
        clock: epoch seconds.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        new_job: NewJob,
        *,
        folder: Path | None,
        log: Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nursery = nursery
        self._new_job = new_job
        self._folder = folder
        self._log = log
        self._clock = clock
        self._jobs: dict[str, _Held] = {}
        self._is_parked = False

    def start(self, order: Order) -> dict[str, Any]:
        """Start a job; returns what `show` does.

        Raises:
            ConfigError: the order cannot be carried out.
        """
        held = _Held(uuid4().hex[:12], order, self._clock())
        held.job = self._new_job(order, self._journal(held))
        self._lock(held)
        self._begin(held, held.job)
        return self._shown(held)

    def show(self, id: str | None = None) -> list[dict[str, Any]]:
        """The jobs of this process, or the one of this id: plain values."""
        return [self._shown(held) for held in self._jobs.values() if id is None or held.id == id]

    def pause(self, id: str) -> list[dict[str, Any]]:
        """Pause a job; what it is then, nothing where it is not here."""
        held = self._jobs.get(id)
        if held is not None and held.job is not None and held.state is State.RUNNING:
            held.job.pause()
            self._change(held, State.PAUSED)
        return self.show(id)

    def resume(self, id: str) -> list[dict[str, Any]]:
        """Let a paused job go on; what it is then, nothing where it is not here."""
        held = self._jobs.get(id)
        if held is not None and held.job is not None and held.state is State.PAUSED:
            held.job.resume()
            self._change(held, State.RUNNING)
        return self.show(id)

    def cancel(self, id: str) -> list[dict[str, Any]]:
        """End a job; what it is then, nothing where it is not here."""
        held = self._jobs.get(id)
        if held is not None and held.state in _LIVE:
            self._change(held, State.CANCELLED)
            held.scope.cancel()
        return self.show(id)

    async def run(self) -> None:
        """Take over jobs that nobody runs, until cancelled."""
        while self._folder is not None:
            if not self._is_parked:
                for path in sorted(self._folder.glob("*.job")):
                    if path.stem not in self._jobs:
                        self._adopt(path)
            await trio.sleep(_LOOK_SECONDS)

    async def park(self) -> None:
        """Leave what runs here to whoever takes this process' place: their journals are written, their locks free."""
        self._is_parked = True
        live = [held for held in self._jobs.values() if held.state in _LIVE]
        for held in live:
            held.scope.cancel()
        with trio.move_on_after(_PARK_SECONDS):
            for held in live:
                await held.ended.wait()

    # One job

    def _begin(self, held: _Held, job: WarmJob) -> None:
        self._jobs[held.id] = held
        if held.state is State.PAUSED:
            job.pause()
        self._write(held)
        self._nursery.start_soon(self._run, held, job)
        self._log.info("warming_started", job=held.id, **held.order.to_dict())

    async def _run(self, held: _Held, job: WarmJob) -> None:
        state = State.DONE
        try:
            with held.scope:
                await job.run()
        except YatagarasuError as exc:
            state, held.error = State.FAILED, str(exc)
        finally:
            held.tally = job.tally.to_dict()
            is_left = held.scope.cancelled_caught and held.state in _LIVE
            if held.state in _LIVE and not held.scope.cancelled_caught:
                held.state = state
            held.job = None
            if not is_left:
                self._write(held)
                self._log.info("warming_ended", job=held.id, state=held.state.value, **_figures(job.tally))
                self._forget_old()
            if held.lock is not None:
                os.close(held.lock)
                held.lock = None
            held.ended.set()
            if is_left:
                del self._jobs[held.id]

    def _change(self, held: _Held, state: State) -> None:
        held.state = state
        self._write(held)
        self._log.info("warming_changed", job=held.id, state=state.value)

    def _shown(self, held: _Held) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": held.id,
            "state": held.state.value,
            "started_at": held.started_at,
            "order": held.order.to_dict(),
            **(held.job.tally.to_dict() if held.job is not None else held.tally),
        }
        return found | {"error": held.error} if held.error else found

    # Files

    def _path(self, id: str, suffix: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{id}{suffix}"

    def _journal(self, held: _Held) -> Journal:
        return Journal(self._path(held.id, ".journal"), job_digest({"id": held.id}))

    def _lock(self, held: _Held) -> bool:
        """Take the lock on a job; whether it was free. Where there are no files, there is nobody else."""
        path = self._path(held.id, ".lock")
        if path is None:
            return True
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(held.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if held.lock is not None:
                os.close(held.lock)
                held.lock = None
            return False
        return True

    def _write(self, held: _Held) -> None:
        path = self._path(held.id, ".job")
        if path is None:
            return
        found = {"order": held.order.to_dict(), "state": held.state.value, "started_at": held.started_at}
        found |= {"tally": held.tally, "error": held.error}
        try:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(found), encoding="ascii")
            os.replace(temporary, path)
        except OSError as exc:
            self._log.warning("warming_not_noted", job=held.id, reason=exc.strerror)

    def _adopt(self, path: Path) -> None:
        """Take over a job, if it is to go on and nobody runs it."""
        held = _Held(path.stem, Order(), 0.0)
        if not self._is_live(held, path) or not self._lock(held):
            return
        # Whoever had it may just have ended it.
        job = None
        if self._is_live(held, path):
            try:
                job = held.job = self._new_job(held.order, self._journal(held))
            except YatagarasuError as exc:
                held.state, held.error = State.FAILED, str(exc)
                self._write(held)
        if job is None:
            if held.lock is not None:
                os.close(held.lock)
            return
        self._begin(held, job)

    def _is_live(self, held: _Held, path: Path) -> bool:
        """Read a job's file; whether it is to go on."""
        try:
            found = json.loads(path.read_bytes())
            held.order, held.state = Order.from_dict(found["order"]), State(found["state"])
            held.started_at = float(found["started_at"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return held.state in _LIVE

    def _forget_old(self) -> None:
        over = [held for held in self._jobs.values() if held.state not in _LIVE]
        for held in over[: max(0, len(over) - _KEPT)]:
            del self._jobs[held.id]
        for held in over:
            # What is over is not to be taken over: its files have nothing more to say.
            for suffix in (".job", ".lock", ".journal"):
                path = self._path(held.id, suffix)
                if path is not None:
                    with suppress(OSError):
                        path.unlink()


def _figures(tally: Tally) -> dict[str, Any]:
    found = tally.to_dict()
    return {name: found[name] for name in ("warmed", "present", "skipped", "failed", "malformed", "bytes", "seconds")}
