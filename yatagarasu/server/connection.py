"""One client connection: HTTP/1.1 over a non-blocking socket.

The reactor calls `on_readable`. What a hot entry answers is answered there and then, with no task and no
wait; everything else gets a task, and until that is done the connection is busy and reads nothing.
"""

import os
import re
import socket
import struct
import time
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
    TargetTooLong,
)
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlock, is_bad_chunk
from yatagarasu.proxy.pipeline import Request
from yatagarasu.proxy.router import Line
from yatagarasu.server.forwarded import client_address

if TYPE_CHECKING:
    from yatagarasu.server.reactor import Reactor

# Most heads are below 1 KiB; a pipeline of some fits too.
_RECV_BYTES = 16 * 1024
# A client that never stops sending gets so many reads before others get their turn.
_READS_A_TURN = 4
# Up to here one copy is cheaper than a second buffer in the system call.
_JOIN_BYTES = 32 * 1024
# Bytes a response may write without blocking before others get a turn.
_TURN_BYTES = 4 * 1024 * 1024
# How long, and how much, a closing connection reads what the client still sends, so that the kernel does not
# throw away an answer that it has not read (RFC 9112, section 9.6).
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1024 * 1024

_BARE_LF = re.compile(rb"(?<!\r)\n")
_NO_HEADERS = HeaderBlock(Headers())
_RESET = struct.pack("ii", 1, 0)


class State(Enum):
    """Where a connection is."""

    READING = 1  # waits for a request, or for the rest of one
    BUSY = 2  # a task answers
    CLOSED = 3


