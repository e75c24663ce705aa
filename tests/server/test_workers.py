"""The supervisor with workers that do next to nothing, as processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from yatagarasu.server.workers import restart_delay


@pytest.mark.parametrize(
    ("previous", "lived", "delay"),
    [
        pytest.param(None, 0.0, 0.0, id="the-first-time-at-once"),
        pytest.param(0.0, 1.0, 0.1, id="then-a-tenth"),
        pytest.param(0.1, 9.9, 0.2, id="doubling"),
        pytest.param(6.4, 0.1, 10.0, id="to-ten"),
        pytest.param(10.0, 0.1, 10.0, id="and-no-more"),
        pytest.param(10.0, 10.0, 0.0, id="one-that-lived-ten-seconds-begins-anew"),
    ],
)
def test_the_wait_before_a_restart(previous: float | None, lived: float, delay: float):
    assert restart_delay(previous, lived) == delay


# The plan is a file of JSON: how many workers, and what they do. They answer with their index on a pipe of their own.
SCRIPT = r"""
import json, os, select, signal, sys, time
from yatagarasu.errors import ConfigError
from yatagarasu.observe.log import Log
from yatagarasu.server import supervisor
from yatagarasu.server.workers import Plan

supervisor._READY_SECONDS = 0.4

def say(text):
    # In one piece: several processes write into this pipe.
    os.write(1, f"{text}\n".encode())

def work(seat):
    if kind == "exit":
        print("cannot work", file=sys.stderr)
        return 3
    if kind == "raise":
        raise RuntimeError("a defect")
    if kind == "hang":
        time.sleep(60)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    seat.announce()
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    assert signals == [signal.SIG_IGN] * 2, signals
    say(f"up {seat.index} of {seat.count}, pid {os.getpid()}, peers {len(seat.peer_paths)}")
    if kind == "once" and seat.index == 0 and not seat.board.restarts(0):
        time.sleep(0.1)
        return 5
    select.select([seat.parent], [], [])
    return 1

class Planner:
    def plan(self):
        global kind
        with open(sys.argv[1]) as file:
            asked = json.load(file)
        if asked["kind"] == "bad":
            raise ConfigError("no such thing")
        kind = asked["kind"]
        return Plan(((),) * asked["count"], (), None, work, asked.get("drain", 5.0))

    def keep(self, plan):
        say(f"keep {None if plan is None else len(plan.listeners)}")

log = Log(level="debug")
ready = lambda plan: say(f"ready {len(plan.listeners)}")
try:
    sys.exit(supervisor.Supervisor(Planner(), log=log, on_ready=ready).run())
except ConfigError as exc:
    sys.exit(f"refused: {exc}")
"""


class Supervised:
    """A supervisor in a process of its own, with its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes]

    def start(self, kind: str, count: int = 2, **more: Any) -> "Supervised":
        self.ask(kind, count, **more)
        (self.folder / "tmp").mkdir()
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(self.folder / "plan")],
                stdout=out,
                stderr=err,
                env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
                start_new_session=True,
            )
        return self

    def ask(self, kind: str, count: int = 2, **more: Any) -> None:
        (self.folder / "plan").write_text(json.dumps({"kind": kind, "count": count, **more}))

    @property
    def out(self) -> list[str]:
        return (self.folder / "out").read_text().splitlines()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self, kind: str, count: int = 2) -> None:
        self.ask(kind, count)
        self.send(signal.SIGHUP)

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, (self.out, self.err)
            time.sleep(0.01)

    def wait_ready(self) -> "Supervised":
        self.wait_for(lambda: any(line.startswith("ready") for line in self.out))
        return self


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    # Not tmp_path: sockets need short paths.
    folder = tempfile.mkdtemp(prefix="y-")
    running = Supervised(Path(folder))
    yield running
    if running.process.poll() is None:
        for pid in (*running.workers(), running.process.pid):
            os.kill(pid, signal.SIGKILL)
    running.process.wait()
    shutil.rmtree(folder)


