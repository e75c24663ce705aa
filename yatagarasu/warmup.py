"""Warming put together: which cache, how it is reached, where the items come from.

Without a server the cache directory is taken and filled from inside; with one, whatever it serves is asked for.
"""

import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches
from itertools import chain

import trio

from yatagarasu.cache.disk.folder import FolderInUse, take_folder
from yatagarasu.cache.tiers import Tiers
from yatagarasu.config.model import Config
from yatagarasu.errors import ConfigError
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.credentials import AwsChain
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.parts import flight_settings, new_log, new_route, new_tiers, new_transport
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.errand import Errands
from yatagarasu.proxy.finder import Finder
from yatagarasu.proxy.router import Route, Router
from yatagarasu.warm.inside import InsideWarmer
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.lists import read_list
from yatagarasu.warm.order import Order
from yatagarasu.warm.outcome import Warmer
from yatagarasu.warm.places import Finds, OnePlace, Place, Places
from yatagarasu.warm.sources import Listing, Lists, Source
from yatagarasu.warm.via import ViaWarmer, parse_address

_CLOSE_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
# A proxy may have to fetch an object and retry before it says anything.
_FIRST_BYTE_SECONDS = 120.0


def places_of(config: Config, bucket: str | None) -> Places:
    """Where items are in a config; those that name no bucket are of `bucket`, or of the only one there is.

    Raises:
        ConfigError: there is no such bucket.
    """
    places = [
        Place(
            each.name,
            each.path_prefix.rstrip("/"),
            each.s3.bucket if each.s3 is not None else None,
            each.s3.key_prefix if each.s3 is not None else "",
        )
        for each in config.buckets
    ]
    if bucket is None:
        return Places(places, places[0] if len(places) == 1 else None)
    return Places(places, places[index_of(config, bucket)])


def index_of(config: Config, bucket: str | None) -> int:
    """The index of a bucket by its name; None is the only one. Raises ConfigError, with the names that there are."""
    names = [each.name for each in config.buckets]
    if bucket is None and len(names) == 1:
        return 0
    if bucket in names:
        return names.index(bucket)
    if bucket is None:
        raise ConfigError(f"say which bucket: there are {', '.join(names)}")
    close = get_close_matches(bucket, names, 1)
    hint = f'; did you mean "{close[0]}"?' if close else f"; there are: {', '.join(names)}"
    raise ConfigError(f"the config has no bucket {bucket!r}{hint}")


def source_of(order: Order, route_of: Callable[[], Route]) -> Callable[[], Source]:
    """How to open an order's list: its files one after the other, or the listing of its bucket.

    Raises:
        ConfigError: it names neither.
    """
    if order.lists:
        return lambda: Lists(_read_all(order.lists, order.format))
    if order.prefix is None:
        raise ConfigError('nothing to warm: give object lists, or a prefix ("" is the whole bucket)')
    prefix = order.prefix
    route_of()
    return lambda: Listing(route_of(), prefix)


def _read_all(paths: Sequence[str], format: str | None) -> Iterator[Item | Malformed]:
    return chain.from_iterable(read_list(path, format=format) for path in paths)


class Reach:
    """How a cache is warmed: by whom, and whose listings there are.

    Attributes:
        said: a sentence about it.
    """

    def __init__(self, warmer: Warmer, route_of: Callable[[], Route], said: str) -> None:
        self.warmer = warmer
        self.route_of = route_of
        self.said = said


@asynccontextmanager
async def open_reach(config: Config | None, order: Order, via: str | None) -> AsyncIterator[Reach]:
    """The way to a cache as a context manager; leaving it writes what waits for the disk.

    Args:
        config: None where there is but an address.
        via: where a server answers; None takes the config's directory, or asks the server that has it.

    Raises:
        ConfigError: there is no way.
    """
    filters = order.filters(time.time())
    if via is not None or config is None:
        if via is None:
            raise ConfigError("give --config or --via")
        places: Finds = places_of(config, order.bucket) if config is not None else OnePlace()
        async with _open_via(via, places, order, config, f"through {via}") as reach:
            yield reach
        return
    disk = config.cache.disk
    if disk is None:
        first = config.server.listen[0] if config.server.listen else "host:port"
        raise ConfigError(f"there is no cache.disk to warm; to warm a running server's memory: --via {_url_of(first)}")
    try:
        lock = take_folder(disk.path)
    except FolderInUse as exc:
        address = next(iter(exc.holder.get("listen", ())), None)
        if address is None:
            raise ConfigError(f"{exc}, which does not say where it listens: give --via URL") from exc
        places = places_of(config, order.bucket)
        said = f"through the server at {address}, which has {disk.path}"
        async with _open_via(_url_of(address), places, order, config, said) as reach:
            yield reach
        return
    try:
        log = new_log(config)
        async with _open_inside(config, order, log) as (router, errands, tiers):
            places = places_of(config, order.bucket)
            warmer = InsideWarmer(lambda: places, lambda: (router, errands), tiers, filters)
            routes = router.routes
            yield Reach(warmer, lambda: routes[index_of(config, order.bucket)], f"into {disk.path}")
    finally:
        os.close(lock)


@asynccontextmanager
async def _open_inside(config: Config, order: Order, log: Log) -> AsyncIterator[tuple[Router, Errands, Tiers]]:
    """The proxy's core without its listeners."""
    transport = new_transport(config)
    async with trio.open_nursery() as nursery:
        tiers = new_tiers(config, log, has_clients=False)
        coalescer = Coalescer(
            nursery,
            tiers=tiers,
            settings=flight_settings(config),
            metrics=Metrics(),
            log=log,
            clock=time.time,
            rng=random.Random(),
        )
        credentials = AwsChain()
        router = Router([new_route(config, bucket, transport, credentials) for bucket in config.buckets])
        assert tiers.flusher is not None
        await nursery.start(tiers.flusher.run)
        try:
            yield router, Errands(Finder(tiers, coalescer, time.time), coalescer, tiers), tiers
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
                await transport.aclose()
                await tiers.flusher.aclose()


@asynccontextmanager
async def _open_via(via: str, places: Finds, order: Order, config: Config | None, said: str) -> AsyncIterator[Reach]:
    address = parse_address(via)
    transport = OriginTransport(
        connect_timeout=_CONNECT_SECONDS, first_byte_timeout=_FIRST_BYTE_SECONDS, max_connections=order.concurrency
    )
    origins = new_transport(config) if config is not None else None

    def route_of() -> Route:
        if config is None or origins is None:
            raise ConfigError("a listing needs the bucket's config: give --config")
        return new_route(config, config.buckets[index_of(config, order.bucket)], origins, AwsChain())

    try:
        yield Reach(ViaWarmer(address, places, transport, order.filters(time.time())), route_of, said)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CONNECT_SECONDS):
            await transport.aclose()
            if origins is not None:
                await origins.aclose()


def _url_of(address: str) -> str:
    """A listener's address as a client on this machine writes it."""
    if address.startswith("unix:"):
        return address
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{host}:{port}"
