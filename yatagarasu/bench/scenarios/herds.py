"""Herds: many clients want the same cold object at once."""

from collections.abc import Mapping
from typing import Any

from yatagarasu.bench.measure import check_answers, check_one_each, measure
from yatagarasu.bench.mix import Items, Keys
from yatagarasu.bench.plan import Herd, Plan
from yatagarasu.bench.report import Row
from yatagarasu.bench.scenario import Needs, Scenario, Stage
from yatagarasu.bench.scenarios import duration, item, number, size
from yatagarasu.units import format_duration, format_size

_TIMEOUT_SECONDS = 60.0
_ENDLESS = 1_000_000_000


async def _stampede(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="stampede", headline=["p50", "max"])
    described = f"{format_size(settings['size'])},latency={format_duration(settings['latency'])}"
    async with stage.server() as server:
        for at in range(stage.runs):
            stage.say(f"stampede, run {at + 1} of {stage.runs}")
            tag = stage.tag()
            plan = Plan(
                url=server.url,
                mix=Items((item(described, tag, "object"),)),
                arrival=Herd(settings["jitter"]),
                connections=settings["clients"],
                seconds=None,
                timeout_seconds=_TIMEOUT_SECONDS,
                check=1.0,
                server_pids=server.pids,
            )
            row.runs.append(await measure(stage, plan, tag))
    check_answers(row)
    check_one_each(row)
    return [row]


async def _coalescing(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    """The same load in turn on a server that coalesces and one that does not."""
    rows = {}
    for case in ("off", "on"):
        rows[case] = Row(scenario="coalescing", case=case)
    for at in range(stage.runs):
        for case, row in rows.items():
            async with stage.server({"coalescing": {"enabled": case == "on"}}) as server:
                stage.say(f"coalescing {case}, run {at + 1} of {stage.runs}")
                tag = stage.tag()
                described = f"{format_size(settings['size'])},latency={format_duration(settings['latency'])}"
                mix = Keys(
                    f"/{described}/{tag}/k",
                    _ENDLESS,
                    sizes=((settings["size"], 1.0),),
                    is_sequential=True,
                    repeat=settings["clients"],
                )
                plan = Plan(
                    url=server.url,
                    mix=mix,
                    connections=settings["clients"] * settings["objects"],
                    seconds=stage.seconds,
                    warmup_seconds=min(1.0, stage.seconds / 4),
                    timeout_seconds=_TIMEOUT_SECONDS,
                    check=0.02,
                    server_pids=server.pids,
                )
                row.runs.append(await measure(stage, plan, tag))
    off, on = rows["off"], rows["on"]
    for before, after in zip(off.runs, on.runs, strict=True):
        after.numbers["speedup"] = after.numbers["rate"] / before.numbers["rate"] if before.numbers["rate"] else 0.0
    on.headline = ["rate", "p99", "speedup"]
    check_answers(off)
    check_answers(on)
    check_one_each(on)
    return [off, on]


STAMPEDE = Scenario(
    "stampede",
    "a herd of clients asks for one cold object: the origin must be asked once",
    _stampede,
    (
        number("clients", "500", "that ask at once"),
        duration("latency", "100ms", "of the origin, before its answer"),
        size("size", "1MiB", "of the object"),
        duration("jitter", "0s", "clients come within this time"),
    ),
)
COALESCING = Scenario(
    "coalescing",
    "the same load with coalescing off and on: herds on one cold object after the other",
    _coalescing,
    (
        number("clients", "64", "that want each object"),
        number("objects", "8", "wanted at the same time"),
        size("size", "64KiB", "of each object"),
        duration("latency", "20ms", "of the origin, before each answer"),
    ),
    Needs.OURS,
)
