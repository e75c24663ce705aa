"""What one of several workers has on account of the others: its share, how it asks them, what answers them."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from yatagarasu.cache.entry import Key
from yatagarasu.cache.ownership import Ownership
from yatagarasu.cache.tiers import Tiers
from yatagarasu.config.model import Config
from yatagarasu.errors import OriginError
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.peer import CONTROL_PREFIX, Peers
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.finder import Finder
from yatagarasu.proxy.peer import Control, PeerHandler
from yatagarasu.proxy.router import Router
from yatagarasu.server.reactor import Limits, Reactor
from yatagarasu.server.workers import Seat
from yatagarasu.units import KIB

# A worker that is there connects at once; its head may take as long as it waits for its own, and a bit.
_CONNECT_SECONDS = 1.0
_GRACE_SECONDS = 5.0
# How often a worker shows that it is not stuck, and after how long without that the others do not wait for it.
_BEAT_SECONDS = 0.5
_STUCK_SECONDS = 2.0
# Of connections between two workers: flights are many, and what a client may send comes along whole.
_MAX_CONNECTIONS = 4096
_LIMITS = Limits(max_connections=10_000, max_head_bytes=96 * KIB, max_target_bytes=48 * KIB, idle_timeout=3600.0)


class SeatShare:
    """A worker's share of the cache directory: the keys that it owns while it is ready."""

    is_shared = True

    def __init__(self, seat: Seat, ownership: Ownership) -> None:
        self._index, self._board, self._ownership = seat.index, seat.board, ownership

    @property
    def may_write(self) -> bool:
        """Not after a reload: what is purged then must not come back."""
        return not self._board.is_replaced

    def owns(self, key: Key) -> bool:
        """Whether this worker owns a key; before it is ready and while it drains it owns none."""
        return self._board.is_alive(self._index) and self._ownership.is_mine(key)

    def members(self) -> object:
        """The workers that are ready, where this is one of them."""
        return self._board.alive() if self._board.is_alive(self._index) else None

    def max_bytes(self, max_size: int) -> int:
        """What the others leave, and never less than a fair part: they give way then."""
        others = [index for index in self._board.alive() if index != self._index]
        return max(max_size // (len(others) + 1), max_size - sum(map(self._board.disk_bytes, others)))

    def report(self, size: int) -> None:
        """Note it on the board."""
        self._board.set_disk_bytes(self._index, size)


class Peering:
    """One worker among others.

    Attributes:
        peers: the others, for the pipeline.
        share: this worker's part of the cache directory.
        unanswered: times that another worker did not say in time what it was asked about itself.
    """

    def __init__(self, seat: Seat, config: Config) -> None:
        self._seat = seat
        seat.board.set_beat(seat.index, time.monotonic())  # Before the others can ask.
        self._ownership = Ownership(seat.index, seat.board.alive)
        self.share = SeatShare(seat, self._ownership)
        self.unanswered = 0
        self.peers = Peers(
            seat.peer_paths,
            peer_for=self._ownership.peer_for,
            is_stuck=lambda index: time.monotonic() - seat.board.beat(index) > _STUCK_SECONDS,
            transport=OriginTransport(
                connect_timeout=_CONNECT_SECONDS,
                first_byte_timeout=config.coalescing.wait_timeout + _GRACE_SECONDS,
                max_connections=_MAX_CONNECTIONS,
            ),
        )
        self.reactor: Reactor
        self._handler: PeerHandler

    def listen(
        self,
        router: Router,
        tiers: Tiers,
        coalescer: Coalescer,
        *,
        control: Control,
        log: Log,
        nursery: trio.Nursery,
        clock: Callable[[], float],
    ) -> Reactor:
        """The reactor that answers the others; it is to be run."""
        self._handler = PeerHandler(
            router=router,
            finder=Finder(tiers, coalescer, clock),
            coalescer=coalescer,
            is_mine=self._ownership.is_mine,
            control=control,
            log=log,
            clock=clock,
        )
        self.reactor = Reactor(
            [self._seat.peer_listener],
            handler=self._handler,
            limits=_LIMITS,
            nursery=nursery,
            metrics=Metrics(),
            log=log,
        )
        return self.reactor

    def register(self, metrics: Metrics) -> None:
        """Numbers of what goes on between workers."""
        seat, counter = self._seat, metrics.counter
        metrics.gauge("yatagarasu_workers", "Workers that answer.", lambda: len(seat.board.alive()), merge="max")
        counter("yatagarasu_worker_restarts", "Workers that died.", lambda: seat.board.restarts(seat.index))
        counter("yatagarasu_peer_requests", "Requests from other workers.", lambda: self._handler.requests)
        counter(
            "yatagarasu_peer_fallbacks",
            "Requests that went to the origin because their owner did not answer.",
            lambda: self.peers.fallbacks,
        )
        counter("yatagarasu_peer_unanswered", "Questions that a worker left open.", lambda: self.unanswered)

    async def ask_all(self, method: str, target: str, seconds: float) -> tuple[list[Any], int]:
        """What every other worker says about itself, decoded, and how many have not said it in time.

        Args:
            target: path and query as the admin listener has them.
        """
        found: list[Any] = []
        others = [index for index in self._seat.board.alive() if index != self._seat.index]

        async def ask(index: int) -> None:
            with suppress(OriginError, trio.TooSlowError):
                with trio.fail_after(seconds):
                    status, body = await self.peers.ask(index, CONTROL_PREFIX + target.lstrip("/"), method=method)
                if status == 200:
                    found.append(json.loads(body))

        async with trio.open_nursery() as nursery:
            for index in others:
                nursery.start_soon(ask, index)
        missing = len(others) - len(found)
        self.unanswered += missing
        return found, missing

    async def run(self) -> None:
        """Show that this worker is not stuck, and wait for none that is; until cancelled."""
        last = time.monotonic()
        while True:
            now = time.monotonic()
            self._seat.board.set_beat(self._seat.index, now)
            if now - last < _STUCK_SECONDS / 2:  # Else it was this one, or all of the machine, that stood still.
                self.peers.stop_waiting()
            last = now
            await trio.sleep(_BEAT_SECONDS)

    async def aclose(self) -> None:
        """Close the connections to the others."""
        await self.peers.aclose()
