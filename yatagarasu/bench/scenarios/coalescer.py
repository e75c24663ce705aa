"""The coalescer by itself, in this process: what it adds to a request, in ns."""

import time
from collections.abc import Mapping
from io import StringIO
from typing import Any

import trio

from yatagarasu.bench.report import Row, Run
from yatagarasu.bench.scenario import Needs, Scenario, Stage
from yatagarasu.bench.scenarios import number
from yatagarasu.cache.entry import Key
from yatagarasu.cache.memory import MemoryTier
from yatagarasu.cache.policy import Timing
from yatagarasu.cache.tiers import Tiers
from yatagarasu.http.headers import Headers
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.client import OriginRequest, OriginResponse
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.fetch import Fetch, FlightSettings


class _Absent:
    """An answer: there is no such object."""

    status = 404
    headers = Headers([("content-length", "0")])
    endpoint = "nowhere"

    def take_buffered(self) -> bytes:
        return b""

    async def receive_some(self) -> bytes:
        return b""

    async def aclose(self) -> None:
        return


class _EmptyOrigin:
    """Answers at once: what a flight costs over it is the coalescer's own."""

    endpoint = "nowhere"
    key_prefix = ""

    async def open(self, request: OriginRequest) -> OriginResponse:
        return _Absent()

    async def list(self, query: str) -> OriginResponse:
        return _Absent()

    async def check(self) -> None:
        return


async def _coalescer(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="coalescer", headline=["acquire_ns", "release_ns", "join_ns"])
    for at in range(stage.runs):
        stage.say(f"coalescer, run {at + 1} of {stage.runs}")
        row.runs.append(await _run(settings["count"]))
    return [row]


async def _run(count: int) -> Run:
    origin = _EmptyOrigin()
    timing = Timing(negative_ttl=0.0)

    def fetch(name: str) -> Fetch:
        key: Key = ("bench", name, "")  # type: ignore[assignment]
        return Fetch(origin, "bench", name, "", key, key, timing)

    async with trio.open_nursery() as nursery:
        coalescer = Coalescer(
            nursery,
            tiers=Tiers(MemoryTier(1 << 20, 1 << 16)),
            settings=FlightSettings(),
            metrics=Metrics(),
            log=Log(level="error", stream=StringIO()),
            clock=time.time,
        )
        fetches = [fetch(f"k{number_}") for number_ in range(count)]
        acquire = release = join = 0.0
        # A few flights at a time, as a server has them.
        for at in range(0, count, 64):
            batch = fetches[at : at + 64]
            began = time.perf_counter()
            for each in batch:
                coalescer.launch_or_join(each)
            launched = time.perf_counter()
            for each in batch:
                coalescer.launch_or_join(each)
            joined = time.perf_counter()
            while coalescer.flights:
                await trio.lowlevel.checkpoint()
            ended = time.perf_counter()
            acquire += launched - began
            join += joined - launched
            release += ended - joined
        nursery.cancel_scope.cancel()
    numbers = {"acquire_ns": acquire, "release_ns": release, "join_ns": join}
    return Run(numbers={name: seconds / count * 1e9 for name, seconds in numbers.items()})


COALESCER = Scenario(
    "coalescer",
    "what coalescing itself costs: a flight launched, ended, joined, over an origin that answers at once",
    _coalescer,
    (number("count", "20000", "flights"),),
    Needs.OURS,
)
