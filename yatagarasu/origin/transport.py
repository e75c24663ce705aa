"""HTTP/1.1 to origins: an `httpx.AsyncBaseTransport` on trio sockets and httptools.

The fetch path calls `fetch` directly; whatever is off the hot path uses an `httpx.AsyncClient` over the same
connections. Body bytes of a known length do not pass through the parser.
"""

import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httptools
import trio

from yatagarasu.errors import ConnectionDied, OriginBroken, OriginLate
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.numbers import parse_count
from yatagarasu.http.wire import encode_request
from yatagarasu.origin.connect import Connection, open_connection, open_unix_connection
from yatagarasu.origin.pool import Pool, Pooled, PoolStatistics

if TYPE_CHECKING:
    import httpx

_MAX_HEAD_BYTES = 64 * 1024
_START = b"HTTP/1."
_FIRST_BYTES = 64 * 1024
# Per read of a large body: fewer, larger reads; beyond this nothing is gained.
_BODY_BYTES = 256 * 1024

Endpoint = tuple[str, str, int]


class _Parser:
    """llhttp's callbacks for one response."""

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.is_head_complete = False
        self.is_complete = False
        self.has_more = False  # bytes came after the message's end
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        # llhttp goes on with what follows a message, as if it were another one.
        self.has_more = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_head_complete:  # Trailers are nobody's.
            self.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_head_complete = True

    def on_body(self, data: bytes) -> None:
        if not self.is_complete:
            self.chunks.append(data)

    def on_message_complete(self) -> None:
        self.is_complete = True


class RawResponse:
    """A response whose head has come: `status`, `headers`, and a body to receive.

    Close it, always: after the body's clean end its connection is used again, before it is closed.
    """

    __slots__ = (
        "_buffered",
        "_is_ended",
        "_left",
        "_parser",
        "_pool",
        "_pooled",
        "endpoint",
        "headers",
        "minor",
        "status",
    )

    def __init__(self, status: int, minor: int, headers: Headers, endpoint: str, pool: Pool, pooled: Pooled) -> None:
        self.status = status
        self.minor = minor
        self.headers = headers
        self.endpoint = endpoint
        self._pool = pool
        self._pooled: Pooled | None = pooled
        self._left: int | None = None  # bytes of a body of known length that are still to come
        self._parser: _Parser | None = None  # for chunked bodies
        self._buffered = b""
        self._is_ended = False

    def _frame(self, method: str, rest: bytes) -> None:
        """Decide how the body ends (RFC 9112, section 6.3)."""
        headers = self.headers
        if method == "HEAD" or self.status in (204, 304):
            self._left = 0
        elif "transfer-encoding" in headers:
            if headers.get("transfer-encoding", "").lower() != "chunked" or "content-length" in headers:
                raise OriginBroken("unclear where the answer ends", endpoint=self.endpoint)
            self._parser = _Parser()
            self._parser.parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        else:
            lengths = set(headers.get_all("content-length"))
            if lengths:
                self._left = parse_count(lengths.pop())
                if lengths or self._left is None:
                    raise OriginBroken("a bad Content-Length", endpoint=self.endpoint)
        if self._left is not None:
            if len(rest) > self._left:
                # More than was promised: what it means is anybody's guess, so the connection goes.
                rest = rest[: self._left]
                self._pooled, pooled = None, self._pooled
                if pooled is not None:
                    self._pool.release(pooled, is_reusable=False)
            self._left -= len(rest)
        self._buffered = rest
        self._is_ended = self._left == 0 and not rest

    def take_buffered(self) -> bytes:
        """Body bytes that came with the head, perhaps none; never waits."""
        if self._parser is not None:
            return b""
        data, self._buffered = self._buffered, b""
        if data:
            self._is_ended = self._left == 0
        return data

    async def receive_some(self) -> bytes:
        """Body bytes as they come; b"" at the body's clean end.

        Raises:
            OriginBroken: the connection ended, or the framing broke, before that.

        Cancellation leaves the response fit for nothing but `aclose`.
        """
        if self._parser is not None:
            return await self._receive_chunked(self._parser)
        data = self._buffered
        if data:
            self._buffered = b""
            self._is_ended = self._left == 0
            return data
        if self._is_ended:
            return b""
        if self._pooled is None:
            raise OriginBroken("the answer was closed", endpoint=self.endpoint)
        size = _BODY_BYTES if self._left is None else min(self._left, _BODY_BYTES)
        data = await self._receive(self._pooled.connection, size)
        if self._left is None:
            # Delimited by the connection's end, which is as clean as it gets.
            self._is_ended = not data
        elif not data:
            raise OriginBroken(f"the connection closed with {self._left} bytes to come", endpoint=self.endpoint)
        else:
            self._left -= len(data)
            self._is_ended = self._left == 0
        return data

    async def _receive_chunked(self, state: _Parser) -> bytes:
        data = self._buffered
        self._buffered = b""
        while True:
            if data:
                try:
                    state.parser.feed_data(data)
                except httptools.HttpParserError as exc:
                    if not state.is_complete:
                        raise OriginBroken("broken chunks", endpoint=self.endpoint) from exc
                    state.has_more = True
            if state.chunks:
                found = b"".join(state.chunks)
                state.chunks.clear()
                return found
            if state.is_complete:
                self._is_ended = True
                return b""
            if self._pooled is None:
                raise OriginBroken("the answer was closed", endpoint=self.endpoint)
            data = await self._receive(self._pooled.connection, _BODY_BYTES)
            if not data:
                raise OriginBroken("the connection closed in the middle of chunks", endpoint=self.endpoint)

    async def _receive(self, connection: Connection, size: int) -> bytes:
        try:
            return await connection.receive_some(size)
        except OriginBroken as exc:
            exc.add(endpoint=self.endpoint)
            raise

    async def aclose(self) -> None:
        """Give the connection back, or close it where bytes are still to come. Does not wait; idempotent."""
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            keeps_alive = self.minor == 1 and "close" not in self.headers.get("connection", "").lower()
            is_delimited = self._left is not None or (self._parser is not None and not self._parser.has_more)
            self._pool.release(pooled, is_reusable=self._is_ended and keeps_alive and is_delimited)


