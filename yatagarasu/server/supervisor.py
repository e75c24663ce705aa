"""The parent of all workers: starts them, replaces what dies, puts a new generation in place of an old one.

It forks, so it has no threads and no event loop but its own `poll`. Sockets stay open here, so that connections which
a dead worker has not accepted wait for the next one.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from yatagarasu.errors import ConfigError
from yatagarasu.observe.log import Log
from yatagarasu.server.lifecycle import take_reloads
from yatagarasu.server.pipes import SIGNALS, Pipes
from yatagarasu.server.workers import Generation, Plan, Planner

# What a new generation may take until all of it is ready; after that the old one is kept.
_READY_SECONDS = 30.0
# How often to look whether workers still do anything; `workers.STUCK_LOOKS` says when one is given up.
_LOOK_SECONDS = 5.0
# The kernel takes 107 bytes as a socket's path; a file's name in our directory needs some of them.
_MAX_FOLDER_BYTES = 80


class Supervisor:
    """Runs workers.

    Args:
        planner: what to run, asked at the start and on SIGHUP.
        on_ready: called with the plan once all workers are ready for the first time.
    """

    def __init__(self, planner: Planner, *, log: Log, on_ready: Callable[[Plan], None]) -> None:
        self._planner = planner
        self._log = log
        self._on_ready = on_ready
        self._pipes: Pipes
        self._folder: str
        self._current: Generation
        self._next: Generation | None = None
        self._retired: list[Generation] = []
        self._number = 0
        self._has_started = False
        self._is_stopping = False
        self._next_look = 0.0
        self._wants_reload = False
        self._code = 0

    def run(self) -> int:
        """Run until a signal ends it; returns the exit code: 1 where a drain was cut short.

        Raises:
            ConfigError: of the first plan.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._planner.keep, None)
            plan = self._planner.plan()
            self._folder = stack.enter_context(_private_folder())
            self._pipes = Pipes()
            stack.callback(self._pipes.close)
            stack.enter_context(self._pipes.caught_signals())
            take_reloads()
            self._current = self._new_generation(plan)
            stack.callback(self._end)
            while not self._is_stopping or self._current.pids or self._retired:
                self._turn()
        return self._code

    def _end(self) -> None:
        """Leave nothing behind; only after a defect of our own does a worker run still."""
        for generation in self._generations():
            generation.signal(signal.SIGKILL)
            generation.close()

    def _generations(self) -> list[Generation]:
        return [self._current, *([self._next] if self._next is not None else []), *self._retired]

    def _new_generation(self, plan: Plan) -> Generation:
        self._number += 1
        # Whoever tidies up temporary directories may have taken ours away.
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        return Generation(self._number, plan, self._folder)

    # One turn of the loop

    def _turn(self) -> None:
        if not self._is_stopping:
            self._start_due(self._current)
        if self._next is not None:
            self._start_due(self._next)
        for number in self._pipes.wait(self._next_due() - time.monotonic()):
            if number == signal.SIGHUP:
                self._wants_reload = True
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop(signal.Signals(number).name)
        self._reap()
        self._look_at_progress()
        self._look_at_deadlines()
        self._look_for_stuck()
        if self._wants_reload and self._has_started and self._next is None and not self._is_stopping:
            self._wants_reload = False
            self._reload()

    def _next_due(self) -> float:
        due = min(self._next_look, *(generation.deadline for generation in self._generations()))
        return due if self._is_stopping else min(due, self._current.next_due)

    def _reap(self) -> None:
        for generation in self._generations():
            for pid, index in list(generation.pids.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self._died(generation, index, pid, os.waitstatus_to_exitcode(status))
        for generation in [each for each in self._retired if not each.pids]:
            self._retired.remove(generation)
            generation.close()

    def _died(self, generation: Generation, index: int, pid: int, code: int) -> None:
        """A worker has gone; `code` is its exit code, or the number of a signal below zero."""
        delay = generation.ended(index, time.monotonic())
        how = {"signal": _signal_name(-code)} if code < 0 else {"code": code}
        if self._is_stopping or generation in self._retired:
            # The signal itself ends one that had nothing to do yet; 1 is a drain cut short, which it has said.
            was_new = generation.number > self._current.number  # Given up before it served anybody.
            if self._is_stopping and not was_new and code not in (0, -signal.SIGTERM):
                self._code = self._code or 1
            if code not in (0, 1, -signal.SIGTERM, -signal.SIGKILL):
                self._log.error("worker_died", index=index, pid=pid, **how)
            return
        self._log.error("worker_died", index=index, pid=pid, **how, restart_seconds=delay)
        self._fail(generation, "a worker of the new config died", code if code > 0 else 1)

    def _fail(self, generation: Generation, reason: str, code: int) -> None:
        """A worker could not do its work. Of one that did before, another try is made."""
        if generation is self._next:
            self._give_up(reason)
        elif not self._has_started:
            # It has said why; the others would say the same.
            self._is_stopping, self._code = True, code
            generation.signal(signal.SIGKILL)

    def _look_at_progress(self) -> None:
        if not self._has_started:
            if self._current.is_ready and not self._is_stopping:
                self._has_started = True
                self._on_ready(self._current.plan)
        elif self._next is not None and self._next.is_ready:
            old, self._current, self._next = self._current, self._next, None
            self._current.deadline = float("inf")
            old.board.set_replaced()
            self._retire(old, signal.SIGTERM)
            # Where only the old ones listened, nobody does when they have let go too.
            self._planner.keep(self._current.plan)
            self._log.info("reloaded", workers=self._current.count, generation=self._current.number)

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        for generation in self._generations():
            if generation.deadline > now:
                continue
            if generation is self._next:
                self._give_up(f"the new workers were not ready within {_READY_SECONDS:g} seconds")
            else:
                generation.deadline = float("inf")
                self._log.warning("workers_killed", pids=list(generation.pids))
                generation.signal(signal.SIGKILL)

    def _look_for_stuck(self) -> None:
        """End workers that do nothing any more, and will not read a SIGTERM: they are replaced as others that die."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        for index, pid in self._current.look_for_stuck():
            self._log.error("worker_stuck", index=index, pid=pid)
            os.kill(pid, signal.SIGKILL)

    # Reload and end

    def _reload(self) -> None:
        try:
            self._next = self._new_generation(self._planner.plan())
        except (ConfigError, OSError) as exc:
            self._planner.keep(self._current.plan)
            self._log.error("reload_refused", exc=exc)
        else:
            self._next.deadline = time.monotonic() + _READY_SECONDS

    def _give_up(self, reason: str) -> None:
        """Stay with what runs."""
        assert self._next is not None
        failed, self._next = self._next, None
        self._retire(failed, signal.SIGKILL)
        self._planner.keep(self._current.plan)
        self._log.error("reload_refused", reason=reason)

    def _retire(self, generation: Generation, number: int) -> None:
        generation.deadline = time.monotonic() + generation.plan.drain_seconds
        self._retired.append(generation)
        generation.signal(number)

    def _stop(self, name: str) -> None:
        """Drain; a second time, end at once."""
        if self._is_stopping:
            self._log.warning("ended_at_once", signal=name)
            self._code = 1
            for generation in self._generations():
                generation.signal(signal.SIGKILL)
            return
        self._log.info("draining", signal=name)
        self._is_stopping = True
        # The workers have theirs until they get the signal: nothing is refused that they could still take.
        self._planner.keep(None)
        if self._next is not None:
            failed, self._next = self._next, None
            self._retire(failed, signal.SIGKILL)
        self._current.deadline = time.monotonic() + self._current.plan.drain_seconds
        self._current.signal(signal.SIGTERM)

    # Forking

    def _start_due(self, generation: Generation) -> None:
        for index in generation.due(time.monotonic()):
            try:
                self._start(generation, index)
            except OSError as exc:
                delay = generation.ended(index, time.monotonic())
                self._log.error("fork_failed", exc=exc, index=index, restart_seconds=delay)
                self._fail(generation, "no new worker could be started", 1)
                return

    def _start(self, generation: Generation, index: int) -> None:
        """Fork a worker. Signals wait meanwhile: the child must not take one for the parent's. Raises OSError."""
        generation.starting(index, time.monotonic())
        sys.stdout.flush()
        sys.stderr.flush()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(generation, index, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        generation.started(index, pid)
        self._log.debug("worker_started", index=index, pid=pid, generation=generation.number)

    def _be_worker(self, generation: Generation, index: int, mask: set[int | signal.Signals]) -> NoReturn:
        """In the child: never returns, so that nothing of the parent's is ended or taken away here."""
        code = 1
        try:
            self._pipes.become_worker()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for other in self._generations():
                if other is not generation:
                    other.close()
            seat = generation.take_seat(index, self._pipes.parent, self._pipes.news)
            code = generation.plan.work(seat)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """A directory that nobody else can look into, for sockets: its path must not be long."""
    path = tempfile.mkdtemp(prefix="yatagarasu-")
    if len(os.fsencode(path)) > _MAX_FOLDER_BYTES:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix="yatagarasu-", dir="/tmp")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
