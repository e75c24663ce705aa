"""What a scenario is, and what it may ask of the stage that it runs on."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from yatagarasu.bench.counts import OriginCounts
from yatagarasu.bench.mix import Item
from yatagarasu.bench.plan import Plan
from yatagarasu.bench.report import Row
from yatagarasu.bench.result import Result
from yatagarasu.errors import ConfigError

# The embedded origin's bucket, and the route to it of a server of our own.
BUCKET = "bench"

# TOML tables that a scenario wants a server of our own to have.
Tables = Mapping[str, Mapping[str, Any]]


class Needs(Enum):
    """What a scenario can measure."""

    ANYTHING = "any URL"
    ORIGIN = "a server in front of the embedded origin"
    OURS = "our own server"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something about a scenario that can be set: `name=value` on the command line.

    Args:
        default: as a person would write it.
        parse: of what a person has written; raises ValueError.
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str


@dataclass(frozen=True, slots=True)
class Server:
    """Something to measure.

    Args:
        url: where the origin's bucket is, no slash at the end: `url + "/key"`; or an object of somebody else's.
        pids: roots of its process trees; none where they are not known.
        item: the only thing that can be asked for there; None where the embedded origin's objects on demand are.
    """

    url: str
    pids: tuple[int, ...] = ()
    item: Item | None = None


class Stage(Protocol):
    """Where a scenario runs: an origin, servers in front of it, a load generator away from their cores."""

    seconds: float
    """How long one load takes."""
    runs: int
    """How often each case is run."""
    connections: int
    """Clients, where the scenario has no number of its own."""

    @property
    def needs(self) -> Needs:
        """The most that a scenario may need here."""
        ...

    def server(self, tables: Tables | None = None) -> AbstractAsyncContextManager[Server]:
        """What is measured, for as long as the context lasts.

        Of our own, a private `serve` with an empty cache; `tables` are laid over the stage's config. "FOLDER" in
        their strings is a folder that goes with the server. Somebody else's is as it is.
        """
        ...

    def tag(self) -> str:
        """A part of a key that no key had before: `SIZE/TAG/name` is cold, and counted by itself."""
        ...

    async def counts(self, tag: str) -> OriginCounts | None:
        """What the origin was asked for keys with `/tag/` in them; None where it cannot be asked."""
        ...

    async def load(self, plan: Plan) -> Result:
        """Run a load, in a thread; told to whoever watches. Cancellation ends it."""
        ...

    def say(self, text: str) -> None:
        """Tell whoever watches what is going on."""
        ...

    def note(self, text: str) -> None:
        """Something that a reader of the figures must know."""
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something worth measuring.

    Args:
        summary: one sentence, what it measures.
        run: with parameters by name, parsed; its rows.
        needs: what it can measure.
    """

    name: str
    summary: str
    run: Callable[[Stage, Mapping[str, Any]], Awaitable[list[Row]]]
    parameters: tuple[Parameter, ...] = ()
    needs: Needs = Needs.ORIGIN

    def settings(self, given: Mapping[str, str]) -> dict[str, Any]:
        """All parameters, parsed: those given, the others at their defaults.

        Raises:
            ConfigError: names the parameter, and those that there are.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                names = ", ".join(known) or "none"
                raise ConfigError(f"{self.name} has no parameter {name!r}; there are: {names}")
        found = {}
        for name, parameter in known.items():
            text = given.get(name, parameter.default)
            try:
                found[name] = parameter.parse(text)
            except ValueError as exc:
                raise ConfigError(f"{self.name}: {name}={text}: {exc}") from exc
        return found