class OriginTransport:
    """Connections to every endpoint, by (scheme, host, port); for "unix" the host is a path, the port 0.

    Args:
        connect_timeout: seconds for name, connection and TLS.
        first_byte_timeout: seconds from the request's last byte to the head.
        max_connections: per endpoint.
        ssl_context: None verifies as the system and certifi do.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        first_byte_timeout: float = 30.0,
        max_connections: int = 256,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._first_byte_timeout = first_byte_timeout
        self._max_connections = max_connections
        self._ssl_context = ssl_context
        self._pools: dict[Endpoint, Pool] = {}

    def statistics(self) -> dict[Endpoint, PoolStatistics]:
        """Connections by endpoint."""
        return {endpoint: pool.statistics() for endpoint, pool in self._pools.items()}

    def _pool(self, endpoint: Endpoint) -> Pool:
        pool = self._pools.get(endpoint)
        if pool is None:
            scheme, host, port = endpoint
            tls = self._tls() if scheme == "https" else None

            async def connect() -> Connection:
                if scheme == "unix":
                    return await open_unix_connection(host, connect_timeout=self._connect_timeout)
                return await open_connection(host, port, tls=tls, connect_timeout=self._connect_timeout)

            pool = self._pools[endpoint] = Pool(connect, self._max_connections)
        return pool

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            import certifi

            self._ssl_context = ssl.create_default_context()
            self._ssl_context.load_verify_locations(certifi.where())
        # A system may forgive a missing close_notify for all its programs: a cut body would look whole
        # (RFC 9112, section 9.8). Without OpenSSL 3 there is no such option.
        self._ssl_context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        return self._ssl_context

    async def fetch(
        self, scheme: str, host: str, port: int, head: bytes, *, method: str, resends: bool = True
    ) -> RawResponse:
        """Send a request and return when the head of its answer is there.

        Args:
            head: the whole request head with its empty line; there is no body.
            method: HEAD has no body to wait for.
            resends: send again, once, where a kept-alive connection proves dead; False leaves that to a
                caller who counts requests.

        Raises:
            OriginUnreachable: no connection.
            ConnectionDied: only where `resends` is False.
            OriginBroken: the connection ended, or what came is no HTTP.
            OriginLate: no head within `first_byte_timeout`.

        Cancellation closes the connection.
        """
        endpoint = (scheme, host, port)
        pool = self._pool(endpoint)
        name = f"unix:{host}" if scheme == "unix" else f"{scheme}://{host}:{port}"
        pooled = await pool.acquire()
        if pooled.is_reused:
            try:
                return await self._exchange(pool, pooled, head, method, name)
            except _DiedIdle as exc:
                # Its idle neighbours are likely to be dead too.
                pool.close_idle()
                if not resends:
                    raise ConnectionDied("a kept-alive connection was dead", endpoint=name) from exc.__cause__
                # A kept-alive connection that ends without a byte was closed while the request was under way:
                # that says nothing about the origin, and GET and HEAD may be sent again.
                pooled = await pool.acquire(fresh=True)
        try:
            return await self._exchange(pool, pooled, head, method, name)
        except _DiedIdle as exc:
            raise OriginBroken("the connection closed before an answer", endpoint=name) from exc.__cause__

    async def _exchange(self, pool: Pool, pooled: Pooled, head: bytes, method: str, name: str) -> RawResponse:
        connection = pooled.connection
        is_kept = False
        try:
            with trio.CancelScope(deadline=trio.current_time() + self._first_byte_timeout):
                try:
                    await connection.send_all(head)
                    response = await self._receive_head(pool, pooled, method, name)
                except OriginBroken as exc:
                    exc.add(endpoint=name)
                    raise
                is_kept = True
                return response
            raise OriginLate(f"no answer within {self._first_byte_timeout:g} s", endpoint=name)
        finally:
            if not is_kept:
                pool.release(pooled, is_reusable=False)

    async def _receive_head(self, pool: Pool, pooled: Pooled, method: str, name: str) -> RawResponse:
        connection, buffer = pooled.connection, b""
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(buffer) > _MAX_HEAD_BYTES:
                    raise OriginBroken("a response head over 64 KiB")
                if not _START.startswith(buffer[: len(_START)]):
                    raise OriginBroken("the answer is not HTTP/1")
                try:
                    data = await connection.receive_some(_FIRST_BYTES)
                except OriginBroken as exc:
                    if not buffer:
                        raise _DiedIdle from exc
                    raise
                if not data:
                    if not buffer:
                        raise _DiedIdle
                    raise OriginBroken("the connection closed in the middle of the head")
                buffer += data
                continue
            if end > _MAX_HEAD_BYTES:
                raise OriginBroken("a response head over 64 KiB")
            # llhttp would forgive empty lines before it: whether it saw them depended on how the bytes arrive.
            if not buffer.startswith(_START):
                raise OriginBroken("the answer is not HTTP/1")
            status, minor, headers = parse_head(buffer[: end + 4])
            buffer = buffer[end + 4 :]
            if 100 <= status < 200:
                continue
            response = RawResponse(status, minor, headers, name, pool, pooled)
            response._frame(method, buffer)
            return response

    async def aclose(self) -> None:
        """Close idle connections; those in use close as they are given back."""
        for pool in self._pools.values():
            pool.close()


class _DiedIdle(Exception):
    """The connection ended before any byte of an answer."""


def parse_head(head: bytes) -> tuple[int, int, Headers]:
    """Status, minor version and fields of a response head with its empty line. Raises OriginBroken."""
    state = _Parser()
    try:
        state.parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as exc:
        raise OriginBroken("the answer is not HTTP/1") from exc
    if not state.is_head_complete:
        raise OriginBroken("the answer is not HTTP/1")
    minor = 0 if state.parser.get_http_version() == "1.0" else 1
    return state.parser.get_status_code(), minor, Headers.from_raw(state.pairs)


def as_httpx(transport: OriginTransport) -> "httpx.AsyncBaseTransport":
    """The same connections under an `httpx.AsyncClient`.

    httpx is imported here and not above: it costs a tenth of a second, and the fetch path does not need it.
    """
    import httpx

    class _Stream(httpx.AsyncByteStream):
        def __init__(self, response: RawResponse) -> None:
            self._response = response

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while data := await self._response.receive_some():
                    yield data
            except OriginBroken as exc:
                raise httpx.RemoteProtocolError(str(exc)) from exc

        async def aclose(self) -> None:
            await self._response.aclose()

    class _Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            from yatagarasu.errors import OriginUnreachable

            if request.method not in ("GET", "HEAD"):
                raise httpx.UnsupportedProtocol("only GET and HEAD", request=request)
            url = request.url
            pairs: list[Pair] = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
            ]
            head = encode_request(request.method, url.raw_path.decode("ascii"), pairs)
            port = url.port or (443 if url.scheme == "https" else 80)
            try:
                response = await transport.fetch(url.scheme, url.host, port, head, method=request.method)
            except OriginUnreachable as exc:
                raise httpx.ConnectError(str(exc), request=request) from exc
            except OriginLate as exc:
                raise httpx.ReadTimeout(str(exc), request=request) from exc
            except OriginBroken as exc:
                raise httpx.RemoteProtocolError(str(exc), request=request) from exc
            return httpx.Response(
                response.status, headers=list(response.headers), stream=_Stream(response), request=request
            )

        async def aclose(self) -> None:
            await transport.aclose()

    return _Transport()
