"""The reactor: one edge-triggered epoll set over all connections of a worker, watched by one trio task.

A connection that waits for its next request costs an object, not a task; a batch of requests costs one trip
through trio's scheduler, not one each. trio waits on the set itself, which is a descriptor like any other.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import trio

from yatagarasu.errors import StoreError
from yatagarasu.http.wire import HeaderBlock, HeaderBlocks
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.proxy.hot import HotAnswer, Ready
from yatagarasu.proxy.pipeline import Request, Result
from yatagarasu.proxy.reader import Client
from yatagarasu.proxy.router import Line
from yatagarasu.server.connection import Connection, State
from yatagarasu.server.forwarded import Network
from yatagarasu.server.listener import close_listeners

# Told of room to write too: that edge comes only after a write that found none.
_EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READABLE = select.EPOLLIN | select.EPOLLRDHUP
_GONE = select.EPOLLERR | select.EPOLLHUP
_ENDING = _GONE | select.EPOLLRDHUP
# Events taken from the kernel at once, and batches answered before other tasks get their turn.
_BATCH_EVENTS = 128
_BATCHES = 8
_ACCEPTS = 64
_SWEEP_SECONDS = 1.0
# What a new connection gets to send its first request while we drain.
_FRESH_SECONDS = 1.0
# And a kept-alive one to send its next: a client in the middle of its work is told `Connection: close` in that answer,
# where a connection that closes under its request would be an error to it. Idle for longer, nobody is about to ask.
_PARTING_SECONDS = 0.5
_PARTING_POLL_SECONDS = 0.1
# After a failed accept (no descriptors left): long enough for some to come back.
_ACCEPT_PAUSE_SECONDS = 0.5
# accept(2): what became of one connection before it was ours; the next one is not concerned.
_ITS_OWN_FAULT = frozenset(
    (
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    )
)
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Handler(Protocol):
    """What answers requests: the proxy's pipeline, or the admin application."""

    def seen(self, raw: bytes) -> Line | None:
        """What a request line was found to mean, if it was seen."""
        ...

    def line(self, raw: bytes) -> Line:
        """Read a request line. Raises BadRequest."""
        ...

    def hot(self, line: Line, now: float) -> HotAnswer | None:
        """An answer that can be given at once."""
        ...

    def ready(self, line: Line, part: tuple[int | None, int | None] | None, now: float) -> Ready | None:
        """An answer of which every byte is there."""
        ...

    def new_id(self) -> str:
        """A request id."""
        ...

    def record_hot(
        self,
        line: Line,
        block: HeaderBlock,
        request_id: str,
        peer: str,
        now: float,
        seconds: float,
        size: int,
        status: int = 200,
        cause: str = "",
    ) -> None:
        """Count and log a hot or ready answer; `cause` says why it ended early."""
        ...

    def lose(self, line: Line, cause: StoreError) -> None:
        """What a ready answer was sent from cannot be read."""
        ...

    async def handle(self, request: Request, client: Client) -> Result:
        """Answer any request."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of `[server]`: bytes, seconds, connections."""

    max_connections: int = 10_000
    max_head_bytes: int = 16 * 1024
    max_target_bytes: int = 8 * 1024
    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    write_timeout: float = 30.0
    trusted_proxies: tuple[Network, ...] = ()


