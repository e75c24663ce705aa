"""Steady loads: hits, misses, a mix of both, ranges, large objects."""

from collections.abc import Mapping
from typing import Any

from yatagarasu.bench.measure import check_answers, check_one_each, measure
from yatagarasu.bench.mix import Items, Keys, Mix, Ranges
from yatagarasu.bench.plan import CLOSED, Arrival, Open, Plan
from yatagarasu.bench.report import Row
from yatagarasu.bench.scenario import Needs, Parameter, Scenario, Server, Stage
from yatagarasu.bench.scenarios import duration, item, number, optional_rate, share, size, sizes
from yatagarasu.units import GIB, format_duration, format_size

# One in so many answers is compared byte by byte: more would cost the generator what it measures with.
_CHECK = 0.02
_ENDLESS = 1_000_000_000
_DISK = {"cache": {"disk": {"path": "FOLDER/disk", "max_size": "64GiB"}}}


def _plan(stage: Stage, server: Server, mix: Mix, arrival: Arrival = CLOSED, **more: Any) -> Plan:
    settings: dict[str, Any] = {"connections": stage.connections, "seconds": stage.seconds, "check": _CHECK} | more
    return Plan(url=server.url, mix=mix, arrival=arrival, server_pids=server.pids, **settings)


def _arrival(rate: float) -> Arrival:
    return Open(rate) if rate else CLOSED


def _warm_up(stage: Stage) -> float:
    return min(1.0, stage.seconds / 4)


async def _hit(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="hit")
    async with stage.server() as server:
        tag = stage.tag()
        items = [item(format_size(settings["size"]), tag, f"k{at}") for at in range(settings["keys"])]
        mix = Items((server.item,) if server.item else tuple(items))
        for number_ in range(stage.runs):
            stage.say(f"hit, run {number_ + 1} of {stage.runs}")
            plan = _plan(stage, server, mix, _arrival(settings["rate"]), warmup_seconds=_warm_up(stage))
            row.runs.append(await measure(stage, plan, tag))
    check_answers(row)
    if server.item is None:
        check_one_each(row)
    return [row]


async def _miss(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="miss")
    async with stage.server() as server:
        for number_ in range(stage.runs):
            stage.say(f"miss, run {number_ + 1} of {stage.runs}")
            tag = stage.tag()
            described = f"{format_size(settings['size'])},latency={format_duration(settings['latency'])}"
            mix = Keys(f"/{described}/{tag}/k", _ENDLESS, sizes=((settings["size"], 1.0),), is_sequential=True)
            row.runs.append(await measure(stage, _plan(stage, server, mix, _arrival(settings["rate"])), tag))
    check_answers(row)
    check_one_each(row)
    return [row]


async def _mixed(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="mixed", headline=["rate", "p99", "hit_ratio"])
    tables = {"cache": {"memory": {"max_size": format_size(settings["memory"])}}}
    async with stage.server(tables) as server:
        for number_ in range(stage.runs):
            stage.say(f"mixed, run {number_ + 1} of {stage.runs}")
            tag = stage.tag()
            mix = Keys(
                f"/{{size}},ttl={int(settings['ttl'])}/{tag}/k",
                settings["keys"],
                exponent=settings["exponent"],
                sizes=settings["sizes"],
            )
            run = await measure(stage, _plan(stage, server, mix, _arrival(settings["rate"])), tag)
            if "origin_requests" in run.numbers and run.numbers["sent"]:
                run.numbers["hit_ratio"] = max(0.0, 1 - run.numbers["origin_requests"] / run.numbers["sent"])
            row.runs.append(run)
    check_answers(row)
    return [row]


async def _range(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="range")
    async with stage.server(_DISK) as server:
        tag = stage.tag()
        whole = server.item or item(format_size(settings["size"]), tag, "object")
        if not (whole.size and whole.size > 1):
            stage.note(f"range: {server.url} has no bytes to ask ranges of")
            return []
        length = min(settings["length"], whole.size)
        if settings["warm"]:
            await stage.load(_plan(stage, server, Items((whole,)), connections=1, count=1, seconds=None))
        for number_ in range(stage.runs):
            stage.say(f"range, run {number_ + 1} of {stage.runs}")
            mix = Ranges((whole,), length, is_sequential=settings["sequential"])
            row.runs.append(await measure(stage, _plan(stage, server, mix, warmup_seconds=_warm_up(stage)), tag))
    check_answers(row)
    return [row]


async def _large(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="large", headline=["throughput"])
    async with stage.server(_DISK) as server:
        tag = stage.tag()
        objects = [item(format_size(settings["size"]), tag, f"o{at}") for at in range(settings["objects"])]
        mix = Items((server.item,) if server.item else tuple(objects))
        connections = settings["connections"]
        for number_ in range(stage.runs):
            stage.say(f"large, run {number_ + 1} of {stage.runs}")
            plan = _plan(stage, server, mix, connections=connections, warmup_seconds=_warm_up(stage))
            row.runs.append(await measure(stage, plan, tag))
    check_answers(row)
    if server.item is None:
        check_one_each(row)
    return [row]


def _truth(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("it is yes or no")
    return text == "yes"


_MAX_MEMORY = format_size(GIB // 4)
HIT = Scenario(
    "hit",
    "objects that are in the cache's memory",
    _hit,
    (
        size("size", "10KiB", "of each object"),
        number("keys", "1", "different objects"),
        optional_rate(),
    ),
    Needs.ANYTHING,
)
MISS = Scenario(
    "miss",
    "every request is for an object that nobody has asked for before",
    _miss,
    (
        size("size", "10KiB", "of each object"),
        duration("latency", "0s", "of the origin, before each answer"),
        optional_rate(),
    ),
)
MIXED = Scenario(
    "mixed",
    "a popular few and a long tail (Zipf), small and large objects, entries that expire",
    _mixed,
    (
        share("exponent", "0.9", "Zipf's: the higher, the fewer objects get most requests"),
        sizes("sizes", "4KiB:60,32KiB:30,256KiB:9,2MiB:1", "of objects, with weights"),
        number("keys", "10000", "different objects"),
        duration("ttl", "60s", "for how long entries are fresh"),
        size("memory", _MAX_MEMORY, "of the private server's cache"),
        optional_rate(),
    ),
)
RANGE = Scenario(
    "range",
    "parts of one large object at random places",
    _range,
    (
        size("size", "64MiB", "of the object"),
        size("length", "64KiB", "of each part"),
        Parameter("sequential", "no", _truth, "yes: one part after the other"),
        Parameter("warm", "yes", _truth, "no: the object is not in the cache at first"),
    ),
    Needs.ANYTHING,
)
LARGE = Scenario(
    "large",
    "objects that are too large for memory",
    _large,
    (
        size("size", "64MiB", "of each object"),
        number("objects", "4", "different objects"),
        number("connections", "4", "clients"),
    ),
    Needs.ANYTHING,
)
