"""How the load generator's connections come to be and end: connecting, TLS, sending what did not go at once."""

import errno
import select
import socket
import ssl
from collections.abc import Callable

from yatagarasu.bench.checks import ErrorKind
from yatagarasu.bench.client import Client, State
from yatagarasu.bench.endpoint import Endpoint
from yatagarasu.bench.plan import Plan

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Sockets:
    """The sockets of one worker, registered with its epoll.

    Args:
        on_ready: a connection stands and can be written to.
        on_failed: it, or a request on it, has failed with a kind.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext | None,
        on_ready: Callable[[Client], None],
        on_failed: Callable[[Client, ErrorKind], None],
    ) -> None:
        self.epoll = select.epoll()
        self.by_fd: dict[int, Client] = {}
        self._endpoint = endpoint
        self._tls = tls
        self._on_ready = on_ready
        self._on_failed = on_failed

    def connect(self, client: Client) -> None:
        """Begin to connect; `on_ready` or `on_failed` follows, at once or from `step`."""
        try:
            sock = socket.socket(self._endpoint.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            self._on_failed(client, ErrorKind.CONNECT)
            return
        client.use(sock)
        client.fd = sock.fileno()
        self.by_fd[client.fd] = client
        code = sock.connect_ex(self._endpoint.address)
        # A unix socket whose backlog is full says EAGAIN, and tells nobody when it is not any more.
        if code not in (0, errno.EINPROGRESS):
            self._on_failed(client, ErrorKind.CONNECT)
            return
        if self._endpoint.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.state = State.CONNECTING
        self.epoll.register(client.fd, select.EPOLLOUT)

    def step(self, client: Client) -> None:
        """Go on with a connection that is not reading an answer, since its socket is ready."""
        sock = client.sock
        assert sock is not None
        if client.state is State.CONNECTING:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._on_failed(client, ErrorKind.CONNECT)
            elif self._tls is None:
                self._ready(client)
            else:
                name = self._endpoint.tls_name
                client.use(self._tls.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False))
                client.state = State.SHAKING
                self._shake(client)
        elif client.state is State.SHAKING:
            self._shake(client)
        elif client.state is State.SENDING:
            self.send(client)
        else:
            self._idle(client)

    def send(self, client: Client) -> None:
        """Send what is left of a request; then the connection reads."""
        try:
            client.out = client.out[client.send(client.out) :]
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            self.interrupted(client, error)
            return
        if client.out:
            if client.state is not State.SENDING:
                client.state = State.SENDING
                self.epoll.modify(client.fd, select.EPOLLOUT)
            return
        if client.state is State.SENDING:
            self.epoll.modify(client.fd, select.EPOLLIN)
        client.state = State.READING

    def interrupted(self, client: Client, error: OSError) -> None:
        """Receiving raised this: nothing there yet, or the connection is lost."""
        if not isinstance(error, _WOULD_BLOCK):
            self._on_failed(client, ErrorKind.TLS if isinstance(error, ssl.SSLError) else ErrorKind.RESET)

    def drop(self, client: Client) -> None:
        """Close a connection, whatever it was doing."""
        client.state = State.DOWN
        if client.sock is not None:
            del self.by_fd[client.fd]
            client.sock.close()
            client.sock = None

    def _shake(self, client: Client) -> None:
        assert isinstance(client.sock, ssl.SSLSocket)
        try:
            client.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.epoll.modify(client.fd, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self.epoll.modify(client.fd, select.EPOLLOUT)
        except ssl.SSLError:
            self._on_failed(client, ErrorKind.TLS)
        except OSError:
            self._on_failed(client, ErrorKind.RESET)
        else:
            self._ready(client)

    def _ready(self, client: Client) -> None:
        self.epoll.modify(client.fd, select.EPOLLIN)
        client.state = State.IDLE
        self._on_ready(client)

    def _idle(self, client: Client) -> None:
        """A connection without a request: the server has closed it, or sent what nobody asked for."""
        try:
            client.recv_into(bytearray(1), 1, 0)
        except _WOULD_BLOCK:  # TLS: a session ticket.
            return
        except OSError:
            pass
        self.drop(client)


def tls_context(plan: Plan) -> ssl.SSLContext:
    """What https connections of a plan trust."""
    context = ssl.create_default_context(cafile=plan.ca_file)
    if plan.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
