"""The composition root: from a Config to a running system. The only place that knows every part."""

import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from yatagarasu import __version__
from yatagarasu.admin.app import AdminApp, Readiness
from yatagarasu.admin.cache import CacheControl
from yatagarasu.admin.handler import AdminHandler
from yatagarasu.admin.warm import WarmControl
from yatagarasu.cache.disk.folder import note_holder, take_folder
from yatagarasu.config.model import Config
from yatagarasu.errors import YatagarasuError, describe
from yatagarasu.gauges import register_core, register_disk
from yatagarasu.http.headers import Headers
from yatagarasu.observe.access_log import AccessLog
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.observe.sink import Sink
from yatagarasu.origin.credentials import AwsChain
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.parts import (
    access_format,
    flight_settings,
    limits,
    new_log,
    new_route,
    new_tiers,
    new_transport,
    secrets_of,
)
from yatagarasu.peering import Peering
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.errand import Errands
from yatagarasu.proxy.inventory import Inventory
from yatagarasu.proxy.pipeline import Pipeline
from yatagarasu.proxy.router import Route, Router
from yatagarasu.server.lifecycle import Lifecycle, take_reloads
from yatagarasu.server.listener import close_listeners, format_address, open_listeners
from yatagarasu.server.reactor import Limits, Reactor
from yatagarasu.server.workers import Seat
from yatagarasu.warm.inside import InsideWarmer
from yatagarasu.warm.job import WarmJob
from yatagarasu.warm.jobs import WarmJobs
from yatagarasu.warm.journal import Journal
from yatagarasu.warm.order import Order
from yatagarasu.warm.places import Places
from yatagarasu.warmup import index_of, places_of, source_of

# What asking one origin may take: below what the admin listener grants all of them together.
_READY_SECONDS = 4.0
# What the last writes to disk may take; what does not make it is fetched again some day.
_CLOSE_SECONDS = 5.0
# What is asked on the admin listener is answered at once, or is for whoever comes after this process.
_ADMIN_DRAIN_SECONDS = 2.0


