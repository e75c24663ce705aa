"""The fault matrix: every fault, in every phase of an object's life, met by clients of every temper.

One test is one fault; its phases run side by side, each with a proxy and an origin of its own, and every client with an
object of its own. The table is in `cases.py`, the clients are in `clients.py`.
"""

import contextlib
import gc
import json
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.chaos.cases import NEW_DATA, NEXT_DATA, OLD_DATA, PHASES, RANGE, ROWS, Row
from tests.chaos.clients import BEHAVIOURS, Answer, patient
from tests.chaos.clock import Barrier, Clock
from tests.chaos.network import Authority, Front, Names
from tests.server.conftest import ACCESS_KEY, SECRET_KEY, Lines, Proxy, make_config
from yatagarasu.app import open_system
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.cache.body import FileBody
from yatagarasu.observe.log import Log
from yatagarasu.origin.transport import RawResponse
from yatagarasu.proxy.assembly import Assembly, Lease
from yatagarasu.proxy.flight import Flight
from yatagarasu.proxy.reader import Reader
from yatagarasu.server.connection import Connection

TOKEN = "matrix-token"
EXPIRES_AFTER = 0.3
# What every line about a failure says (issue: error context everywhere).
CONTEXT = {"bucket", "key", "endpoint", "attempt", "elapsed_seconds", "cause"}
AUTHORITIES = trustme.CA(), trustme.CA()


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The proxy trusts the first authority as a system's store would have it."""
    with AUTHORITIES[0].cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        yield


def sections(phase: str, folder: Path) -> dict[str, Any]:
    """The proxy's config: short patience, and in every other phase a disk tier."""
    cache: dict[str, Any] = {"ttl": "1h"}
    if phase in ("revalidating", "stale"):
        cache["ttl"] = f"{int(EXPIRES_AFTER * 1000)}ms"
    if phase == "stale":
        cache["stale_if_error"] = "1d"
    if phase in ("cold", "range", "stale"):
        cache["memory"] = {"max_object_size": "64KiB"}
        cache["disk"] = {"path": str(folder / phase), "max_size": "64MiB"}
    return {
        "cache": cache,
        "admin": {"token": TOKEN},
        "coalescing": {"stall_timeout": "250ms"},
        "origin": {
            "connect_timeout": "1s",
            "first_byte_timeout": "700ms",
            "retry": {"attempts": 3, "backoff": "5ms", "max_backoff": "20ms"},
        },
    }