def test_all_workers_are_ready_before_it_says_so(supervised: Supervised):
    supervised.start("good", 3).wait_ready()
    assert len(supervised.workers()) == 3
    supervised.wait_for(lambda: sum(line.startswith("up") for line in supervised.out) == 3)
    assert {line.split(",")[0] for line in supervised.out if "up" in line} == {"up 0 of 3", "up 1 of 3", "up 2 of 3"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(supervised: Supervised, number: int):
    supervised.start("good").wait_ready()
    supervised.send(number)
    assert supervised.process.wait(5) == 0
    assert list((supervised.folder / "tmp").iterdir()) == []


def test_ctrl_c_reaches_the_workers_only_through_the_parent(supervised: Supervised):
    supervised.start("good").wait_ready()
    os.killpg(supervised.process.pid, signal.SIGINT)
    assert supervised.process.wait(5) == 0
    assert supervised.events("worker_died") == []


def test_a_worker_that_does_not_end_is_killed(supervised: Supervised):
    supervised.start("stubborn", drain=0.2).wait_ready()
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(5) == 1
    assert len(supervised.events("workers_killed")) == 1


def test_a_second_signal_ends_at_once(supervised: Supervised):
    supervised.start("stubborn", drain=60).wait_ready()
    supervised.send(signal.SIGTERM)
    supervised.wait_for(lambda: bool(supervised.events("draining")))
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(5) == 1


def test_a_worker_that_dies_is_replaced_at_once(supervised: Supervised):
    supervised.start("once").wait_ready()
    supervised.wait_for(lambda: len(supervised.events("worker_started")) == 3)
    (died,) = supervised.events("worker_died")
    assert (died["index"], died["code"], died["restart_seconds"]) == (0, 5, 0.0)
    assert len(supervised.workers()) == 2


def test_a_worker_that_dies_again_and_again_is_waited_for(supervised: Supervised):
    supervised.start("once", 1).wait_ready()
    supervised.wait_for(lambda: len(supervised.events("worker_started")) == 2)
    for _ in range(2):
        (pid,) = supervised.workers()
        os.kill(pid, signal.SIGSEGV)
        supervised.wait_for(lambda pid=pid: supervised.workers() not in ([pid], []))
    assert [each["restart_seconds"] for each in supervised.events("worker_died")] == [0.0, 0.1, 0.2]
    assert supervised.events("worker_died")[-1]["signal"] == "SIGSEGV"


def test_workers_that_cannot_start_end_the_program(supervised: Supervised):
    supervised.start("exit", 3)
    assert supervised.process.wait(5) == 3
    assert supervised.err.count("cannot work") == 1
    assert list((supervised.folder / "tmp").iterdir()) == []


def test_a_defect_shows_its_traceback(supervised: Supervised):
    supervised.start("raise")
    assert supervised.process.wait(5) == 1
    assert "RuntimeError: a defect" in supervised.err


def test_a_bad_first_plan_is_the_callers(supervised: Supervised):
    supervised.start("bad")
    assert supervised.process.wait(5) == 1
    assert "refused: no such thing" in supervised.err


def test_a_signal_before_it_is_ready_ends_it_too(supervised: Supervised):
    supervised.start("hang")
    supervised.wait_for(lambda: bool(supervised.events("worker_started")))
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(5) == 0


def test_a_reload_replaces_all_workers(supervised: Supervised):
    supervised.start("good").wait_ready()
    before = set(supervised.workers())
    supervised.reload("good", 3)
    supervised.wait_for(lambda: len(supervised.workers()) == 3 and not before & set(supervised.workers()))
    assert supervised.events("reloaded")[0]["workers"] == 3
    assert supervised.out[-1] != "keep None"
    assert supervised.events("worker_died") == []
    supervised.wait_for(lambda: len(list((supervised.folder / "tmp").glob("*/*.sock"))) == 3)


@pytest.mark.parametrize("kind", ["bad", "exit", "hang", "raise"])
def test_a_reload_that_cannot_work_changes_nothing(supervised: Supervised, kind: str):
    supervised.start("good").wait_ready()
    before = supervised.workers()
    supervised.reload(kind, 3)
    supervised.wait_for(lambda: bool(supervised.events("reload_refused")) and supervised.workers() == before)
    assert supervised.out[-1] == "keep 2"
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(5) == 0


def test_a_reload_during_a_reload_waits_its_turn(supervised: Supervised):
    supervised.start("good").wait_ready()
    supervised.reload("hang")
    supervised.wait_for(lambda: len(supervised.workers()) == 3)
    supervised.reload("good", 4)
    supervised.wait_for(lambda: len(supervised.workers()) == 4 and bool(supervised.events("reloaded")))
    assert len(supervised.events("reload_refused")) == 1


def test_a_dead_parent_is_noticed(supervised: Supervised):
    supervised.start("good").wait_ready()
    workers = supervised.workers()
    supervised.send(signal.SIGKILL)
    supervised.process.wait()
    supervised.wait_for(lambda: not any(is_running(pid) for pid in workers))


def test_it_costs_nothing_while_nothing_happens(supervised: Supervised):
    supervised.start("good").wait_ready()
    stat = Path(f"/proc/{supervised.process.pid}/stat")
    before = stat.read_text().split()[13:15]
    time.sleep(0.3)
    assert stat.read_text().split()[13:15] == before


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