class System:
    """A running proxy.

    Attributes:
        addresses: where it listens, as a person writes them.
        admin_address: the admin listener, None where there is none.
    """

    def __init__(
        self,
        config: Config,
        nursery: trio.Nursery,
        log: Log,
        write_access: Callable[[bytes], int | None],
        listeners: Sequence[socket.socket],
        admin_listeners: Sequence[socket.socket],
        seat: Seat | None = None,
    ) -> None:
        self.config = config
        self.seat = seat
        self.log = log
        self.metrics = Metrics()
        self.access_log = AccessLog(
            write_access,
            format=access_format(config, sys.stdout),
            enabled=config.log.access,
            colours=sys.stdout.isatty(),
        )
        self._configured_at = time.time()
        self._nursery = nursery
        self.peering = Peering(seat, config) if seat is not None else None
        self.tiers = new_tiers(
            config,
            log,
            share=self.peering.share if self.peering is not None else None,
            count=seat.count if seat is not None else 1,
        )
        self.memory, self.disk = self.tiers.memory, self.tiers.disk
        self.coalescer = Coalescer(
            nursery,
            tiers=self.tiers,
            settings=flight_settings(config),
            metrics=self.metrics,
            log=log,
            clock=time.time,
            rng=random.Random(),
        )
        self._transport = new_transport(config)
        self.routes: tuple[Route, ...] = ()
        readiness = Readiness(self._check_routes, clock=time.monotonic)
        token = config.admin.token.get_secret_value() if config.admin.token is not None else ""
        everyone = self.peering.ask_all if self.peering is not None else None
        inventory = Inventory(self.tiers, self.coalescer, clock=time.time)
        self.jobs = WarmJobs(nursery, self._new_job, folder=_jobs_folder(config, seat), log=log)
        # Only whoever may use the token, or the socket's file, is shown what is in files of the server's.
        may_read = bool(token) or config.admin.listen.startswith("unix:")
        self.admin = AdminApp(
            self.metrics,
            readiness,
            cache=CacheControl(inventory, everyone),
            warm=WarmControl(self.jobs, may_read_lists=may_read, everyone=everyone),
            everyone=everyone,
            token=token or None,
        )
        self.pipeline = self._wire(config, self._transport)
        self.reactor = Reactor(
            listeners,
            handler=self.pipeline,
            limits=limits(config),
            nursery=nursery,
            metrics=self.metrics,
            log=log,
        )
        self.admin_reactor = Reactor(
            admin_listeners,
            handler=AdminHandler(self.admin),
            limits=Limits(max_connections=256),
            nursery=nursery,
            metrics=Metrics(),
            log=log,
        )
        self.peer_reactor = None
        if self.peering is not None:
            self.peer_reactor = self.peering.listen(
                self.pipeline.router,
                self.tiers,
                self.coalescer,
                control=self.admin.answer_peer,
                log=log,
                nursery=nursery,
                clock=time.time,
            )
        self.addresses = [format_address(sock) for sock in listeners]
        self.admin_address = format_address(admin_listeners[0]) if admin_listeners else None
        register_core(
            self.metrics,
            open_connections=lambda: len(self.reactor.connections),
            coalescer=self.coalescer,
            memory=self.memory,
            access_log=self.access_log,
            log=log,
            configured_at=lambda: self._configured_at,
        )
        if self.disk is not None:
            register_disk(self.metrics, self.disk)
        if self.peering is not None:
            self.peering.register(self.metrics)

    def _wire(self, config: Config, transport: OriginTransport) -> Pipeline:
        chain = AwsChain()
        self.routes = tuple(new_route(config, bucket, transport, chain) for bucket in config.buckets)
        return Pipeline(
            router=Router(self.routes),
            tiers=self.tiers,
            coalescer=self.coalescer,
            metrics=self.metrics,
            access_log=self.access_log,
            log=self.log,
            probe=self._probe,
            clock=time.time,
            peers=self.peering.peers if self.peering is not None else None,
        )

    def _new_job(self, order: Order, journal: Journal) -> WarmJob:
        """A warming job that goes by whatever config is served at the moment. Raises ConfigError."""
        places_of(self.config, order.bucket)

        def inside() -> tuple[Router, Errands]:
            is_alone = self.peering is None
            return self.pipeline.router, Errands(self.pipeline.finder, self.coalescer, self.tiers, is_alone=is_alone)

        def places() -> Places:
            return places_of(self.config, order.bucket)

        def route() -> Route:
            return self.routes[index_of(self.config, order.bucket)]

        settings = order.settings(time.time())
        warmer = InsideWarmer(places, inside, self.tiers, settings.filters)
        return WarmJob(source_of(order, route), warmer, settings, journal=journal, scrub=self.log.scrubber.scrub)

    async def _probe(self, path: str) -> tuple[int, bytes]:
        answer = await self.admin.handle("GET", path, Headers())
        return answer.status, answer.body

    async def _check_routes(self) -> dict[str, str | None]:
        results: dict[str, str | None] = {}

        async def check(route: Route) -> None:
            try:
                with trio.fail_after(_READY_SECONDS):
                    await route.origin.check()
                results[route.bucket] = None
            except (YatagarasuError, trio.TooSlowError) as exc:
                self.log.warning("origin_not_ready", bucket=route.bucket, reason=describe(exc))
                results[route.bucket] = getattr(exc, "public", "the origin did not answer in time")

        async with trio.open_nursery() as nursery:
            for route in self.routes:
                nursery.start_soon(check, route)
        return results

    def reload(self, config: Config) -> None:
        """Take a new config: routes, origins, timings and limits at once; listeners and sizes need a restart."""
        old, old_transport = self.config, self._transport
        for name, before, after in (
            ("server.listen", old.server.listen, config.server.listen),
            ("admin", old.admin, config.admin),
            ("cache.memory", old.cache.memory, config.cache.memory),
            ("log", old.log, config.log),
        ):
            if before != after:
                self.log.warning("reload_needs_restart", key=name)
        self.log.scrubber.add(secrets_of(config))
        self._transport = new_transport(config)
        pipeline = self._wire(config, self._transport)
        self.config, self.pipeline = config, pipeline
        self._configured_at = time.time()
        self.coalescer.settings = flight_settings(config)
        self.reactor.limits = limits(config)
        self.reactor.handler = pipeline
        self._nursery.start_soon(self._retire, old_transport, old.server.drain_timeout)
        self.log.info("reloaded", buckets=len(self.routes))

    async def _retire(self, transport: OriginTransport, seconds: float) -> None:
        """Close an old config's connections once what uses them has had its time."""
        with trio.move_on_after(seconds):
            await self.coalescer.wait_idle()
        await transport.aclose()

    async def drain(self) -> None:
        """Finish what is under way, take nothing new: of clients first, then of the other workers."""
        await self.jobs.park()
        if self.peer_reactor is not None:
            # Whoever takes this one's place answers for all.
            self.admin_reactor.stop_accepting()
        await self.reactor.drain()
        with trio.move_on_after(_ADMIN_DRAIN_SECONDS):
            await self.admin_reactor.drain()
        if self.peer_reactor is not None:
            await self.peer_reactor.drain()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.access_log.run)
            nursery.start_soon(self.jobs.run)
            if self.tiers.flusher is not None:
                nursery.start_soon(self.tiers.flusher.run)
            if self.peering is not None:
                nursery.start_soon(self.peering.run)
            if self.peer_reactor is not None:
                nursery.start_soon(self.peer_reactor.run)
            nursery.start_soon(self.admin_reactor.run)
            nursery.start_soon(self.reactor.run)

    async def aclose(self) -> None:
        """Close what `run` does not: origin connections, and the disk tier's books."""
        await self._transport.aclose()
        if self.peering is not None:
            await self.peering.aclose()
        if self.tiers.flusher is not None:
            await self.tiers.flusher.aclose()


