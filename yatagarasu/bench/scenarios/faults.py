"""Survival: every fault of the embedded origin, committed once or always, while a herd waits for the object."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from yatagarasu.bench.measure import measure
from yatagarasu.bench.mix import Item, Items
from yatagarasu.bench.plan import Herd, Plan
from yatagarasu.bench.report import Row, Run
from yatagarasu.bench.scenario import Parameter, Scenario, Server, Stage
from yatagarasu.bench.scenarios import item, number, size
from yatagarasu.units import format_size, parse_duration

_TIMEOUT_SECONDS = 15.0
# Herds at once: they mostly wait.
_AT_ONCE = 4
# An answer with a status of its own, or one that visibly ends early, is a failure that nobody takes for success.
_REFUSED = ("status",)
_CUT = ("short", "closed", "reset", "timeout", "connect")


@dataclass(frozen=True, slots=True)
class OriginFault:
    """A fault as keys describe it; HALF in it is half of the object.

    `is_known`: whether a proxy could know that what it got is wrong; where it could not, wrong bytes are its
    origin's. `changes`: whether the object changes, so that other bytes are right too.
    """

    name: str
    says: str
    once: str
    is_known: bool = True
    changes: bool = False


FAULTS = (
    OriginFault("late", "answers after a second", "latency=1s"),
    OriginFault("slow head", "sends its head byte by byte, 5 ms apart", "slow_head=5ms"),
    OriginFault("slow body", "sends 2 MB a second", "bandwidth=2MB"),
    OriginFault("reset", "resets the connection before its head", "reset_head"),
    OriginFault("closed", "closes the connection before its head", "close_head"),
    OriginFault("garbage", "answers with what is no HTTP", "garbage"),
    OriginFault("huge head", "sends a head of 200 KB", "huge_head"),
    OriginFault("500", "answers 500", "status=500"),
    OriginFault("503", "answers 503, Retry-After: 1", "status=503,retry_after=1"),
    OriginFault("429", "answers 429", "status=429"),
    OriginFault("cut", "closes the connection halfway", "cut=HALF"),
    OriginFault("reset halfway", "resets the connection halfway", "reset=HALF"),
    OriginFault("stall", "says nothing any more halfway", "stall=HALF"),
    OriginFault("chunked cut", "ends halfway, in chunks without a length", "chunked,cut=HALF"),
    OriginFault("long lie", "promises 1,000 bytes more than it sends", "lie=1000"),
    OriginFault("short lie", "promises 1,000 bytes less than it sends", "lie=-1000", is_known=False),
    OriginFault("cut, no ETag", "closes the connection halfway, and has no ETag", "no_etag,cut=HALF"),
    OriginFault("cut, weak ETag", "closes the connection halfway, and has a weak ETag", "weak_etag,cut=HALF"),
    OriginFault("cut, other ETag", "goes on after a cut with another ETag", "cut=HALF;wrong_etag"),
    OriginFault("cut, no range", "goes on after a cut with the whole object", "cut=HALF;ignore_range"),
    OriginFault("cut, wrong range", "goes on after a cut with another range", "cut=HALF;wrong_range"),
    OriginFault(
        "changed", "closes the connection halfway, and the object is another", "cut=HALF,change=HALF", True, True
    ),
)


async def _faults(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    whens = {"once": ("once",), "always": ("always",), "both": ("once", "always")}[settings["when"]]
    names = settings["only"]
    cases = [(fault, when) for fault in FAULTS for when in whens if not names or fault.name in names]
    rows: list[Row] = []
    tables = {
        "coalescing": {"stall_timeout": settings["stall_timeout"]},
        "origin": {"first_byte_timeout": settings["first_byte_timeout"]},
    }
    async with stage.server(tables) as server:
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def herd(fault: OriginFault, when: str) -> None:
            row = Row(scenario="faults", case=f"{fault.name}, {when}", headline=["whole"])
            rows.append(row)
            async with limiter:
                for _ in range(stage.runs):
                    stage.say(f"faults: {row.case}")
                    row.runs.append(await _herd(stage, server, fault, when, settings))
            _judge(row, fault)

        async with trio.open_nursery() as nursery:
            for fault, when in cases:
                nursery.start_soon(herd, fault, when)
    order = {f"{fault.name}, {when}": at for at, (fault, when) in enumerate(cases)}
    return sorted(rows, key=lambda row: order[row.case])


async def _herd(stage: Stage, server: Server, fault: OriginFault, when: str, settings: Mapping[str, Any]) -> Run:
    tag = stage.tag()
    text = fault.once.replace("HALF", str(settings["size"] // 2))
    # What goes on for good has no first answer that is special.
    joint = ";" if when == "once" else ","
    wanted = item(f"{format_size(settings['size'])}{joint}{text}", tag, "object")
    plan = Plan(
        url=server.url,
        mix=Items((Item(wanted.path) if fault.changes else wanted,)),
        arrival=Herd(0.05),
        connections=settings["clients"],
        seconds=None,
        timeout_seconds=_TIMEOUT_SECONDS,
        check=1.0,
        workers=1,
    )
    run = await measure(stage, plan, tag)
    # Herds share the generator's cores: none of them says what the server can do.
    run.limit = None
    errors = Counter(run.errors)
    run.numbers["clients"] = float(settings["clients"])
    run.numbers["whole"] = run.numbers["good"]
    run.numbers["refused"] = float(sum(errors.pop(kind, 0) for kind in _REFUSED))
    run.numbers["cut"] = float(sum(errors.pop(kind, 0) for kind in _CUT))
    run.numbers["wrong"] = float(errors.total())
    return run


def _judge(row: Row, fault: OriginFault) -> None:
    wrong = sum(int(run.numbers["wrong"]) for run in row.runs)
    if fault.is_known:
        text = "no answer that looked whole was wrong" if not wrong else f"{wrong} answers looked whole and were wrong"
        row.check("nothing wrong looks right", not wrong, text)
    row.parameters["the origin"] = fault.says


def _when(text: str) -> str:
    if text not in ("once", "always", "both"):
        raise ValueError("it is once, always or both")
    return text


def _names(text: str) -> tuple[str, ...]:
    known = {fault.name for fault in FAULTS}
    names = tuple(name.strip() for name in text.split(";") if name.strip())
    for name in names:
        if name not in known:
            raise ValueError(f"there is no fault {name!r}; there are: {'; '.join(sorted(known))}")
    return names


def _seconds(text: str) -> str:
    parse_duration(text)
    return text


SURVIVAL = Scenario(
    "faults",
    "every fault of the embedded origin, crossed with a herd: who gets the object all the same",
    _faults,
    (
        number("clients", "32", "in each herd"),
        size("size", "512KiB", "of each object"),
        Parameter("when", "both", _when, "the origin commits each fault once, always, or both in turn"),
        Parameter("only", "", _names, "some faults by name instead of all, with ; between them"),
        Parameter("stall_timeout", "1s", _seconds, "of the private server"),
        Parameter("first_byte_timeout", "5s", _seconds, "of the private server"),
    ),
)
