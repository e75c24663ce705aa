"""What a load is: where to, what for, how much of it, how it is checked. Plain values that travel as JSON."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

from yatagarasu.bench.mix import WHOLE_URL, Item, Items, Keys, Mix, Ranges
from yatagarasu.errors import ConfigError

# What the histogram can hold, with room for the wait for the last answer.
_MAX_SECONDS = 7200.0
_MAX_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Closed:
    """Each connection asks again as soon as it has its answer: how much the server can do."""


@dataclass(frozen=True, slots=True)
class Open:
    """`rate` requests per second in all, whatever the answers do: how the server feels at that rate.

    Each has its intended time, and its latency counts from there, as Gil Tene has it: a server that stalls keeps
    the requests behind the stall waiting too. `is_poisson`: arrivals of independent clients; else at even steps.
    """

    rate: float
    is_poisson: bool = True


@dataclass(frozen=True, slots=True)
class Herd:
    """Every connection asks once, at a time of its own in the first `jitter_seconds`: a stampede."""

    jitter_seconds: float = 0.0


Arrival = Closed | Open | Herd
CLOSED = Closed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A load.

    Args:
        url: http or https; what its host is at is looked up once.
        unix_path: connect there instead; the URL's host is only named in requests.
        connections: in all, opened before the load starts.
        seconds: how long requests start after the warm-up; None is until `count`.
        count: requests in all; whichever is reached first ends the load. None is without bound.
        warmup_seconds: load that is not measured, before that which is.
        check: share (0-1) of bodies compared byte by byte, of those that are known.
        timeout_seconds: from sending a request to the end of its answer.
        workers: processes; None is one for each core, eight at the most.
        cores: cores they are pinned to, in turn; None is those that no process of `server_pids` is pinned to.
        server_pids: roots of the process trees whose share of a core is measured.
        ca_file: trusted for https in place of the system's; `is_insecure` trusts everybody.
    """

    url: str
    mix: Mix = WHOLE_URL
    arrival: Arrival = CLOSED
    connections: int = 32
    seconds: float | None = 5.0
    count: int | None = None
    warmup_seconds: float = 0.0
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    is_kept_alive: bool = True
    check: float = 0.0
    timeout_seconds: float = 30.0
    seed: int = 1
    workers: int | None = None
    cores: tuple[int, ...] | None = None
    server_pids: tuple[int, ...] = ()
    unix_path: str | None = None
    ca_file: str | None = None
    is_insecure: bool = False

    def __post_init__(self) -> None:
        for wrong, problem in self._problems():
            if wrong:
                raise ConfigError(f"this load cannot run: {problem}")

    def _problems(self) -> list[tuple[bool, str]]:
        is_herd = isinstance(self.arrival, Herd)
        items = self.mix.items if isinstance(self.mix, Items | Ranges) else (None,)
        return [
            (self.connections < 1, "it needs a connection"),
            (self.workers is not None and self.workers < 1, "it needs a worker"),
            (not items, "it asks for nothing"),
            (isinstance(self.mix, Keys) and self.mix.count < 1, "it asks for no key"),
            (isinstance(self.mix, Ranges) and self.mix.length < 1, "ranges need a length"),
            (isinstance(self.mix, Ranges) and not all(i.size for i in self.mix.items), "ranges need known sizes"),
            (isinstance(self.arrival, Open) and self.arrival.rate <= 0, "its rate must be positive"),
            (self.seconds is None and self.count is None and not is_herd, "it has no end: give seconds or a count"),
            (self.seconds is not None and not 0 < self.seconds <= _MAX_SECONDS, "seconds must be 0 to 7200"),
            (self.count is not None and self.count < 1, "its count must be positive"),
            (self.count is not None and self.warmup_seconds > 0, "a count of requests leaves nothing to warm up"),
            (not 0 <= self.check <= 1, "the share of bodies to check must be 0 to 1"),
            (self.method not in ("GET", "HEAD"), "the method must be GET or HEAD"),
            (not 0 < self.timeout_seconds <= _MAX_SECONDS, "the timeout must be 0 to 7200 seconds"),
        ]

    def to_json(self) -> str:
        """All of it on one line."""
        kinds = {"mix": type(self.mix).__name__, "arrival": type(self.arrival).__name__}
        return json.dumps(asdict(self) | {"kinds": kinds})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        kinds = found.pop("kinds")
        mix = {name: _tuples(value) for name, value in found.pop("mix").items()}
        if "items" in mix:
            mix["items"] = tuple(Item(**item) for item in mix["items"])
        return cls(
            mix=_KINDS[kinds["mix"]](**mix),
            arrival=_KINDS[kinds["arrival"]](**found.pop("arrival")),
            **{name: _tuples(value) for name, value in found.items()},
        )


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers does of a plan."""

    index: int
    workers: int
    connections: int
    count: int | None

    @property
    def of_rate(self) -> float:
        """Its part of the rate."""
        return 1 / self.workers


def shares(plan: Plan, cores: int) -> list[Share]:
    """Divide a plan among workers, as many as it says or as there are cores to run them."""
    workers = min(plan.workers or min(cores, _MAX_WORKERS), plan.connections, plan.count or plan.connections)

    def part(total: int, index: int) -> int:
        return total // workers + (index < total % workers)

    return [
        Share(index, workers, part(plan.connections, index), None if plan.count is None else part(plan.count, index))
        for index in range(workers)
    ]


def cores_of(plan: Plan) -> list[int]:
    """The cores for its workers: away from those that a server is pinned to, where any are left."""
    if plan.cores is not None:
        return list(plan.cores)
    ours = os.sched_getaffinity(0)
    taken: set[int] = set()
    for pid in plan.server_pids:
        with suppress(ProcessLookupError):
            taken |= os.sched_getaffinity(pid)
    return sorted(ours - taken or ours)


_KINDS: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (Items, Keys, Ranges, Closed, Open, Herd)}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
