"""What goes wrong before any request can: names, listeners and certificates, each as it really fails."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
import trustme

from tests.chaos.cases import Network
from yatagarasu.bench.origin import EmbeddedOrigin


class Names(trio.abc.HostnameResolver):
    """Every name is this machine, until it is struck out."""

    def __init__(self) -> None:
        self.lost: set[str] = set()

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        """An address for every name but the lost ones."""
        await trio.lowlevel.checkpoint()
        if host.decode() in self.lost:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.getaddrinfo("127.0.0.1", port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        """Nobody asks."""
        raise NotImplementedError


class Authority:
    """Certificates for one host name, from an authority that the proxy knows and from one that it does not."""

    def __init__(self, host: str, known: trustme.CA, unknown: trustme.CA) -> None:
        self.good, self.bad = (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for _ in range(2))
        known.issue_cert(host).configure_cert(self.good)
        unknown.issue_cert(host).configure_cert(self.bad)


class Front:
    """Where the proxy finds an origin: the origin itself, or TLS before it.

    Args:
        host: its name for the proxy.
        authority: None for no TLS.
    """

    def __init__(self, host: str, origin: EmbeddedOrigin, names: Names, authority: Authority | None = None) -> None:
        self._host, self._origin, self._names, self._authority = host, origin, names, authority
        self._nursery: trio.Nursery | None = None
        self._tls_port = 0
        self._scope = trio.CancelScope()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        if self._authority is None:
            return f"http://{self._host}:{self._origin.port}"
        return f"https://{self._host}:{self._tls_port}"

    async def fail(self, how: Network) -> None:
        """From now on every new connection fails like this, and there are no old ones."""
        if how == "no name":
            self._names.lost.add(self._host)
        self._scope.cancel()
        await trio.sleep(0.05)
        if how == "no name":
            await self._start(self._origin.serve)
        elif how == "bad certificate":
            assert self._authority is not None
            await self._start(partial(self._serve_tls, self._authority.bad))

    async def _start(self, serve) -> None:  # type: ignore[no-untyped-def]
        assert self._nursery is not None
        self._scope = trio.CancelScope()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._origin.serve)
                    if serve != self._origin.serve:
                        await nursery.start(serve)
                    task_status.started()

        await self._nursery.start(run)

    async def _serve_tls(self, context: ssl.SSLContext, *, task_status: trio.TaskStatus[None]) -> None:
        async def relay(plain: trio.SocketStream) -> None:
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
            try:
                async with (
                    stream,
                    await trio.open_tcp_stream("127.0.0.1", self._origin.port) as inner,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(_pump, inner, stream, nursery.cancel_scope)
                    await _pump(stream, inner, nursery.cancel_scope)
            except (OSError, trio.BrokenResourceError):
                return  # A handshake that the proxy has refused.

        listeners = await trio.open_tcp_listeners(self._tls_port, host="127.0.0.1")
        self._tls_port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(relay, listeners, handler_nursery=nursery)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve."""
        async with trio.open_nursery() as self._nursery:
            serve = self._origin.serve
            await self._start(serve if self._authority is None else partial(self._serve_tls, self._authority.good))
            yield
            self._nursery.cancel_scope.cancel()


async def _pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, scope: trio.CancelScope) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()