class Reactor:
    """Accepts and watches connections.

    `now` is the monotonic second of the current batch, exact enough for timeouts. `handler` and `limits` may
    be replaced while it runs (reload): each request takes what is there.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        handler: Handler,
        limits: Limits,
        nursery: trio.Nursery,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.nursery = nursery
        self.log = log
        self.blocks = HeaderBlocks()
        self.now = time.monotonic()
        self.is_draining = False
        self.connections: dict[int, Connection] = {}
        self._metrics = metrics
        self._listeners = {sock.fileno(): sock for sock in listeners}
        self._epoll = select.epoll()
        self._emptied = trio.Event()
        # Events of our own: descriptors of connections that have had their turn and are not done. Who adds one sets
        # off the alarm, for the watch may be asleep: it wakes for what is in the set.
        self._again: list[tuple[int, int]] = []
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._alarm, select.EPOLLIN | select.EPOLLET)
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    async def run(self) -> None:
        """Serve until cancelled; then every socket is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                await self._watch(nursery)
        finally:
            self.stop_accepting()
            for connection in list(self.connections.values()):
                connection.abort()
            self._epoll.close()
            os.close(self._alarm)

    async def _watch(self, nursery: trio.Nursery) -> None:
        """Let everybody have a turn to whom something has happened.

        What goes wrong in a turn ends that connection alone: the broad except of what no task does is here.
        """
        epoll, connections = self._epoll, self.connections
        while True:
            if self._again:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(epoll.fileno())
            events, self._again = self._again, []
            for _ in range(_BATCHES):
                events += epoll.poll(0, _BATCH_EVENTS)
                if not events:
                    break
                self.now = time.monotonic()
                for fd, mask in events:
                    connection = connections.get(fd)
                    if connection is None:
                        if fd in self._listeners:
                            self._accept(fd, nursery)
                        continue
                    try:
                        if mask & _ENDING:
                            # Its end may have come with its last bytes: then nothing will tell of it again.
                            connection.is_ending = True
                            if mask & _GONE:
                                connection.on_gone()
                                continue
                        if connection.is_blocked and mask & select.EPOLLOUT:
                            connection.on_writable()
                        if mask & _READABLE:
                            connection.on_readable()
                    except Exception as exc:
                        connection.fail(exc)
                events = []

    def come_back(self, connection: Connection, mask: int) -> None:
        """Give a connection another turn once the others have had theirs: the edge that told of it is gone."""
        self._again.append((connection.fd, mask))
        os.eventfd_write(self._alarm, 1)

    def _accept(self, fd: int, nursery: trio.Nursery) -> None:
        listener = self._listeners[fd]
        for _ in range(_ACCEPTS):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in _ITS_OWN_FAULT:
                    continue
                self._log_refusal(exc)
                self._pause(fd, nursery)
                return
            self._metrics.connections_total += 1
            if len(self.connections) >= self.limits.max_connections:
                self._turn_away(sock)
                continue
            try:
                self.take(sock, str(address[0]) if isinstance(address, tuple) else "unix")
            except OSError as exc:
                self._log_refusal(exc)
                self._turn_away(sock)

    def take(self, sock: socket.socket, peer: str) -> None:
        """Serve a connection from here on; `peer` is the client's address. Raises OSError: the socket is as it was."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel bounds what may be watched (fs.epoll.max_user_watches), and has memory for it or not.
        self._epoll.register(sock.fileno(), _EDGE)
        connection = Connection(sock, peer, self)
        self.connections[connection.fd] = connection

    def _turn_away(self, sock: socket.socket) -> None:
        self._metrics.connections_refused += 1
        with suppress(OSError):
            sock.setblocking(False)
            sock.send(_FULL)
            sock.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            sock.close()

    def _log_refusal(self, exc: OSError) -> None:
        if not self.log.rate_limited("accept", 1.0):
            self.log.error("accept_failed", reason=exc.strerror, connections=len(self.connections))

    def _pause(self, fd: int, nursery: trio.Nursery) -> None:
        """Accept nothing for a while: a listener that cannot be accepted from would be told of again and again."""
        with suppress(OSError):
            self._epoll.unregister(fd)
        nursery.start_soon(self._resume_accepting, fd)

    async def _resume_accepting(self, fd: int) -> None:
        while True:
            await trio.sleep(_ACCEPT_PAUSE_SECONDS)
            if fd not in self._listeners:
                return
            with suppress(OSError):
                self._epoll.register(fd, select.EPOLLIN)
                return

    async def _sweep(self) -> None:
        """Close what has waited too long: one pass a second over all connections, no timer for each."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            self.now = now = time.monotonic()
            limits = self.limits
            for connection in list(self.connections.values()):
                if connection.state is State.BUSY:
                    if connection.blocked_at and now - connection.blocked_at > limits.write_timeout:
                        connection.stop_waiting("the client took no byte for write_timeout")
                elif connection.has_partial_request:
                    if now - connection.since > limits.header_timeout:
                        connection.refuse_slow_head()
                elif now - connection.since > (_FRESH_SECONDS if self.is_draining else limits.idle_timeout):
                    connection.close_idle()

    def forget(self, connection: Connection) -> None:
        """Take a connection out of the set; it closes its socket itself."""
        if self.connections.pop(connection.fd, None) is None:
            return
        try:
            self._epoll.unregister(connection.fd)
        except (OSError, ValueError):
            return  # The set is closed already.
        finally:
            if not self.connections:
                self._emptied.set()

    def stop_accepting(self) -> None:
        """Close the listeners of this reactor's set; new connections are refused by the kernel."""
        for fd in self._listeners:
            # One that is paused is not in the set.
            with suppress(OSError, ValueError):
                self._epoll.unregister(fd)
        close_listeners(tuple(self._listeners.values()))
        self._listeners.clear()

    async def drain(self) -> None:
        """Finish what is under way, take nothing new, and return when the last connection has gone."""
        self.is_draining = True
        self.stop_accepting()
        while self.connections:
            self.now = now = time.monotonic()
            for connection in list(self.connections.values()):
                # A client that has just connected has its first request under way: it cannot know that we are leaving.
                is_idle = connection.state is State.READING and not connection.has_partial_request
                if is_idle and not connection.is_fresh and now - connection.since > _PARTING_SECONDS:
                    connection.close_idle()
            if not self.connections:
                return
            self._emptied = trio.Event()
            with trio.move_on_after(_PARTING_POLL_SECONDS):
                await self._emptied.wait()
