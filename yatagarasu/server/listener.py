"""Listening sockets: "host:port" (port 0 is any free one) and "unix:/path"."""

import errno
import os
import socket
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress

from yatagarasu.errors import ConfigError

# What nginx asks for; the kernel bounds it by net.core.somaxconn.
_BACKLOG = 4096


class UnixListener(socket.socket):
    """A unix socket that knows which process has bound it: only that one may take its name away."""

    __slots__ = ("bound_by",)

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX)
        self.bound_by = os.getpid()


class ListenerPool:
    """Listening sockets that outlive those who accept from them.

    With SO_REUSEPORT the kernel spreads connections over sockets, so every worker has its own of each TCP address. A
    socket that was once opened stays in use as long as its address does, however many workers there are: connections
    may be waiting in it.
    """

    def __init__(self) -> None:
        # By whether each worker has its own, address, and which of the same addresses: "127.0.0.1:0" may come twice.
        self._groups: dict[tuple[bool, str, int], list[socket.socket]] = {}

    def spread(self, addresses: Sequence[str], count: int) -> tuple[tuple[socket.socket, ...], ...]:
        """Listeners of all addresses for each of `count` workers, opened where they are not yet.

        Raises:
            ConfigError: names the address and what stands against it; what has been opened is `keep`'s to close.
        """
        shares: list[list[socket.socket]] = [[] for _ in range(count)]
        for key in _keys(True, addresses):
            group = self._groups.setdefault(key, [])
            while len(group) < (1 if key[1].startswith("unix:") else count):
                group.append(self._open_another(key[1], group))
            for index, share in enumerate(shares):
                share.extend(group if key[1].startswith("unix:") else group[index::count])
        return tuple(tuple(share) for share in shares)

    def common(self, addresses: Sequence[str]) -> tuple[socket.socket, ...]:
        """Listeners of all addresses, the same for every worker. Raises ConfigError as `spread` does."""
        for key in _keys(False, addresses):
            if key not in self._groups:
                self._groups[key] = [_open(key[1])]
        return tuple(sock for key in _keys(False, addresses) for sock in self._groups[key])

    def keep(self, used: Collection[socket.socket]) -> None:
        """Close all others; in a child of the process that opened them too."""
        for key, group in list(self._groups.items()):
            close_listeners([sock for sock in group if sock not in used])
            self._groups[key] = [sock for sock in group if sock in used]
            if not self._groups[key]:
                del self._groups[key]

    def _open_another(self, address: str, group: Sequence[socket.socket]) -> socket.socket:
        if address.startswith("unix:"):
            return _open(address)
        if group:
            # Port 0 was any free one; the others of the group take the same.
            return _open(f"{address.rpartition(':')[0]}:{group[0].getsockname()[1]}", shares_port=True)
        port = int(address.rpartition(":")[2])
        if port and not any(port == _port(sock) for others in self._groups.values() for sock in others):
            # SO_REUSEPORT would let two programs listen without either knowing.
            _open(address, listens=False).close()
        return _open(address, shares_port=True)


def _keys(is_spread: bool, addresses: Sequence[str]) -> list[tuple[bool, str, int]]:
    return [(is_spread, address, addresses[:index].count(address)) for index, address in enumerate(addresses)]


def _port(sock: socket.socket) -> int:
    name = sock.getsockname()
    return int(name[1]) if isinstance(name, tuple) else 0


def open_listeners(addresses: Sequence[str]) -> list[socket.socket]:
    """Bind and listen on every address, or on none.

    Raises:
        ConfigError: names the address and what stands against it.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            opened += (_open(address),)
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def _open(address: str, *, shares_port: bool = False, listens: bool = True) -> socket.socket:
    try:
        if address.startswith("unix:"):
            return open_unix(address[5:])
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        infos = socket.getaddrinfo(
            host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, kind, protocol, _, where = infos[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shares_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
            if listens:
                sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "the address is taken by another process",
            errno.EACCES: "permission denied (ports below 1024 need a privilege)",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }
        raise ConfigError(
            f"cannot listen on {address}: {reasons.get(exc.errno or 0, exc.strerror or str(exc))}"
        ) from exc
    sock.setblocking(False)
    return sock


def open_unix(path: str) -> socket.socket:
    """Bind a unix socket and listen; one that nobody listens on any more is taken over. Raises OSError."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
    except FileNotFoundError:
        pass
    sock = UnixListener()
    try:
        sock.bind(path)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def close_listeners(listeners: Sequence[socket.socket]) -> None:
    """Close listeners; whoever has bound a unix one takes its name away as well."""
    for sock in listeners:
        if sock.fileno() < 0:
            continue
        # A name that stays is taken over by whoever listens next; who closes has requests to finish.
        with suppress(OSError):
            name = sock.getsockname()
            sock.close()
            if isinstance(sock, UnixListener) and sock.bound_by == os.getpid():
                os.unlink(name)


def format_address(sock: socket.socket) -> str:
    """An address as a person writes it: "127.0.0.1:8080", "[::1]:8080" or "unix:/path"."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
