"""One client connection: HTTP/1.1 over a non-blocking socket.

The reactor calls `on_readable`, and `on_writable` where something is to be written. What a hot entry answers is
answered there and then, with no task and no wait; what is ready in any tier goes out without a task too, as the client
takes it; everything else gets a task. Until an answer is out the connection is busy and reads nothing.
"""

import re
import select
import socket
import struct
import time
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

import trio

from yatagarasu.cache.body import Bytes
from yatagarasu.errors import (
    BadRequest,
    ClientGone,
    HeaderTooLarge,
    InternalError,
    RequestError,
    StoreError,
    TargetTooLong,
)
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlock, is_bad_chunk, split_range
from yatagarasu.proxy.pipeline import Request
from yatagarasu.proxy.router import Line
from yatagarasu.server.forwarded import client_address
from yatagarasu.server.sending import Progress, Sending, send_file

if TYPE_CHECKING:
    from yatagarasu.server.reactor import Reactor

# Most heads are below 1 KiB; a pipeline of some fits too.
_RECV_BYTES = 16 * 1024
# A client that never stops sending gets so many reads before others get their turn.
_READS_A_TURN = 4
# Up to here one copy is cheaper than a second buffer in the system call.
_JOIN_BYTES = 32 * 1024
# Bytes a response may write without blocking before others get a turn.
_TURN_BYTES = 2 * 1024 * 1024
# How long, and how much, a closing connection reads what the client still sends, so that the kernel does not
# throw away an answer that it has not read (RFC 9112, section 9.6).
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1024 * 1024

_BARE_LF = re.compile(rb"(?<!\r)\n")
# What a method may begin with (RFC 9110, section 5.6.2).
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NO_HEADERS = HeaderBlock(Headers())
_CLOSE = b"\r\nconnection: close\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


class State(Enum):
    """Where a connection is."""

    READING = 1  # waits for a request, or for the rest of one
    BUSY = 2  # an answer is under way
    CLOSED = 3