class Connection:
    """A connection and its unread bytes.

    `since` is the monotonic second at which it began to wait for what it waits for; `blocked_at` the one at
    which the client stopped taking bytes, 0 while it takes them.
    """

    __slots__ = (
        "_buffer",
        "_has_skipped",
        "_reactor",
        "_turn_bytes",
        "blocked_at",
        "fd",
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
        self._has_skipped = False
        self._reactor = reactor
        self._turn_bytes = 0

    def __repr__(self) -> str:
        return f"<Connection {self.peer} {self.state.name} buffered={len(self._buffer)}>"

    @property
    def has_partial_request(self) -> bool:
        """Whether some bytes of a request have come, but not its whole head."""
        return bool(self._buffer)

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
            if self._buffer:
                self._buffer += data
            else:
                self._buffer = data
                self.since = self._reactor.now
            self._advance()
            if len(data) < _RECV_BYTES:
                return  # A short read has emptied the socket; its next byte is a new edge.
        if self.state is State.READING:
            self._reactor.read_again(self)
        else:
            self.is_readable = True

    def _advance(self) -> None:
        """Answer the requests in the buffer, until one needs a task or more bytes."""
        reactor = self._reactor
        handler = reactor.handler
        seen, known, hot = handler.seen, reactor.blocks.get, handler.hot
        buffer = self._buffer
        if buffer[0] == 13 and not self._has_skipped and buffer.startswith(b"\r\n"):
            # RFC 9112, section 2.2: one empty line before a request is forgiven.
            self._has_skipped = True
            self._buffer = buffer = buffer[2:]
        while buffer:
            end = buffer.find(b"\r\n\r\n")
            if end < 0 or end > reactor.limits.max_head_bytes:
                self._buffer = buffer
                self._check_partial(end)
                return
            cut = buffer.find(b"\r\n")
            line = seen(buffer[:cut])
            block = known(buffer[cut + 2 : end + 2])
            if line is not None and block is not None and block.is_plain:
                now = time.time()
                answer = hot(line, now)
                if answer is not None and not reactor.is_draining:
                    began = time.monotonic()
                    buffer = buffer[end + 4 :]
                    request_id = block.request_id or handler.new_id()
                    head = answer.head + request_id.encode() + b"\r\n\r\n"
                    size = answer.size if line.method == "GET" else 0
                    try:
                        if size <= _JOIN_BYTES:
                            out: Bytes = head + answer.body if size else head
                            sent = self.sock.send(out)
                        else:
                            out = head
                            sent = self.sock.sendmsg((head, answer.body))
                    except BlockingIOError:
                        sent = 0
                    except OSError:
                        self.close()
                        return
                    if sent < len(head) + size:
                        self._buffer = buffer
                        rest = (memoryview(out)[sent:], answer.body if size > _JOIN_BYTES else b"")
                        if size > _JOIN_BYTES and sent > len(head):
                            rest = (memoryview(b""), memoryview(answer.body)[sent - len(head) :])
                        self._start(self._finish, rest, line, block, request_id, now, began, size)
                        return
                    handler.record_hot(
                        line, block, request_id, self._client(block), now, time.monotonic() - began, size
                    )
                    continue
            self._buffer = buffer[end + 4 :]
            self._start(self._respond, buffer[:cut], buffer[cut + 2 : end + 2])
            return
        self._buffer = b""
        self.since = reactor.now

    def _check_partial(self, end: int) -> None:
        """Refuse at once what can no longer become a good request."""
        buffer, limits = self._buffer, self._reactor.limits
        cut = buffer.find(b"\r\n")
        line_bytes = cut if cut >= 0 else len(buffer)
        if line_bytes > limits.max_target_bytes + 64:
            self._refuse(TargetTooLong())
        elif end >= 0 or len(buffer) > limits.max_head_bytes:
            self._refuse(HeaderTooLarge())
        elif _BARE_LF.search(buffer) or not 65 <= buffer[0] <= 90:
            self._refuse(BadRequest("not an HTTP/1.1 request"))
        elif cut >= 0:
            try:
                self._reactor.handler.line(buffer[:cut])
            except BadRequest as exc:
                self._refuse(exc)

    def _refuse(self, error: RequestError) -> None:
        self._buffer = b""
        self._start(self._respond_error, error)

    def _start(self, work: object, *args: object) -> None:
        self.state = State.BUSY
        self._has_skipped = False
        self._reactor.nursery.start_soon(self._run, work, args)

    async def _run(self, work: object, args: tuple[object, ...]) -> None:
        """Do one request's work, then go back to reading. The one broad except per connection is here."""
        keeps_alive = False
        self.scope = trio.CancelScope()
        try:
            with self.scope:
                keeps_alive = await work(*args)  # type: ignore[operator]
        except Exception as exc:
            error = InternalError("connection failed", client=self.peer)
            error.__cause__ = exc
            self._reactor.log.error("connection_failed", exc=error)
        finally:
            self.scope = None
            if self.state is not State.CLOSED:
                if not keeps_alive or self._reactor.is_draining:
                    self.close()
                else:
                    self.state = State.READING
                    self.since = self._reactor.now
        if self.state is State.READING:
            if self._buffer:
                self._advance()
            if self.state is State.READING and self.is_readable:
                self.on_readable()

    async def _respond(self, raw_line: bytes, raw_block: bytes) -> bool:
        """Answer one request the long way; returns whether the connection may go on."""
        reactor = self._reactor
        if len(raw_line) > reactor.limits.max_target_bytes + 64:
            return await self._respond_error(TargetTooLong())
        try:
            line = reactor.handler.line(raw_line)
            block = reactor.blocks.parse(raw_block)
        except BadRequest as exc:
            return await self._respond_error(exc)
        if block.error is not None and is_bad_chunk(block.headers, self._buffer):
            return await self._respond_error(BadRequest("malformed chunk size"))
        keeps_alive = (not block.closes if line.minor else block.keeps_alive) and not reactor.is_draining
        if block.error is not None:
            keeps_alive = False
        return await self._handle(line, block, keeps_alive=keeps_alive)

    async def _respond_error(self, error: RequestError) -> bool:
        return await self._handle(Line("", "", 0, error=error), _NO_HEADERS, keeps_alive=False)

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

    async def _finish(
        self,
        rest: tuple[memoryview, Bytes],
        line: Line,
        block: HeaderBlock,
        request_id: str,
        now: float,
        began: float,
        size: int,
    ) -> bool:
        """Send what a hot answer could not send at once."""
        try:
            await self.send(*rest)
        except ClientGone:
            self.abort()
            return False
        self._reactor.handler.record_hot(
            line, block, request_id, self._client(block), now, time.monotonic() - began, size
        )
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

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        """Write bytes of a file; see `proxy.reader.Client`."""
        while count:
            try:
                # Not `self.fd`: once this socket is closed, that number may be another connection's.
                sent = os.sendfile(self.sock.fileno(), fd, offset, count)
            except BlockingIOError:
                await self._wait_writable()
                continue
            except OSError as exc:
                raise ClientGone(f"the client has gone: {exc.strerror}") from exc
            if sent == 0:
                raise InternalError("a body's file is shorter than its extents")
            offset, count = offset + sent, count - sent
            self._turn_bytes += sent
            await self._take_turns()

    async def _take_turns(self) -> None:
        if self._turn_bytes >= _TURN_BYTES:
            self._turn_bytes = 0
            await trio.lowlevel.checkpoint()

    async def _wait_writable(self) -> None:
        if self.state is State.CLOSED:
            raise ClientGone("the connection was aborted")
        self._turn_bytes = 0
        self.blocked_at = self._reactor.now
        try:
            await trio.lowlevel.wait_writable(self.fd)
        except (trio.ClosedResourceError, OSError) as exc:
            raise ClientGone("the client took no byte for write_timeout") from exc
        finally:
            self.blocked_at = 0.0

    async def _linger(self) -> None:
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

    def stop_waiting(self) -> None:
        """Wake a task that waits for the client to take bytes; it finds the client gone."""
        trio.lowlevel.notify_closing(self.fd)

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

    def close(self) -> None:
        """Close; idempotent."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._buffer = b""
            self._reactor.forget(self)
            self.sock.close()