class Stage:
    """One phase of one row: a proxy, its origin, and what became of every client."""

    def __init__(self, row: Row, phase: str, proxy: Proxy, front: Front, clock: Clock, barrier: Barrier) -> None:
        self.row, self.phase, self.proxy, self.front = row, phase, proxy, front
        self._clock, self._barrier = clock, barrier
        self.answers: dict[str, list[Answer]] = {}
        self.leaders: dict[str, list[Answer]] = {}
        self.before: dict[str, int] = {}
        self.is_throttled = False

    async def play(self, folder: Path) -> None:
        """Everything, from the first object in the store to the last client gone."""
        row, phase, store = self.row, self.phase, self.proxy.store
        is_primed = phase in ("revalidating", "stale")
        for name in (*BEHAVIOURS, "good"):
            store.put("bkt", name, OLD_DATA if is_primed and name != "good" else NEW_DATA)
        if is_primed:
            for name in BEHAVIOURS:
                primed = await patient(self.proxy.port, f"/b/{name}", "")
                assert primed[0].body == OLD_DATA
                store.put("bkt", name, NEW_DATA)
            await trio.sleep(EXPIRES_AFTER + 0.1)
        await patient(self.proxy.port, "/b/good", "")
        self.before = {name: self.proxy.origin.request_count(name) for name in BEHAVIOURS}
        for name in BEHAVIOURS:
            for fault, count in row.faults:
                self.proxy.faults.add(fault, key=name, count=count)
        if row.network is not None:
            await self.front.fail(row.network)
        # There is one clock for all phases: they meet, and it jumps for all.
        await self._barrier.wait()
        self._clock.offset = row.skew
        if phase == "warming":
            await self._warm(folder)
        async with trio.open_nursery() as nursery:
            for name in BEHAVIOURS:
                nursery.start_soon(self._ask, name)
            if row.jump:
                await trio.sleep(0.1)
                self._clock.offset = row.jump

    async def _ask(self, name: str) -> None:
        fields = [f"Range: bytes={RANGE[0]}-{RANGE[1] - 1}"] if self.phase == "range" else []
        port, target = self.proxy.port, f"/b/{name}"
        async with trio.open_nursery() as nursery:
            if self.phase == "following":

                async def lead() -> None:
                    self.leaders[name] = await patient(port, target, "")

                nursery.start_soon(lead)
                await trio.sleep(0.01)
            self.answers[name] = await BEHAVIOURS[name](port, target, "/b/good", *fields)

    async def _warm(self, folder: Path) -> None:
        path = folder / "list.txt"
        path.write_text("".join(f"{name}\n" for name in BEHAVIOURS))
        token = f"Authorization: Bearer {TOKEN}"
        job = await self._admin("POST", f"/cache/warm?list={path}", token)
        with trio.move_on_after(3 if self.row.is_throttling else 30) as patience:
            while job["state"] not in ("done", "failed", "cancelled"):
                await trio.sleep(0.02)
                job = await self._admin("GET", f"/cache/warm/{job['id']}", token)
        if patience.cancelled_caught and self.row.is_throttling:
            # Told to slow down a job goes on asking, ever more slowly: that is its business, and it can be ended.
            assert job["overloads"] > 0, job
            assert job["warmed"] == 0, job
            job = await self._admin("DELETE", f"/cache/warm/{job['id']}", token)
            self.is_throttled = True
            return
        assert job["warmed"] + job["failed"] == len(BEHAVIOURS), job
        if self.row.fresh in (("new",), ("short",)):
            assert job["warmed"] == len(BEHAVIOURS), job
        elif "new" not in self.row.fresh:
            assert job["failed"] == len(BEHAVIOURS), job
            assert all(failure["reason"] for failure in job["failures"]), job

    async def _admin(self, method: str, target: str, *fields: str) -> Any:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
        answer = await self.proxy.raw("\r\n".join(lines).encode(), port=self.proxy.admin_port)
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def check(self) -> None:
        """Hold every answer, the origin's counts and the log against the row."""
        for name, answers in self.answers.items():
            for index, answer in enumerate(answers):
                self._check_answer(name, index, answer)
            for answer in self.leaders.get(name, []):
                self._check_answer("leader", 0, answer)
            asked = self.proxy.origin.request_count(name) - self.before[name]
            if self.is_throttled:
                continue
            # The second time that the pipelining client asks has its own budget.
            budget = (self.phase == "range" and self.row.ranged_requests) or self.row.requests
            budget *= 2 if name == "pipelines" else 1
            if self.phase == "warming":
                budget += self.row.job_requests or 3 * self.row.requests
            assert asked <= budget, f"{self.phase}, {name}: {asked} requests"
        self._check_log()

    def _check_answer(self, name: str, index: int, answer: Answer) -> None:
        where = f"{self.phase}, {name} {index}: {answer.status}, {len(answer.body)} bytes, whole {answer.is_whole}"
        outcome = self._outcome(answer)
        if name == "leaves" and answer.has_left:
            assert outcome in ("left", *self.row.expected(self.phase)), where
        elif name == "pipelines" and index == 1:
            # Nothing of that one is wrong, but it may have to be validated, and where nothing is answered it cannot be.
            is_cut_off = self.row.skew or self.row.network is not None
            assert outcome in (("new", *self.row.expected(self.phase)) if is_cut_off else ("new",)), where
        elif name == "pipelines" and index == 2:
            # By then the fault may be over, or the stored entry good again.
            assert outcome in ("new", "cut", *self.row.expected(self.phase)), where
        else:
            assert outcome in self.row.expected(self.phase), f"{where}: {outcome}"
        if outcome == "cut" or outcome.startswith("5"):
            self._check_found(answer, where)

    def _outcome(self, answer: Answer) -> str:
        start, stop = RANGE if answer.status == 206 else (0, None)
        versions = {"new": (NEW_DATA, NEXT_DATA), "old": (OLD_DATA,)}
        if answer.status in (200, 206):
            for outcome, datas in versions.items():
                for data in datas:
                    data = data[start:stop]
                    if answer.is_whole and answer.body == data:
                        return outcome
                    if not answer.is_whole and data.startswith(answer.body):
                        return "left" if answer.has_left else "cut"
                    if answer.body == data[:-1000]:
                        return "short"
            return "wrong bytes"
        if answer.is_whole:
            assert b"<Error><Code>" in answer.body
            return str(answer.status)
        return "left" if answer.has_left else "no answer"

    def _check_found(self, answer: Answer, where: str) -> None:
        """The request id that a client was told finds what happened to it."""
        lines = [line for line in self._events() if line.get("request_id") == answer.request_id]
        assert lines, f"{where}: {answer.request_id!r} is not in the log"
        missing = CONTEXT - set(lines[0])
        assert not missing, f"{where}: {lines[0]} lacks {missing}"

    def _check_log(self) -> None:
        for line in self._events():
            if line["event"] in ("flight_failed", "origin_retry", "origin_resume"):
                missing = CONTEXT - set(line)
                assert not missing, f"{self.phase}: {line} lacks {missing}"
        if self.row.faults and self.row.requests > 1 and self.row.expected(self.phase) is not self.row.ranged:
            assert any(line["event"] in ("origin_retry", "origin_resume") for line in self._events()), self.phase

    def _events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.proxy.log.text.splitlines()]

    async def settle(self) -> None:
        """Nothing is left (F12)."""
        system = self.proxy.system
        with trio.move_on_after(6):
            while not system.coalescer.is_idle or system.reactor.connections:
                await trio.sleep(0.02)
        assert system.coalescer.is_idle, f"{self.phase}: {system.coalescer!r}"
        assert not system.reactor.connections, f"{self.phase}: {system.reactor.connections}"
        assert system.coalescer.waiting == 0


async def open_stage(
    stack: AsyncExitStack, row: Row, phase: str, folder: Path, names: Names, clock: Clock, barrier: Barrier
) -> Stage:
    # What is signed before a jump and checked after it would be refused, and nobody else's clock jumps along.
    credentials = None if row.jump else {ACCESS_KEY: SECRET_KEY}
    origin = EmbeddedOrigin(credentials=credentials, clock=clock.real if row.skew else clock)
    origin.store.make_bucket("bkt")
    host = f"{phase}.test"
    authority = Authority(host, *AUTHORITIES) if row.network == "bad certificate" else None
    front = Front(host, origin, names, authority)
    await stack.enter_async_context(front.running())
    lines, access = Lines(), []
    log = Log(level="debug", stream=lines)  # type: ignore[arg-type]
    config = make_config(front.endpoint, **sections(phase, folder))
    system = await stack.enter_async_context(open_system(config, log=log, write_access=access.append))
    return Stage(row, phase, Proxy(system, origin, lines, access), front, clock, barrier)


def descriptors() -> list[str]:
    """What is open, as the kernel calls it; the numbers of sockets are left out."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}").partition("[")[0])
    return sorted(found)


# A few of them every time, all of them with the slow tests.
QUICK = ("origin refuses", "reset before head, once", "cut, once", "resumed under another ETag", "503, Retry-After")
CASES = [pytest.param(row, id=row.name, marks=() if row.name in QUICK else pytest.mark.slow) for row in ROWS]


async def _run(stage: Stage, folder: Path, wrong: list[str]) -> None:
    try:
        await stage.play(folder)
        stage.check()
        await stage.settle()
    except* AssertionError as group:
        wrong.append(f"{stage.phase}: {''.join(traceback.format_exception(group)[-12:])}")


@pytest.mark.parametrize("row", CASES)
async def test_fault(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gc.collect()
    clock, barrier = Clock(), Barrier(len(PHASES))
    monkeypatch.setattr(time, "time", clock)
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    before = descriptors()
    # Held back until everything is closed: within ten nurseries nobody would see it.
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        stages = [await open_stage(stack, row, phase, tmp_path, names, clock, barrier) for phase in PHASES]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for stage in stages:
                    nursery.start_soon(_run, stage, tmp_path, wrong)
    assert not wrong, "\n".join(wrong)
    del stages, stage
    gc.collect()
    assert descriptors() == before
    assert [names for folder, _, names in os.walk(tmp_path) if folder.endswith("/tmp") and names] == []
    kept = (Flight, Assembly, Reader, Lease, FileBody, Connection, RawResponse)
    assert [found for found in gc.get_objects() if isinstance(found, kept)] == []
