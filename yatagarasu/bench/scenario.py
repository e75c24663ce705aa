"""What a scenario is, and what it may ask of the stage that it runs on."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.plan import Plan
from yatagarasu.bench.report import Row
from yatagarasu.bench.result import Result
from yatagarasu.errors import ConfigError

# The embedded origin's bucket, and the route to it of a server of our own.
BUCKET = "bench"


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
        url: where the origin's bucket is, no slash at the end: `url + "/key"`.
        pids: roots of its process trees; none where it is somebody else's.
        admin_url: of a server of our own.
    """

    url: str
    pids: tuple[int, ...] = ()
    admin_url: str | None = None


class Stage(Protocol):
    """Where a scenario runs: an origin, servers in front of it, a load generator away from their cores."""

    seconds: float
    """How long one load takes."""
    runs: int
    """How often each case is run."""
    connections: int
    """Clients, where the scenario has no number of its own."""

    @property
    def origin(self) -> EmbeddedOrigin:
        """The embedded origin, in this process; scenarios put objects and faults into it. Bucket `BUCKET`."""
        ...

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else's server is measured: it cannot be configured, or started with an empty cache."""
        ...

    def server(self, extra: str = "", *, workers: int = 1) -> AbstractAsyncContextManager[Server]:
        """A private `serve` with an empty cache in front of the origin, for as long as the context lasts.

        Args:
            extra: TOML put behind the stage's own, which has `[server]`, `[admin]`, `[log]`; a string may hold
                `[cache]`, `[coalescing]`, `[origin]` tables.
        """
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
        takes_target: whether somebody else's server can be measured with it.
    """

    name: str
    summary: str
    run: Callable[[Stage, Mapping[str, Any]], Awaitable[list[Row]]]
    parameters: tuple[Parameter, ...] = ()
    takes_target: bool = True

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
