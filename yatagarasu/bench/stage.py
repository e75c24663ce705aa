"""Stages: our own server before the embedded origin, or somebody else's; both with the load generator beside them."""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx
import trio

from yatagarasu.bench import load
from yatagarasu.bench.counts import OriginCounts
from yatagarasu.bench.mix import Item
from yatagarasu.bench.origin import COUNTS_PATH, EmbeddedOrigin
from yatagarasu.bench.plan import Plan
from yatagarasu.bench.private import open_private, private_config
from yatagarasu.bench.result import Result
from yatagarasu.bench.scenario import BUCKET, Needs, Server, Tables
from yatagarasu.errors import ConfigError

_PROBE_SECONDS = 5.0


class Watcher(Protocol):
    """Whoever watches a bench."""

    def say(self, text: str) -> None:
        """Take notice of what is going on."""
        ...

    def progress(self, progress: load.Progress) -> None:
        """Take notice of how a load gets on; called in a thread."""
        ...


@dataclass(kw_only=True)
class _Stage:
    """What all stages do alike."""

    watcher: Watcher
    seconds: float = 5.0
    runs: int = 3
    connections: int = 32
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._run = secrets.token_hex(3)
        self._numbers = count()

    def tag(self) -> str:
        """A part of a key that no key had before."""
        return f"{self._run}-{next(self._numbers)}"

    async def load(self, plan: Plan) -> Result:
        """Run a load in a thread."""

        def tell(progress: load.Progress) -> None:
            trio.from_thread.check_cancelled()
            self.watcher.progress(progress)

        return await trio.to_thread.run_sync(partial(load.run, plan, tell))

    def say(self, text: str) -> None:
        """Tell whoever watches what is going on."""
        self.watcher.say(text)

    def note(self, text: str) -> None:
        """Something that a reader of the figures must know."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(kw_only=True)
class LocalStage(_Stage):
    """Private servers in front of the embedded origin, which is in this process.

    `own` is a config to be measured. Servers have the first `workers` cores of this machine, everybody else the rest.
    """

    origin: EmbeddedOrigin
    folder: Path
    cores: list[int]
    own: Mapping[str, Any] | None = None
    needs = Needs.OURS

    @asynccontextmanager
    async def _server(self, tables: Tables) -> AsyncIterator[Server]:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            config = private_config(self.own, tables, self.origin.endpoint, Path(name))
            workers = (self.own or {}).get("server", {}).get("workers", 1)
            wanted = len(self.cores) if workers == "auto" else int(workers)
            # On one core only the kernel's scheduler knows better.
            cores = set(self.cores[: max(1, wanted)]) if len(self.cores) > 1 else set()
            async with open_private(config, Path(name), cores) as server:
                yield server

    def server(self, tables: Tables | None = None) -> AbstractAsyncContextManager[Server]:
        """A private `serve` with an empty cache."""
        return self._server(tables or {})

    async def counts(self, tag: str) -> OriginCounts | None:
        """What the embedded origin was asked."""
        return self.origin.counts.total(tag)


@asynccontextmanager
async def open_local(
    watcher: Watcher, own: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[LocalStage]:
    """Run the embedded origin for as long as the context lasts."""
    cores = sorted(os.sched_getaffinity(0))
    origin = embedded_origin()
    with tempfile.TemporaryDirectory(prefix="yatagarasu-bench-") as folder, _pinned(set(cores[1:])):
        async with trio.open_nursery() as nursery:
            await nursery.start(origin.serve)
            yield LocalStage(watcher=watcher, origin=origin, folder=Path(folder), cores=cores, own=own, **settings)
            nursery.cancel_scope.cancel()


def embedded_origin(host: str = "127.0.0.1", port: int = 0) -> EmbeddedOrigin:
    """The origin of benchmarks: one bucket of objects on demand."""
    origin = EmbeddedOrigin(host=host, port=port)
    origin.store.make_bucket(BUCKET)
    origin.store.on_demand.add(BUCKET)
    return origin


@contextmanager
def _pinned(cores: set[int]) -> Iterator[None]:
    """Leave the first core to the server."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(kw_only=True)
class ForeignStage(_Stage):
    """Somebody else's server.

    `origin_url` is that of the embedded origin which it is in front of; None where it is in front of anything else.
    """

    target: Server
    origin_url: str | None

    @property
    def needs(self) -> Needs:
        """What can be measured there."""
        return Needs.ANYTHING if self.origin_url is None else Needs.ORIGIN

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Server]:
        yield self.target

    def server(self, tables: Tables | None = None) -> AbstractAsyncContextManager[Server]:
        """It, as it is."""
        return self._server()

    async def counts(self, tag: str) -> OriginCounts | None:
        """What the embedded origin says that it was asked."""
        if self.origin_url is None:
            return None
        async with httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{self.origin_url}{COUNTS_PATH}", params={"tag": tag})
        return OriginCounts.from_json(answer.content)


@asynccontextmanager
async def open_foreign(
    watcher: Watcher, url: str, origin_url: str | None, pids: tuple[int, ...] = (), **settings: Any
) -> AsyncIterator[ForeignStage]:
    """A stage for what answers at `url`.

    Raises:
        ConfigError: it does not answer, or what should be the embedded origin is none.
    """
    server = Server(url.rstrip("/") if origin_url else url, pids)
    stage = ForeignStage(watcher=watcher, target=server, origin_url=origin_url and origin_url.rstrip("/"), **settings)
    if origin_url is None:
        stage.target = replace(server, item=Item(size=await _size_of(url)))
    else:
        try:
            await stage.counts("none")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as exc:
            raise ConfigError(f"{origin_url} is not the origin of bench --origin-listen: {exc or type(exc)}") from exc
        await _size_of(f"{server.url}/1KiB/{stage.tag()}/probe", wanted=1024)
    yield stage


async def _size_of(url: str, wanted: int | None = None) -> int:
    try:
        async with httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False, verify=True) as client:
            answer = await client.get(url, headers={"accept-encoding": "identity"})
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ConfigError(f"cannot measure {url}: {exc or type(exc).__name__}") from exc
    if answer.status_code != 200:
        raise ConfigError(f"cannot measure {url}: it answers {answer.status_code}")
    if wanted not in (None, len(answer.content)):
        raise ConfigError(
            f"{url} answers, but not with the embedded origin's object: is its bucket /{BUCKET} behind it?"
        )
    return len(answer.content)
