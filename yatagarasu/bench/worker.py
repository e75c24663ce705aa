"""`python -m yatagarasu.bench.worker`: one process of the load generator; it shares nothing with the others.

A line of JSON in (its order), a line out once its connections stand, a line in (when to start, monotonic ns), then
lines out: how it gets on, ten times a second, and what it has counted, last.
"""

import gc
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from random import Random
from typing import Any

from yatagarasu.bench.endpoint import Endpoint, make_ask
from yatagarasu.bench.engine import Engine
from yatagarasu.bench.mix import Ask, Item
from yatagarasu.bench.plan import Plan, Share
from yatagarasu.bench.sockets import tls_context


def write_order(plan: Plan, share: Share, endpoint: Endpoint, core: int | None) -> bytes:
    """The first line for a worker."""
    order = {"plan": plan.to_json(), "share": asdict(share), "endpoint": asdict(endpoint), "core": core}
    return json.dumps(order).encode() + b"\n"


def read_order(line: bytes) -> tuple[Plan, Share, Endpoint, int | None]:
    """What `write_order` wrote."""
    order: dict[str, Any] = json.loads(line)
    endpoint = Endpoint(**order["endpoint"])
    if endpoint.family != socket.AF_UNIX:
        endpoint = Endpoint(**order["endpoint"] | {"address": tuple(endpoint.address)})
    return Plan.from_json(order["plan"]), Share(**order["share"]), endpoint, order["core"]


def draw_asks(plan: Plan, share: Share, endpoint: Endpoint) -> Iterator[Ask]:
    """What a worker asks for, without end."""

    def make(item: Item, start: int | None, stop: int | None) -> Ask:
        return make_ask(plan, endpoint, item, start, stop)

    return plan.mix.draw(Random(f"{plan.seed}/{share.index}/mix"), make, share.index, share.workers)


def main() -> None:
    """Carry out one order."""
    plan, share, endpoint, core = read_order(sys.stdin.buffer.readline())
    if core is not None:
        os.sched_setaffinity(0, {core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        # Timers of a process may be 50 µs late by default: as much as an answer takes.
        with open("/proc/self/timerslack_ns", "w") as slack:
            slack.write("1")
    except OSError:
        pass  # Requests of an open loop go out a little later, and `lateness` shows it.
    tls = tls_context(plan) if endpoint.tls_name is not None else None

    def tell(**said: object) -> None:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    def tick(answers: int, body_bytes: int, errors: int) -> None:
        tell(progress=(answers, body_bytes, errors))

    engine = Engine(plan, share, endpoint, draw_asks(plan, share, endpoint), tls=tls, core=core, on_tick=tick)
    engine.open()
    # Nothing that lives through the run is looked at by the collector, and the run itself makes no cycles.
    gc.collect()
    gc.freeze()
    tell(open=True)
    start = sys.stdin.buffer.readline()
    if start:
        tell(tally=engine.run(int(start)).to_dict())


if __name__ == "__main__":
    main()
