"""The event loop of one worker of the load generator: epoll, sockets that do not block, nothing between.

No trio here: at 80,000 answers a second a task's step would cost more than the answer. What is done for every answer
is in `_loop`, `_answered` and `_begin`; what happens seldom has methods of its own.
"""

import select
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random

from yatagarasu.bench.arrivals import NEVER, arrival_times
from yatagarasu.bench.checks import ErrorKind
from yatagarasu.bench.client import BUFFER_BYTES, HEAD, NO_SHAPE, PENDING, RECEIVE_BYTES, Broken, Client, State
from yatagarasu.bench.endpoint import Endpoint
from yatagarasu.bench.mix import Ask
from yatagarasu.bench.plan import Closed, Plan, Share
from yatagarasu.bench.sockets import Sockets
from yatagarasu.bench.tally import Tally
from yatagarasu.bench.window import Window

_SECOND = 1_000_000_000
_TICK_NS = _SECOND // 10
_EVENTS = 512
# Connecting again at once would keep a server busy that is overrun already, and count errors by the million.
_REST_NS = _SECOND // 50
# Connections are opened so many at a time, to fit into a server's backlog.
_OPENING = 64
_OPENING_SECONDS = 10.0


class Engine:
    """Runs one worker's share of a plan, once.

    Args:
        asks: what to ask for, without end.
        on_tick: called ten times a second with the sums so far of answers, body bytes and errors.
    """

    def __init__(
        self,
        plan: Plan,
        share: Share,
        endpoint: Endpoint,
        asks: Iterator[Ask],
        *,
        tls: ssl.SSLContext | None = None,
        core: int | None = None,
        on_tick: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.tally = Tally()
        self._plan = plan
        self._share = share
        self._draw = asks.__next__
        self._on_tick = on_tick
        self._random = Random(f"{plan.seed}/{share.index}/checks").random
        self._is_closed = isinstance(plan.arrival, Closed)
        self._left = share.count if share.count is not None else NEVER
        self._timeout = int(plan.timeout_seconds * _SECOND)
        is_head = plan.method == "HEAD"
        skips = tls is None and endpoint.family != socket.AF_UNIX
        self._clients = [Client(is_head_method=is_head, skips=skips) for _ in range(share.connections)]
        self._sockets = Sockets(endpoint, tls, self._ready, self._fail)
        # Sums since the start, never set back: for the timeline.
        self._sent = self._answers = self._body_bytes = self._errors = 0
        # Requests that have begun and not ended.
        self._active = 0
        # Open loop: free connections, in the order they became so. Closed loop: those that connect again, and when.
        self._idle: deque[Client] = deque()
        self._resting: deque[tuple[int, Client]] = deque()
        self._arrivals: Iterator[int] = iter(())
        self._due = NEVER
        self._measure_from = self._stop_at = self._next_tick = self._next_mark = 0
        self._window = Window(core)
        self._checked_share = plan.check
        self._statuses = [0] * 1000
        self._latencies = self.tally.latency.counts
        self._first_bytes = self.tally.first_byte.counts

    def open(self) -> None:
        """Open all connections; those that cannot be are tried again when their first request is due."""
        deadline = time.monotonic() + _OPENING_SECONDS
        waiting, opening = deque(self._clients), set[Client]()
        while (waiting or opening) and time.monotonic() < deadline:
            while waiting and len(opening) < _OPENING:
                opening.add(client := waiting.popleft())
                self._sockets.connect(client)
            for fd, _ in self._sockets.epoll.poll(0.01, _EVENTS):
                self._sockets.step(self._sockets.by_fd[fd])
            opening = {client for client in opening if client.state not in (State.IDLE, State.DOWN)}

    def run(self, start: int) -> Tally:
        """Run from `start` (monotonic ns) until every request that has begun has ended."""
        plan = self._plan
        self._measure_from = self._next_mark = start + int(plan.warmup_seconds * _SECOND)
        self._stop_at = NEVER if plan.seconds is None else self._measure_from + int(plan.seconds * _SECOND)
        self._next_tick = start + _TICK_NS
        time.sleep(max(0, start - time.monotonic_ns()) / _SECOND)
        try:
            self._mark(time.monotonic_ns())
            if self._is_closed:
                for client in self._clients:
                    self._follow(client, start)
            else:
                self._idle.extend(self._clients)
                self._arrivals = arrival_times(plan, self._share, start)
                self._due = next(self._arrivals, NEVER)
            self._loop()
            self._window.close(self.tally, time.monotonic_ns(), self._answers, self._received())
        finally:
            for client in self._clients:
                self._sockets.drop(client)
            self._sockets.epoll.close()
        while self._due < self._stop_at < NEVER:
            self.tally.unsent += self._due >= self._measure_from
            self._due = next(self._arrivals, NEVER)
        tally = self.tally
        tally.timeline.append(self._answers, self._body_bytes, self._errors)
        tally.sent = self._sent
        tally.statuses = Counter({status: count for status, count in enumerate(self._statuses) if count})
        return tally

    def _loop(self) -> None:
        clock, sockets = time.monotonic_ns, self._sockets
        poll, by_fd = sockets.epoll.poll, sockets.by_fd
        buffer = bytearray(BUFFER_BYTES)
        startswith = buffer.startswith
        is_closed, reading = self._is_closed, State.READING
        size, status_line, length_field, length_at, head_end, outlined = NO_SHAPE
        while True:
            now = clock()
            if now >= self._next_mark:
                self._mark(now)
            if self._resting:
                self._wake(now)
            while self._due <= now < self._stop_at and self._idle:
                client, due = self._idle.popleft(), self._due
                self._due = next(self._arrivals, NEVER)
                self._begin(client, due)
            if not self._active and self._is_over(now):
                return
            # In whole milliseconds, rounded up: in a closed loop nothing but the ticks waits for it.
            events = poll((self._next_mark - now) / _SECOND, _EVENTS) if is_closed else self._wait(now)
            for fd, _ in events:
                client = by_fd[fd]
                if client.state is not reading:
                    sockets.step(client)
                    continue
                try:
                    count = client.recv_into(buffer, RECEIVE_BYTES, client.flags)
                except OSError as error:
                    sockets.interrupted(client, error)
                    continue
                now = clock()
                if not client.first:
                    client.first = now
                if (
                    count == size
                    and client.left == HEAD
                    and startswith(status_line)
                    and startswith(length_field, length_at)
                    and startswith(b"\r\n\r\n", head_end)
                ):
                    client.take_whole(buffer, head_end + 4, size, outlined)
                    self._answered(client, outlined, now)
                    continue
                try:
                    status = client.receive(buffer, count)
                except Broken as error:
                    self._fail(client, error.kind)
                    continue
                if client.shape is not None:
                    size, status_line, length_field, length_at, head_end, outlined = client.shape
                    client.shape = None
                if status != PENDING:
                    self._answered(client, status, now)

    def _begin(self, client: Client, due: int) -> None:
        """Send the next request on a free connection; its latency counts from `due`."""
        client.expect(self._draw(), due)
        if self._checked_share:
            client.is_checked = client.ask.seed is not None and self._random() < self._checked_share
        self._active += 1
        if client.sock is None:
            client.sent = time.monotonic_ns()
            self._sockets.connect(client)
        else:
            self._send(client)

    def _ready(self, client: Client) -> None:
        """A connection stands: send the request that waited for it, if there is one."""
        if client.began:
            self._send(client)

    def _send(self, client: Client) -> None:
        client.sent = time.monotonic_ns()
        try:
            count = client.send(client.out)
        except OSError as error:
            self._sockets.interrupted(client, error)
            if not client.began:
                return
            count = 0
        self._sent += 1
        if count == len(client.out):
            client.state = State.READING
        else:
            client.out = client.out[count:]
            self._sockets.send(client)

    def _answered(self, client: Client, status: int, now: int) -> None:
        """Count an answer that is whole, and go on."""
        began = client.began
        self._answers += 1
        self._body_bytes += client.body_bytes
        if began >= self._measure_from:
            self._statuses[status] += 1
            if client.is_checked and status == client.ask.status:
                self.tally.checked += 1
                self.tally.checked_bytes += client.body_bytes
            if status != client.ask.status:
                self._count_error(ErrorKind.STATUS)
            elif client.fault is not None:
                self._count_error(client.fault)
            else:
                # latency.slot_of, without the call.
                ns = now - began
                shift = ns.bit_length() - 11
                slot = ns if shift <= 0 else (shift << 10) + (ns >> shift)
                self._latencies[slot] += 1
                if client.first == now:
                    self._first_bytes[slot] += 1
                else:
                    self.tally.first_byte.record(client.first - began)
                if not self._is_closed:
                    self._record_sending(client, now)
        elif status != client.ask.status or client.fault is not None:
            self._errors += 1
        client.began = 0
        client.freed = now
        self._active -= 1
        if client.closes:
            client.closes = False
            self._sockets.drop(client)
        else:
            client.state = State.IDLE
        self._follow(client, now)

    def _record_sending(self, client: Client, now: int) -> None:
        """Record what an open loop knows besides: the latency from sending, and how late that was by our fault."""
        self.tally.service.record(now - client.sent)
        if client.freed <= client.began:
            self.tally.lateness.record(client.sent - client.began)

    def _fail(self, client: Client, kind: ErrorKind) -> None:
        """A connection is lost, and with it the request it had."""
        self._sockets.drop(client)
        if not client.began:
            return
        now = time.monotonic_ns()
        if client.began >= self._measure_from:
            self._count_error(kind)
        else:
            self._errors += 1
        self._body_bytes += client.body_bytes
        client.began = 0
        client.freed = now
        self._active -= 1
        if not self._is_closed:
            self._idle.append(client)
        elif kind in (ErrorKind.CONNECT, ErrorKind.TLS):
            self._resting.append((now + _REST_NS, client))
        else:
            self._follow(client, now)

    def _count_error(self, kind: ErrorKind) -> None:
        self._errors += 1
        self.tally.errors[kind] += 1

    def _follow(self, client: Client, now: int) -> None:
        """Let a free connection send the next request, if one is due."""
        if self._is_closed:
            if self._left > 0 and now < self._stop_at:
                self._left -= 1
                self._begin(client, time.monotonic_ns())
        elif self._due <= now < self._stop_at and not self._idle:
            due, self._due = self._due, next(self._arrivals, NEVER)
            self._begin(client, due)
        else:
            self._idle.append(client)

    def _wake(self, now: int) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._follow(self._resting.popleft()[1], now)

    def _is_over(self, now: int) -> bool:
        if self._is_closed:
            return not self._resting
        return self._due >= self._stop_at or now >= self._stop_at

    def _wait(self, now: int) -> list[tuple[int, int]]:
        """Wait for events, to the microsecond where a request is due before the next mark; epoll knows milliseconds."""
        epoll = self._sockets.epoll
        if not self._idle or self._due >= self._next_mark:
            return epoll.poll(max(0, self._next_mark - now) / _SECOND, _EVENTS)
        if self._due > now:
            select.select((epoll,), (), (), (self._due - now) / _SECOND)
        return epoll.poll(0, _EVENTS)

    def _mark(self, now: int) -> None:
        """Do what the time has come for: the window's ends, and ten times a second a tick."""
        if not self._window.is_open and now >= self._measure_from:
            self._window.open(now, self._answers, self._received())
        if now >= self._stop_at:
            self._window.close(self.tally, now, self._answers, self._received())
        if now >= self._next_tick:
            while now >= self._next_tick:
                self.tally.timeline.append(self._answers, self._received(), self._errors)
                self._next_tick += _TICK_NS
            for client in self._clients:
                if client.began and now - client.sent > self._timeout:
                    self._fail(client, ErrorKind.TIMEOUT)
            if self._on_tick is not None:
                self._on_tick(self._answers, self._received(), self._errors)
        marks = (self._measure_from, self._stop_at, self._next_tick)
        self._next_mark = min(mark for mark in marks if mark > now)

    def _received(self) -> int:
        """Body bytes so far, of answers under way too."""
        return self._body_bytes + sum(client.body_bytes for client in self._clients if client.began)