def _jobs_folder(config: Config, seat: Seat | None) -> Path | None:
    """Where warming jobs have their files: with the cache, or else where the next workers find them."""
    if config.cache.disk is not None:
        return Path(config.cache.disk.path) / "warm"
    return Path(seat.peer_paths[0]).parent / "warm" if seat is not None else None


@asynccontextmanager
async def open_system(
    config: Config,
    *,
    log: Log | None = None,
    write_access: Callable[[bytes], int | None] | None = None,
    seat: Seat | None = None,
) -> AsyncIterator[System]:
    """A running system as a context manager; leaving it ends everything at once.

    Args:
        write_access: takes access-log lines, see `AccessLog`; None is standard output.
        seat: what the supervisor has given this worker: listeners, and the cache directory is the supervisor's too.
    """
    write_access = write_access or Sink(1).write
    log = log or new_log(config)
    if seat is not None:
        async with _running(config, log, write_access, seat.listeners, seat.admin_listeners, seat) as system:
            yield system
        return
    with contextlib.ExitStack() as stack:
        lock = take_folder(config.cache.disk.path) if config.cache.disk is not None else None
        if lock is not None:
            stack.callback(os.close, lock)
        listeners = open_listeners(config.server.listen)
        stack.callback(close_listeners, listeners)
        if lock is not None:
            note_holder(lock, [format_address(sock) for sock in listeners])
        admin_listeners = open_listeners([config.admin.listen] if config.admin.listen else [])
        stack.callback(close_listeners, admin_listeners)
        async with _running(config, log, write_access, listeners, admin_listeners) as system:
            yield system


@asynccontextmanager
async def _running(
    config: Config,
    log: Log,
    write_access: Callable[[bytes], int | None],
    listeners: Sequence[socket.socket],
    admin_listeners: Sequence[socket.socket],
    seat: Seat | None = None,
) -> AsyncIterator[System]:
    async with trio.open_nursery() as nursery:
        system = System(config, nursery, log, write_access, listeners, admin_listeners, seat)
        nursery.start_soon(system.run)
        try:
            yield system
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
                await system.aclose()


async def serve(
    config: Config, *, reread: Callable[[], Config] | None = None, on_ready: Callable[[System], None]
) -> int:
    """Serve until a signal ends it; returns the exit code.

    Args:
        reread: loads the config again on SIGHUP; raises ConfigError, and the old one stays.
        on_ready: called once the listeners are open.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        take_reloads()
        async with open_system(config) as system:
            on_ready(system)
            lifecycle = Lifecycle(system.log, drain_timeout=lambda: system.config.server.drain_timeout)

            def reload() -> None:
                if reread is not None:
                    system.reload(reread())

            return await lifecycle.run(signals, drain=system.drain, reload=reload)


def banner(system: System) -> str:
    """The ready line: what listens where."""
    return ready_line(system.addresses, system.admin_address)


def ready_line(addresses: Sequence[str], admin_address: str | None) -> str:
    """The ready line of these addresses."""
    where = ", ".join(address if address.startswith("unix:") else f"http://{address}" for address in addresses)
    admin = f", admin on http://{admin_address}" if admin_address else ""
    return f"yatagarasu {__version__} ready on {where}{admin}"
