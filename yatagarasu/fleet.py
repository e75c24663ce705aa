"""Several workers: the composition of one supervisor and of what runs in each process that it forks.

The parent opens what all share (listeners, the cache directory's lock) and never runs trio; each worker runs the
system that `app` puts together.
"""

import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Collection

import trio

from yatagarasu.app import open_system, ready_line
from yatagarasu.cache.disk.folder import note_holder, take_folder
from yatagarasu.config.model import Config
from yatagarasu.errors import YatagarasuError, describe, first_of
from yatagarasu.observe.log import Log
from yatagarasu.observe.sink import Sink
from yatagarasu.parts import new_log, secrets_of
from yatagarasu.server.lifecycle import Lifecycle
from yatagarasu.server.listener import ListenerPool, format_address
from yatagarasu.server.supervisor import Supervisor
from yatagarasu.server.workers import Plan, Seat

# What a worker may take to end after its drain: its last writes to disk have five seconds (`app`).
_GRACE_SECONDS = 7.0


def worker_count(config: Config) -> int:
    """How many workers a config means: "auto" is one for each core that this process may use."""
    workers = config.server.workers
    return len(os.sched_getaffinity(0)) if workers == "auto" else workers


def serve(config: Config, *, reread: Callable[[], Config], on_ready: Callable[[str], None]) -> int:
    """Serve with several workers until a signal ends it; returns the exit code. There must be no other threads.

    Args:
        reread: loads the config again on SIGHUP; raises ConfigError, and the old one stays.
        on_ready: called with the ready line once all workers answer.
    """
    log = new_log(config)

    def announce(plan: Plan) -> None:
        public = list(dict.fromkeys(format_address(sock) for share in plan.listeners for sock in share))
        admin = format_address(plan.admin_listeners[0]) if plan.admin_listeners else None
        on_ready(f"{ready_line(public, admin)} with {len(plan.listeners)} workers")

    # What is there already is there for good: not touched by the collector, it stays shared by all workers.
    gc.collect()
    gc.freeze()
    return Supervisor(_ConfigPlanner(config, reread, log), log=log, on_ready=announce).run()


class _ConfigPlanner:
    """Makes plans of configs, and holds sockets and locks of cache directories from one to the next."""

    def __init__(self, config: Config, reread: Callable[[], Config], log: Log) -> None:
        self._first: Config | None = config
        self._reread = reread
        self._log = log
        self._listeners = ListenerPool()
        self._locks: dict[str, int] = {}

    def plan(self) -> Plan:
        """A plan of the config as it is now. Raises ConfigError."""
        config = self._first or self._reread()
        self._first = None
        self._log.scrubber.add(secrets_of(config))
        listeners = self._listeners.spread(config.server.listen, worker_count(config))
        admin = self._listeners.common([config.admin.listen] if config.admin.listen else [])
        lock = None
        if config.cache.disk is not None:
            path = config.cache.disk.path
            if path not in self._locks:
                self._locks[path] = take_folder(path)
            lock = self._locks[path]
            note_holder(lock, list(dict.fromkeys(format_address(sock) for share in listeners for sock in share)))

        def work(seat: Seat) -> int:
            self._hold((*seat.listeners, *seat.admin_listeners), lock)
            return _work(config, seat)

        return Plan(listeners, admin, lock, work, config.server.drain_timeout + _GRACE_SECONDS)

    def keep(self, plan: Plan | None) -> None:
        """Give up what this plan does not name."""
        if plan is None:
            self._hold((), None)
        else:
            self._hold((*(sock for share in plan.listeners for sock in share), *plan.admin_listeners), plan.lock)

    def _hold(self, sockets: Collection[socket.socket], lock: int | None) -> None:
        """Close everything else; a lock holds as long as any process has its descriptor."""
        self._listeners.keep(sockets)
        for path, fd in list(self._locks.items()):
            if fd != lock:
                os.close(self._locks.pop(path))


# In a worker


def _work(config: Config, seat: Seat) -> int:
    """Serve in one process; returns its exit code. Known errors become one line on stderr."""
    code = 1
    try:
        code = trio.run(_serve_seat, config, seat)
    except (YatagarasuError, BaseExceptionGroup) as exc:
        known = first_of(exc, YatagarasuError)
        if known is None:
            raise
        print(f"yatagarasu: {describe(known)}", file=sys.stderr)
    return code


async def _serve_seat(config: Config, seat: Seat) -> int:
    code = 1
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            open_system(config, write_access=_standard_output(seat).write, seat=seat) as system,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_watch_parent, seat, nursery.cancel_scope)

            async def drain() -> None:
                seat.leave()
                await system.drain()

            seat.announce()
            lifecycle = Lifecycle(system.log, drain_timeout=lambda: config.server.drain_timeout)
            code = await lifecycle.run(signals, drain=drain, reload=lambda: None)
            seat.leave()
            nursery.cancel_scope.cancel()
    return code


async def _watch_parent(seat: Seat, scope: trio.CancelScope) -> None:
    """End at once when the supervisor has died: nobody else would ever end this process."""
    await trio.lowlevel.wait_readable(seat.parent)
    seat.leave()
    # It cannot take its directory of sockets away any more.
    shutil.rmtree(os.path.dirname(seat.peer_paths[0]), ignore_errors=True)
    scope.cancel()


def _standard_output(seat: Seat) -> Sink:
    """Where access-log lines go so that those of several workers never mix."""
    # A lock belongs to an open file: every worker opens its own.
    return Sink(1, os.open(os.path.dirname(seat.peer_paths[0]), os.O_RDONLY | os.O_CLOEXEC))
