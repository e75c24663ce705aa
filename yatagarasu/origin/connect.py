"""Connections to origins: happy eyeballs (RFC 8305), TLS, and sockets that are tried before they are waited for.

Foreign exceptions end here: what comes out is OriginUnreachable or OriginBroken.
"""

import os
import socket
import ssl
from typing import Protocol

import trio

from yatagarasu.errors import OriginBroken, OriginUnreachable

# RFC 8305, section 5: how long one address has before the next is tried beside it.
_HAPPY_EYEBALLS_SECONDS = 0.25
# How long to wait before a unix listener with a full queue is tried again: nothing tells when it has room.
_FULL_QUEUE_SECONDS = 0.005


class Connection(Protocol):
    """A byte stream to an origin."""

    async def send_all(self, data: bytes) -> None:
        """Send everything. Raises OriginBroken."""
        ...

    async def receive_some(self, max_bytes: int) -> bytes:
        """At least one byte, or b"" at the end. Raises OriginBroken."""
        ...

    def is_readable(self) -> bool:
        """Whether something came, or the peer has closed, while nobody asked."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


class PlainConnection:
    """A TCP or unix socket: the call first, the wait only where it would block."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            except OSError as exc:
                raise OriginBroken("the connection was lost while sending") from exc

    async def receive_some(self, max_bytes: int) -> bytes:
        """At least one byte, or b"" at the end."""
        while True:
            try:
                return self._sock.recv(max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError as exc:
                raise OriginBroken("the connection was reset") from exc

    def is_readable(self) -> bool:
        """Whether something came while nobody asked."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close at once."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class TLSConnection:
    """TLS over a plain connection, through memory buffers."""

    __slots__ = ("_incoming", "_outgoing", "_plain", "_tls")

    def __init__(self, plain: PlainConnection, context: ssl.SSLContext, server_hostname: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    async def handshake(self) -> None:
        """Shake hands. Raises ssl.SSLError, OriginBroken."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            raise OriginBroken("TLS failed while sending") from exc
        await self._flush()

    async def receive_some(self, max_bytes: int) -> bytes:
        """At least one byte, or b"" at a clean end."""
        while True:
            try:
                return self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as exc:
                raise OriginBroken(f"TLS failed: {exc.reason}") from exc

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._plain.send_all(self._outgoing.read())

    async def _fill(self) -> None:
        data = await self._plain.receive_some(256 * 1024)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def is_readable(self) -> bool:
        """Whether something came while nobody asked; a session ticket counts too, and costs a new connection.

        Bytes past the end of an answer may wait in the buffers, where the socket does not show them: the next
        request on this connection would take them for its own answer.
        """
        return self._incoming.pending > 0 or self._tls.pending() > 0 or self._plain.is_readable()

    def close(self) -> None:
        """Close at once."""
        self._plain.close()


async def open_connection(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    connect_timeout: float,
) -> Connection:
    """Connect, by name or address, with TLS where a context is given.

    Raises:
        OriginUnreachable: says whether it was the name, the connection, TLS or the time.

    Cancellation leaves no socket behind.
    """
    where = f"{host}:{port}"
    with trio.move_on_after(connect_timeout):
        try:
            stream = await trio.open_tcp_stream(host, port, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS)
        except socket.gaierror as exc:
            raise OriginUnreachable(f"no address for {host}: {exc.strerror}", endpoint=where) from exc
        except OSError as exc:
            causes = _causes(exc)
            reasons = ", ".join(
                dict.fromkeys(os.strerror(cause.errno) if cause.errno else str(cause) for cause in causes)
            )
            raise OriginUnreachable(f"cannot connect to {where}: {reasons}", endpoint=where) from causes[0]
        plain = PlainConnection(_raw(stream))
        if tls is None:
            return plain
        connection = TLSConnection(plain, tls, host)
        try:
            await connection.handshake()
        except ssl.SSLError as exc:
            connection.close()
            why = getattr(exc, "verify_message", "") or exc.reason or str(exc)
            raise OriginUnreachable(f"TLS with {where} failed: {why}", endpoint=where) from exc
        except OriginBroken as exc:
            connection.close()
            raise OriginUnreachable(f"TLS with {where} failed: the connection was lost", endpoint=where) from exc
        except BaseException:
            connection.close()
            raise
        return connection
    raise OriginUnreachable(f"no connection to {where} within {connect_timeout:g} s", endpoint=where)


async def open_unix_connection(path: str, *, connect_timeout: float) -> PlainConnection:
    """Connect to a unix socket.

    Raises:
        OriginUnreachable: nobody listens there, or its queue stays full.

    Cancellation leaves no socket behind.
    """
    where = f"unix:{path}"
    try:
        sock = socket.socket(socket.AF_UNIX)
    except OSError as exc:
        raise OriginUnreachable(f"no socket for {where}: {exc.strerror}", endpoint=where) from exc
    try:
        sock.setblocking(False)
        with trio.move_on_after(connect_timeout):
            while True:
                try:
                    sock.connect(path)
                    return PlainConnection(sock)
                except BlockingIOError:
                    await trio.sleep(_FULL_QUEUE_SECONDS)
        raise OriginUnreachable(f"no connection to {where} within {connect_timeout:g} s", endpoint=where)
    except OSError as exc:
        sock.close()
        raise OriginUnreachable(f"cannot connect to {where}: {exc.strerror}", endpoint=where) from exc
    except BaseException:
        sock.close()
        raise


def _causes(error: OSError) -> list[OSError]:
    """What stood against each address: trio raises one error without a number, from a group of one per address."""
    group = error.__cause__
    found = (
        [leaf for leaf in group.exceptions if isinstance(leaf, OSError)] if isinstance(group, ExceptionGroup) else []
    )
    return found or [error]


def _raw(stream: trio.SocketStream) -> socket.socket:
    """The plain socket under trio's stream, which is used no more."""
    wrapped = stream.socket
    raw = socket.socket(wrapped.family, wrapped.type, wrapped.proto, fileno=wrapped.detach())
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw
