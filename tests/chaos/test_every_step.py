"""A client that leaves at each step of each task in turn: it costs nobody else anything, and nothing of it is left.

A scenario is three clients and an origin in memory, on a clock that jumps; it takes some hundred steps of trio's tasks.
In one play after the other the same client is cancelled behind the first step, the second, and so on.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin
from yatagarasu.cache.policy import Timing
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.flight import Flight

_WAIT_HEAD = Coalescer.wait_head
DATA, NEXT = (random.Random(seed).randbytes(6_000) for seed in (21, 22))
SLOW = {"chunk_bytes": 1_000, "chunk_seconds": 0.01}


@dataclass(frozen=True)
class Scenario:
    """What three clients ask for, when, and what the origin does.

    Attributes:
        plays: the origin's answers, the last one for all that follow; it is asked at most so often per client that
            needs it: `requests` in all where nobody leaves.
        asks: of each client: seconds, method, fields.
        before: whether the object is stored beforehand, and has expired.
        may_cut: whether those who stay may be cut by what the origin does.
    """

    plays: Callable[[ScriptedOrigin], Sequence[Play]]
    requests: int
    asks: Sequence[tuple[float, str, dict[str, str]]] = ((0.0, "GET", {}), (0.0, "GET", {}), (0.045, "GET", {}))
    before: bool = False
    may_cut: bool = False
    timing: Timing = field(default_factory=lambda: Timing(ttl=60.0))
    settings: dict[str, Any] = field(default_factory=dict)


def _replaced(origin: ScriptedOrigin) -> Sequence[Play]:
    def replace() -> None:
        origin.objects["k"] = NEXT

    return [Play(**SLOW, cut_after=3_000), Play(**SLOW, then=replace), Play(**SLOW)]


RANGES = ((0.0, "GET", {"range": "bytes=0-1999"}), (0.0, "GET", {"range": "bytes=1000-3999"}), (0.02, "GET", {}))
WITHOUT_ETAG = {"without": ("etag",)}
SCENARIOS = {
    "cold": Scenario(lambda _: [Play(latency=0.03, **SLOW)], 1),
    "resumed": Scenario(lambda _: [Play(**SLOW, cut_after=3_000), Play(**SLOW)], 2),
    "stalled": Scenario(lambda _: [Play(**SLOW, stall_after=2_000), Play(**SLOW)], 2),
    "refused at first": Scenario(lambda _: [Play(status=503), Play(**SLOW)], 2),
    "begun again": Scenario(
        lambda _: [Play(**SLOW, cut_after=0, **WITHOUT_ETAG), Play(**SLOW, **WITHOUT_ETAG)], 2, may_cut=True
    ),
    "replaced": Scenario(_replaced, 4, may_cut=True),
    "ranges": Scenario(lambda _: [Play(latency=0.01, **SLOW)], 4, asks=RANGES, settings={"block_size": 1_000}),
    "private": Scenario(lambda _: [Play(latency=0.02, **SLOW, headers=(("cache-control", "private"),))], 3),
    "validated": Scenario(lambda _: [Play(latency=0.03)], 1, before=True),
    "stale at once": Scenario(
        lambda _: [Play(latency=0.03)], 1, before=True, timing=Timing(ttl=60.0, stale_while_revalidate=600.0)
    ),
    "HEAD, then GET": Scenario(
        lambda _: [Play(latency=0.02, **SLOW)],
        2,
        asks=((0.0, "HEAD", {}), (0.01, "GET", {}), (0.03, "GET", {"range": "bytes=-500"})),
    ),
}


class Leaving(trio.abc.Instrument):
    """Cancels everybody's scope behind a step."""

    def __init__(self, at: int | None, clients: int) -> None:
        self.scopes = [trio.CancelScope() for _ in range(clients)]
        self.steps = 0
        self._at = at
        self.is_watching = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if self.is_watching:
            self.steps += 1
            if self.steps == self._at:
                for scope in self.scopes:
                    scope.cancel()


