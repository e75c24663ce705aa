"""Workers as their supervisor sees them: what one is given by fork, and the generation it belongs to.

A generation is forked of one plan, has one board, and goes as a whole when the config is read again. It stays
single-threaded and knows nothing of trio: it is forked from.
"""

import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yatagarasu.server.board import Board, WorkerState
from yatagarasu.server.listener import close_listeners, open_unix

# So many looks in a row at a worker that has done nothing between them, and it will not do anything any more.
STUCK_LOOKS = 12
# A worker that dies sooner than this may die of the same thing again.
_QUICK_DEATH_SECONDS = 10.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker gets by fork.

    Attributes:
        index: which of `count` workers it is, from 0.
        listeners: its own public ones; unix ones are shared by all.
        admin_listeners: shared by all workers; whoever accepts answers for all.
        peer_listener: its own unix socket, for the other workers.
        peer_paths: those of all workers, by index.
        parent: descriptor of a pipe that reads end-of-file when the supervisor has died.
        news: descriptor of a pipe whose other end the supervisor watches.
    """

    index: int
    count: int
    listeners: tuple[socket.socket, ...]
    admin_listeners: tuple[socket.socket, ...]
    peer_listener: socket.socket
    peer_paths: tuple[str, ...]
    board: Board
    parent: int
    news: int

    def announce(self) -> None:
        """Tell the others and the supervisor that this worker answers."""
        self.board.set_state(self.index, WorkerState.READY)
        os.write(self.news, b".")

    def leave(self) -> None:
        """Tell the others that this worker takes nothing new."""
        self.board.set_state(self.index, WorkerState.DRAINING)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generation is made of.

    Attributes:
        listeners: by worker.
        lock: descriptor that holds the cache directory, None where there is none; workers hold it too.
        work: called in each child; returns its exit code.
        drain_seconds: how long workers may take to end after SIGTERM.
    """

    listeners: tuple[tuple[socket.socket, ...], ...]
    admin_listeners: tuple[socket.socket, ...]
    lock: int | None
    work: Callable[[Seat], int]
    drain_seconds: float


class Planner(Protocol):
    """Who makes plans, and holds what they name: sockets, locks."""

    def plan(self) -> Plan:
        """A plan of what the config says. Raises ConfigError."""
        ...

    def keep(self, plan: Plan | None) -> None:
        """Give up what this plan does not name; None names nothing."""
        ...


def restart_delay(previous: float | None, lived_seconds: float) -> float:
    """Seconds to wait before a worker is started again: none at first, then from 0.1 doubling to 10.

    Args:
        previous: the delay before its last start, None if that was the first one.
        lived_seconds: from its start to its death.
    """
    if previous is None or lived_seconds >= _QUICK_DEATH_SECONDS:
        return 0.0
    return min(max(2 * previous, _FIRST_DELAY_SECONDS), _LONGEST_DELAY_SECONDS)


@dataclass(slots=True)
class _Place:
    """One worker's start and end, monotonic seconds. `due` is when it is to be started, inf while it runs.

    `beat` is what the last look at it saw, `looks` how many in a row saw the same.
    """

    due: float = -math.inf
    beat: float = 0.0
    looks: int = 0
    started: float = 0.0
    delay: float | None = None
    starts: int = 0


class Generation:
    """Workers of one plan.

    Attributes:
        pids: process ids of those that run, with their indices.
        deadline: monotonic seconds until which it is to be ready, or to be gone.
    """

    def __init__(self, number: int, plan: Plan, folder: str) -> None:
        self.number = number
        self.plan = plan
        self.count = len(plan.listeners)
        self.board = Board(self.count)
        self.pids: dict[int, int] = {}
        self.deadline = math.inf
        self._places = [_Place() for _ in range(self.count)]
        self._peers: list[socket.socket] = []
        # One goes first: what keeps it from starting is said once, not by each of them.
        self._has_scout = False
        try:
            for index in range(self.count):
                self._peers.append(open_unix(os.path.join(folder, f"{number}-{index}.sock")))
        except BaseException:
            self.close()
            raise

    def take_seat(self, index: int, parent: int, news: int) -> Seat:
        """In a child: what worker `index` gets; what belongs to the others of this generation is closed."""
        peer_paths = tuple(str(sock.getsockname()) for sock in self._peers)
        for other, sock in enumerate(self._peers):
            if other != index:
                sock.close()
        listeners, admin_listeners = self.plan.listeners[index], self.plan.admin_listeners
        peer_listener = self._peers[index]
        return Seat(index, self.count, listeners, admin_listeners, peer_listener, peer_paths, self.board, parent, news)

    @property
    def is_ready(self) -> bool:
        """Whether all of its workers answer."""
        return len(self.board.alive()) == self.count

    def due(self, now: float) -> list[int]:
        """Workers that are to be started now."""
        self._has_scout = self._has_scout or self.board.is_alive(0)
        places = self._places if self._has_scout else self._places[:1]
        return [index for index, place in enumerate(places) if place.due <= now]

    @property
    def next_due(self) -> float:
        """When the next worker is to be started again, monotonic seconds; inf where none is."""
        return min((place.due for place in self._places if place.starts), default=math.inf)

    def starting(self, index: int, now: float) -> None:
        """Note that a worker is about to be forked."""
        place = self._places[index]
        if place.starts:
            self.board.count_restart(index)
        place.due, place.started = math.inf, now
        place.starts += 1
        self.board.set_state(index, WorkerState.STARTING)

    def started(self, index: int, pid: int) -> None:
        """Note a worker's process."""
        self.pids[pid] = index
        self.board.set_pid(index, pid)

    def ended(self, index: int, now: float) -> float:
        """Note that a worker has gone, or could not be forked; returns how many seconds it will be missed.

        The others stop asking it at once.
        """
        self.board.set_state(index, WorkerState.ABSENT)
        self.pids.pop(self.board.pid(index), None)
        self.board.set_pid(index, 0)
        place = self._places[index]
        place.delay = restart_delay(place.delay, now - place.started)
        place.due = now + place.delay
        return place.delay

    def look_for_stuck(self) -> list[tuple[int, int]]:
        """Look whether each worker that answers has done anything since the last look; index and pid of who is stuck.

        Looks are counted, not seconds: where all of the machine has stood still, nobody is stuck for that.
        """
        found = []
        for pid, index in self.pids.items():
            place, beat = self._places[index], self.board.beat(index)
            place.looks = place.looks + 1 if beat == place.beat and self.board.is_alive(index) else 0
            place.beat = beat
            if place.looks >= STUCK_LOOKS:
                found.append((index, pid))
        return found

    def signal(self, number: int) -> None:
        """Send a signal to all of its workers; none of these ids can be another's, as none has been waited for."""
        for pid in self.pids:
            os.kill(pid, number)

    def close(self) -> None:
        """Close what belongs to this generation alone; in a child of another one too."""
        close_listeners(self._peers)