class Connection:
    """A connection and its unread bytes.

    `since` is the monotonic second at which it began to wait for what it waits for; `blocked_at` the one at
    which the client stopped taking bytes, 0 while it takes them; `is_blocked` while somebody waits for that, or for
    another turn; `is_ending` once the client sends no more; `is_fresh` until it has had a whole request.
    """

    __slots__ = (
        "_buffer",
        "_reactor",
        "_sending",
        "_turn_bytes",
        "_waiter",
        "blocked_at",
        "fd",
        "is_blocked",
        "is_ending",
        "is_fresh",
        "is_readable",
        "peer",
        "scope",
        "since",
        "sock",
        "state",
    )

    def __init__(self, sock: socket.socket, peer: str, reactor: "Reactor") -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.state = State.READING
        self.since = reactor.now
        self.blocked_at = 0.0
        self.is_readable = False
        self.scope: trio.CancelScope | None = None
        self._buffer = b""
        self._reactor = reactor
        self._turn_bytes = 0
        self._sending: Sending | None = None
        self._waiter: trio.lowlevel.Task | None = None
        self.is_blocked = False
        self.is_ending = False
        self.is_fresh = True

    def __repr__(self) -> str:
        return f"<Connection {self.peer} {self.state.name} buffered={len(self._buffer)}>"

    @property
    def has_partial_request(self) -> bool:
        """Whether some bytes of a request have come, but not its whole head."""
        return bool(self._buffer) and self._buffer != b"\r\n"

    def on_readable(self) -> None:
        """Read what is there and answer it; called when the socket may have become readable."""
        if self.state is not State.READING:
            self.is_readable = True
            return
        self.is_readable = False
        for _ in range(_READS_A_TURN):
            if self.state is not State.READING:
                break
            try:
                data = self.sock.recv(_RECV_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if not data:
                self.close()
                return
            if not self._buffer or not self.has_partial_request:
                self.since = self._reactor.now
            self._buffer += data
            self._advance()
            if len(data) < _RECV_BYTES and not self.is_ending:
                return  # A short read has emptied the socket; its next byte, or its end, is a new edge.
        if self.state is State.READING:
            self._reactor.come_back(self, select.EPOLLIN)
        else:
            self.is_readable = True

    def _advance(self) -> None:
        """Answer the requests in the buffer, until one needs a task or more bytes."""
        reactor = self._reactor
        handler = reactor.handler
        seen, known, hot = handler.seen, reactor.blocks.get, handler.hot
        buffer = self._buffer
        while buffer:
            end = buffer.find(b"\r\n\r\n")
            if end < 0 or end > reactor.limits.max_head_bytes:
                self._buffer = buffer
                self._check_partial(end)
                return
            cut = buffer.find(b"\r\n")
            line = seen(buffer[:cut])
            raw_block = buffer[cut + 2 : end + 2]
            block = known(raw_block)
            if line is not None and block is not None and block.is_plain and not reactor.is_draining:
                now = time.time()
                answer = hot(line, now)
                if answer is not None:
                    began = time.monotonic()
                    buffer = buffer[end + 4 :]
                    request_id = block.request_id or handler.new_id()
                    head = answer.head + request_id.encode() + b"\r\n\r\n"
                    size = answer.size if line.method == "GET" else 0
                    try:
                        if size <= _JOIN_BYTES:
                            out: Bytes = head + answer.data if size else head
                            sent = self.sock.send(out)
                        else:
                            out = head
                            sent = self.sock.sendmsg((head, answer.data))
                    except BlockingIOError:
                        sent = 0
                    except OSError:
                        self.close()
                        return
                    if sent == len(head) + size:
                        handler.record_hot(
                            line, block, request_id, self._client(block), now, time.monotonic() - began, size
                        )
                        continue
                    self._buffer = buffer
                    left = len(head) - sent
                    parts = (memoryview(head)[sent:], answer.data) if left > 0 else (memoryview(answer.data)[-left:],)
                    sending = Sending(
                        parts if size else (memoryview(head)[sent:],), left, None, 0, 0,
                        line=line, block=block, request_id=request_id, status=200, now=now, began=began,
                    )  # fmt: skip
                    if not self._send(sending):
                        return
                    buffer = self._buffer
                    continue
            if line is not None and line.hot_key is not None:
                self._buffer = buffer[end + 4 :]
                is_out = self._answer_ready(line, block, raw_block)
                if is_out is not None:
                    if not is_out:
                        return
                    buffer = self._buffer
                    continue
            if not cut and end:
                # RFC 9112, section 2.2: one empty line before a request is forgiven.
                buffer = buffer[2:]
                continue
            self._buffer = buffer[end + 4 :]
            self._start(self._respond, buffer[:cut], raw_block)
            return
        self._buffer = b""
        self.since = reactor.now
        self.is_fresh = False

    def _answer_ready(self, line: Line, block: HeaderBlock | None, raw_block: bytes) -> bool | None:
        """Answer what is complete in some tier, whole or one range of it.

        Returns whether all of it is out; None where that takes the long way, and nothing has been sent.
        """
        reactor, part = self._reactor, None
        if block is None or block.range is not None:
            split = split_range(raw_block)
            if split is None:
                return None
            rest, *part = split
            block = reactor.blocks.get(rest)
            if block is None or not block.takes_range:
                return None
        elif not block.is_simple:
            return None
        if reactor.is_draining:
            return None
        now, began = time.time(), time.monotonic()
        answer = reactor.handler.ready(line, (part[0], part[1]) if part is not None else None, now)
        if answer is None:
            return None
        request_id = block.request_id or reactor.handler.new_id()
        head = answer.head + request_id.encode() + (_CLOSE if block.closes else b"\r\n\r\n")
        is_file = not answer.data and line.method == "GET"
        sending = Sending(
            (head, answer.data) if line.method == "GET" else (head,),
            len(head),
            answer.body if is_file else None,
            answer.start if is_file else 0,
            answer.stop if is_file else 0,
            line=line, block=block, request_id=request_id, status=answer.status, now=now, began=began,
        )  # fmt: skip
        return self._send(sending)

    def _send(self, sending: Sending) -> bool:
        """Begin to send without a task; returns whether all of it is out already."""
        self.state = State.BUSY
        self.is_fresh = False
        self._sending = sending
        return self._go_on(sending)

    def _go_on(self, sending: Sending) -> bool:
        self.is_blocked = False
        try:
            progress = sending.go_on(self.sock, _TURN_BYTES)
        except StoreError as exc:
            self._reactor.handler.lose(sending.line, exc)
            self._give_up(str(exc))
            return False
        except OSError as exc:
            self._give_up(exc.strerror or str(exc))
            return False
        if progress is Progress.BLOCKED:
            self.is_blocked, self.blocked_at = True, self._reactor.now
            return False
        self.blocked_at = 0.0
        if progress is Progress.MORE:
            self.is_blocked = True
            self._reactor.come_back(self, select.EPOLLOUT)
            return False
        self._record(sending, "")
        if sending.block.closes:
            self._start(self._end)
            return False
        if self._reactor.is_draining:
            self.close()
            return False
        self.state = State.READING
        self.since = self._reactor.now
        return True

    def _give_up(self, cause: str) -> None:
        """Whoever waits for the rest of this answer must not take it for the whole (F5)."""
        sending = self._sending
        if sending is not None:
            self._record(sending, cause)
        self.abort()

    def _record(self, sending: Sending, cause: str) -> None:
        self._sending = None
        self._reactor.handler.record_hot(
            sending.line,
            sending.block,
            sending.request_id,
            self._client(sending.block),
            sending.now,
            time.monotonic() - sending.began,
            max(0, sending.sent),
            sending.status,
            cause,
        )

    def on_writable(self) -> None:
        """Send on; called when the client has made room, or when it is this connection's turn again."""
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self.is_blocked = False
            trio.lowlevel.reschedule(waiter)
        elif self._sending is not None and self.state is State.BUSY and self._go_on(self._sending):
            self._resume()

    def _resume(self) -> None:
        """Go back to reading: what has come meanwhile is here, or in the socket."""
        if self._buffer:
            self._advance()
        if self.state is State.READING and self.is_readable:
            self.on_readable()

    def _check_partial(self, end: int) -> None:
        """Refuse at once what can no longer become a good request."""
        buffer, limits = self._buffer.removeprefix(b"\r\n"), self._reactor.limits
        cut = buffer.find(b"\r\n")
        # Of what ends a line, or a head, all but the last byte may be here.
        line_bytes = cut if cut >= 0 else len(buffer) - 1
        if line_bytes > limits.max_target_bytes + 64:
            self._refuse(TargetTooLong())
        elif end >= 0 or len(self._buffer) - 3 > limits.max_head_bytes:
            self._refuse(HeaderTooLarge())
        elif not buffer or self._buffer == b"\r":
            return
        elif _BARE_LF.search(buffer) or buffer[0] not in _TOKEN:
            self._refuse(BadRequest("not an HTTP/1.1 request"))
        elif cut >= 0:
            try:
                self._reactor.handler.line(buffer[:cut])
            except BadRequest as exc:
                self._refuse(exc)

    def _refuse(self, error: RequestError) -> None:
        line, self._buffer = self._buffer.removeprefix(b"\r\n"), b""
        self._start(self._respond_error, error, line)

    def _start(self, work: object, *args: object) -> None:
        self.state = State.BUSY
        self.is_fresh = False
        self._reactor.nursery.start_soon(self._run, work, args)

    async def _run(self, work: object, args: tuple[object, ...]) -> None:
        """Do one request's work, then go back to reading. The broad except of what a connection's task does is here."""
        keeps_alive = False
        self.scope = trio.CancelScope()
        try:
            with self.scope:
                keeps_alive = await work(*args)  # type: ignore[operator]
            self.scope = None
            if not keeps_alive:
                self.abort()
            elif self._reactor.is_draining:
                self.close()
            elif not self._is_closed():
                self.state = State.READING
                self.since = self._reactor.now
                self._resume()
        except Exception as exc:
            self.fail(exc)
        except BaseException:
            self.abort()
            raise

    def fail(self, exc: Exception) -> None:
        """End this connection, whose own code has failed; it costs no other one anything."""
        error = InternalError("connection failed", client=self.peer)
        error.__cause__ = exc
        self._reactor.log.error("connection_failed", exc=error)
        self.abort()

    async def _respond(self, raw_line: bytes, raw_block: bytes) -> bool:
        """Answer one request the long way; returns whether the connection may go on."""
        reactor = self._reactor
        if len(raw_line) > reactor.limits.max_target_bytes + 64:
            return await self._respond_error(TargetTooLong(), raw_line)
        try:
            line = reactor.handler.line(raw_line)
            block = reactor.blocks.parse(raw_block)
            if block.range is not None and (split := split_range(raw_block)) is not None:
                # The next range is another, with the same fields around it.
                reactor.blocks.parse(split[0])
        except BadRequest as exc:
            return await self._respond_error(exc, raw_line)
        if block.error is not None and is_bad_chunk(block.headers, self._buffer):
            return await self._respond_error(BadRequest("malformed chunk size"), raw_line)
        keeps_alive = (not block.closes if line.minor else block.keeps_alive) and not reactor.is_draining
        if block.error is not None:
            keeps_alive = False
        return await self._handle(line, block, keeps_alive=keeps_alive)

    async def _respond_error(self, error: RequestError, raw_line: bytes) -> bool:
        # All that counts of a request that cannot be read: whether an answer to it has a body.
        method = "HEAD" if raw_line.startswith(b"HEAD ") else ""
        return await self._handle(Line(method, "", 0, error=error), _NO_HEADERS, keeps_alive=False)

    async def _handle(self, line: Line, block: HeaderBlock, *, keeps_alive: bool) -> bool:
        handler = self._reactor.handler
        request = Request(
            line,
            block,
            block.request_id or handler.new_id(),
            self._client(block),
            keeps_alive,
            time.time(),
            trio.current_time(),
        )
        result = await handler.handle(request, self)
        if not result.is_clean:
            self.abort()
            return False
        if result.must_close:
            await self._linger()
            return False
        return True

    def _client(self, block: HeaderBlock) -> str:
        """The client's address, behind proxies that are trusted."""
        trusted = self._reactor.limits.trusted_proxies
        return client_address(self.peer, block.headers, trusted) if trusted else self.peer

    async def send(self, *parts: Bytes) -> None:
        """Write all of the parts; see `proxy.reader.Client`."""
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            try:
                sent = self.sock.send(views[0]) if len(views) == 1 else self.sock.sendmsg(views)
            except BlockingIOError:
                await self._wait_writable()
                continue
            except OSError as exc:
                raise ClientGone(f"the client has gone: {exc.strerror}") from exc
            self._turn_bytes += sent
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]
            await self._take_turns()

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Write bytes of a file; see `proxy.reader.Client`."""
        start, stop = offset, offset + count
        while offset < stop:
            try:
                # Not `self.fd`: once this socket is closed, that number may be another connection's.
                sent = send_file(self.sock, fd, offset, stop - offset)
            except BlockingIOError:
                await self._wait_writable()
                continue
            except StoreError:
                if offset == start:
                    raise
                break
            except OSError as exc:
                raise ClientGone(f"the client has gone: {exc.strerror}") from exc
            offset += sent
            self._turn_bytes += sent
            await self._take_turns()
        return offset - start

    async def _take_turns(self) -> None:
        if self._turn_bytes >= _TURN_BYTES:
            self._turn_bytes = 0
            await trio.lowlevel.checkpoint()

    async def _wait_writable(self) -> None:
        if self.state is State.CLOSED:
            raise ClientGone("the connection was aborted")
        self._turn_bytes = 0
        self.is_blocked, self.blocked_at = True, self._reactor.now
        self._waiter = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiter)
        finally:
            self.is_blocked, self.blocked_at = False, 0.0
        if self._is_closed():
            raise ClientGone("the client took no byte for write_timeout")

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    def _stop_waiter(self, raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _end(self) -> bool:
        await self._linger()
        return False

    async def _linger(self) -> None:
        """Close behind an answer that is out."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            rest = _LINGER_BYTES
            with trio.move_on_after(_LINGER_SECONDS):
                while rest > 0:
                    try:
                        data = self.sock.recv(_RECV_BYTES)
                    except BlockingIOError:
                        await trio.lowlevel.wait_readable(self.fd)
                        continue
                    if not data:
                        return
                    rest -= len(data)
                    await trio.lowlevel.checkpoint()
        except (OSError, trio.ClosedResourceError):
            return  # It is gone already.
        finally:
            self.close()

    def on_gone(self) -> None:
        """The client has reset the connection, or closed it both ways: what is under way for it is for nobody."""
        if self.state is not State.BUSY:
            self.on_readable()
        elif self.scope is not None:
            self.scope.cancel()
        elif self._sending is not None:
            self._give_up("the client has gone")
        else:
            self.is_readable = True

    def stop_waiting(self, cause: str) -> None:
        """Give the client up that takes no bytes."""
        if self._sending is not None:
            self._give_up(cause)
        elif self._waiter is not None:
            self.abort()

    def refuse_slow_head(self) -> None:
        """Answer 408: the head took longer than header_timeout."""
        try:
            self.sock.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        except OSError:
            self._buffer = b""
        self.close()

    def abort(self) -> None:
        """Close with a reset, so that no client takes what it has for the whole (F5)."""
        if self.state is not State.CLOSED:
            try:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                self._buffer = b""
            self.close()

    def close_idle(self) -> None:
        """Close, unless a request is in the kernel already: to close on unread bytes resets (RFC 9112, section 9.6)."""
        if self.state is State.READING:
            with suppress(OSError):
                if self.sock.recv(1, socket.MSG_PEEK):
                    return  # The reactor is about to read it.
        self.close()

    def close(self) -> None:
        """Close; idempotent."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._buffer = b""
            self._reactor.forget(self)
            with suppress(OSError):
                self.sock.close()
            if self._sending is not None:
                self._record(self._sending, "the connection was closed")
            if self._waiter is not None:
                self.on_writable()