async def _play(scenario: Scenario, victims: tuple[int, ...], leaving: Leaving) -> None:
    async with trio.open_nursery() as nursery:
        origin = ScriptedOrigin(objects={"k": DATA})
        rig = Rig(
            nursery, origin, timing=scenario.timing, memory_bytes=100_000,
            settings=FlightSettings(stall_timeout=0.5, **scenario.settings),
        )  # fmt: skip
        if scenario.before:
            assert (await rig.ask()).body == DATA
            await trio.sleep(100)
        asked_before = len(origin.requests)
        *origin.plays, origin.default = scenario.plays(origin)
        clients = [RecordingClient() for _ in scenario.asks]

        async def one(index: int) -> None:
            seconds, method, fields = scenario.asks[index]
            with leaving.scopes[index] if index in victims else trio.CancelScope():
                await trio.sleep(seconds)
                await rig.ask(method=method, client=clients[index], **fields)

        leaving.is_watching = True
        with trio.fail_after(60):
            async with trio.open_nursery() as visitors:
                for index in range(len(clients)):
                    visitors.start_soon(one, index)
        leaving.is_watching = False
        for index, client in enumerate(clients):
            _check(scenario, scenario.asks[index], client, may_leave=index in victims)
        assert len(origin.requests) - asked_before <= scenario.requests
        await rig.settle()
        origin.plays, origin.default = [], Play()
        late = await rig.ask()
        assert (late.status, late.is_whole) == (200, True)
        assert late.body == origin.objects["k"] or (late.body == DATA and late.header("x-cache") == "HIT")
        await rig.settle()
        nursery.cancel_scope.cancel()


def _check(
    scenario: Scenario, ask: tuple[float, str, dict[str, str]], client: RecordingClient, *, may_leave: bool
) -> None:
    _, method, fields = ask
    bodies = [DATA, NEXT]
    if "range" in fields:
        first, _, last = fields["range"].removeprefix("bytes=").partition("-")
        start, stop = (int(first), int(last) + 1) if first else (len(DATA) - int(last), len(DATA))
        bodies = [data[start:stop] for data in bodies]
    if client.result is None:
        assert may_leave
    if client.result is None or not client.result.is_clean:
        assert may_leave or scenario.may_cut, f"{client.result}, {len(client.body)} bytes"
        assert any(data.startswith(client.body) for data in bodies)
        return
    assert client.status == (206 if "range" in fields else 200)
    assert client.is_whole or method == "HEAD"
    assert client.body in (bodies if method == "GET" else [b""])


def play(scenario: Scenario, victims: tuple[int, ...], at: int | None) -> int:
    """Play once; how many steps it took."""
    leaving = Leaving(at, len(scenario.asks))
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(1)  # type: ignore[attr-defined]
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(_play, scenario, victims, leaving, clock=clock, instruments=[leaving])
    return leaving.steps


# Each of three alone, two of them together, all of them.
LEAVING = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("victims", LEAVING, ids=str)
@pytest.mark.parametrize("name", SCENARIOS)
def test_who_leaves_at_any_step_costs_the_others_nothing(name: str, victims: tuple[int, ...]):
    scenario = SCENARIOS[name]
    steps = play(scenario, victims, None)
    assert steps >= 12
    for at in range(1, steps + 1):
        try:
            play(scenario, victims, at)
        except Exception as exc:
            exc.add_note(f"clients {victims} of {name!r} left behind step {at} of {steps}")
            raise


def test_the_clients_of_a_cold_object_would_notice_a_leader_that_takes_the_flight_along(monkeypatch):
    """The sweep can fail: a flight that is cancelled with its first client is flown again for the others."""

    async def wait_head(self: Coalescer, flight: Flight, *, is_leader: bool) -> object:
        try:
            return await _WAIT_HEAD(self, flight, is_leader=is_leader)
        except trio.Cancelled:
            flight.scope.cancel()
            raise

    monkeypatch.setattr(Coalescer, "wait_head", wait_head)
    steps = play(SCENARIOS["cold"], (0,), None)
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True):
        for at in range(1, steps + 1):
            play(SCENARIOS["cold"], (0,), at)
