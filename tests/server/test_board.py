import subprocess
import sys

import pytest

from yatagarasu.server.board import Board, WorkerState


def test_nobody_is_alive_at_first():
    board = Board(3)
    assert [board.state(index) for index in range(3)] == [WorkerState.ABSENT] * 3
    assert board.alive() == []
    assert (board.pid(0), board.restarts(0), board.total_disk_bytes()) == (0, 0, 0)


@pytest.mark.parametrize("state", list(WorkerState))
def test_only_a_ready_worker_is_alive(state: WorkerState):
    board = Board(2)
    board.set_state(1, state)
    assert board.state(1) is state
    assert board.is_alive(1) is (state is WorkerState.READY)
    assert not board.is_alive(0)


def test_records_are_apart():
    board = Board(3)
    for index in range(3):
        board.set_pid(index, 100 + index)
        board.set_disk_bytes(index, 10**12 + index)
    board.count_restart(1)
    board.count_restart(1)
    assert [board.pid(index) for index in range(3)] == [100, 101, 102]
    assert [board.restarts(index) for index in range(3)] == [0, 2, 0]
    assert board.total_disk_bytes() == 3 * 10**12 + 3


def test_a_beat_is_kept_to_the_millisecond():
    board = Board(2)
    board.set_beat(1, 123_456.789)
    assert (board.beat(0), board.beat(1)) == (0.0, 123_456.789)


def test_processes_share_it():
    script = """
import os
from yatagarasu.server.board import Board, WorkerState
board = Board(2)
pid = os.fork()
if pid == 0:
    board.set_state(1, WorkerState.READY)
    board.set_disk_bytes(1, 12_345)
    os._exit(0)
os.waitpid(pid, 0)
print(board.alive(), board.disk_bytes(1))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "[1] 12345\n"
