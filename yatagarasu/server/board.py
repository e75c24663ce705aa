"""What workers know of each other at once: a few numbers each, in memory that all of them share.

Every field has one writer, and each is one aligned machine word, so that nothing is ever read half written.
"""

import mmap
from enum import IntEnum

_WORD_BYTES = 8
# A cache line for each worker: one that writes does not slow down another.
_WORDS = 8
_STATE, _PID, _RESTARTS, _DISK_BYTES, _IS_REPLACED, _BEAT = range(6)


class WorkerState(IntEnum):
    """Where a worker stands. The supervisor writes the first two, the worker itself the others."""

    ABSENT = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


class Board:
    """One record for each worker of a generation; made before the fork.

    Args:
        count: how many workers.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._words = memoryview(mmap.mmap(-1, count * _WORDS * _WORD_BYTES)).cast("q")

    def state(self, index: int) -> WorkerState:
        """Where worker `index` stands."""
        return WorkerState(self._words[index * _WORDS + _STATE])

    def set_state(self, index: int, state: WorkerState) -> None:
        """Note where worker `index` stands."""
        self._words[index * _WORDS + _STATE] = state

    def is_alive(self, index: int) -> bool:
        """Whether worker `index` can be asked."""
        return self._words[index * _WORDS + _STATE] == WorkerState.READY

    def alive(self) -> list[int]:
        """The workers that can be asked, in ascending order."""
        return [index for index in range(self.count) if self.is_alive(index)]

    def beat(self, index: int) -> float:
        """When worker `index` last showed that it is not stuck, monotonic seconds of this machine; 0 where never."""
        return self._words[index * _WORDS + _BEAT] / 1000

    def set_beat(self, index: int, now: float) -> None:
        """Show it; worker `index`'s own."""
        self._words[index * _WORDS + _BEAT] = int(now * 1000)

    def pid(self, index: int) -> int:
        """Process id of worker `index`, 0 where there is none."""
        return self._words[index * _WORDS + _PID]

    def set_pid(self, index: int, pid: int) -> None:
        """Note a process id; the supervisor's."""
        self._words[index * _WORDS + _PID] = pid

    def restarts(self, index: int) -> int:
        """How often worker `index` had to be started again."""
        return self._words[index * _WORDS + _RESTARTS]

    def count_restart(self, index: int) -> None:
        """Count a start after a death; the supervisor's."""
        self._words[index * _WORDS + _RESTARTS] += 1

    @property
    def is_replaced(self) -> bool:
        """Whether another generation has taken the place of this one."""
        return bool(self._words[_IS_REPLACED])

    def set_replaced(self) -> None:
        """Note that another generation serves by now; the supervisor's."""
        self._words[_IS_REPLACED] = 1

    def disk_bytes(self, index: int) -> int:
        """Bytes on disk that worker `index` answers for. What a dead one had is still there."""
        return self._words[index * _WORDS + _DISK_BYTES]

    def set_disk_bytes(self, index: int, size: int) -> None:
        """Note bytes on disk; worker `index`'s own."""
        self._words[index * _WORDS + _DISK_BYTES] = size

    def total_disk_bytes(self) -> int:
        """Bytes on disk of all workers together."""
        return sum(self.disk_bytes(index) for index in range(self.count))
