"""Listening sockets: "host:port" (port 0 is any free one) and "unix:/path"."""

import errno
import os
import socket
import stat
from collections.abc import Sequence

from yatagarasu.errors import ConfigError

# What nginx asks for; the kernel bounds it by net.core.somaxconn.
_BACKLOG = 4096


def open_listeners(addresses: Sequence[str]) -> list[socket.socket]:
    """Bind and listen on every address, or on none.

    Raises:
        ConfigError: names the address and what stands against it.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            opened.extend(_open(address))
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def _open(address: str) -> list[socket.socket]:
    try:
        if address.startswith("unix:"):
            return [_open_unix(address[5:])]
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        infos = socket.getaddrinfo(
            host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, kind, protocol, _, where = infos[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
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
    return [sock]


def _open_unix(path: str) -> socket.socket:
    """Bind a unix socket; one that nobody listens on any more is taken over."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def close_listeners(listeners: Sequence[socket.socket]) -> None:
    """Close listeners, and take away the names of unix ones."""
    for sock in listeners:
        if sock.fileno() < 0:
            continue
        name = sock.getsockname()
        sock.close()
        if isinstance(name, str) and name:
            try:
                os.unlink(name)
            except FileNotFoundError:
                continue


def format_address(sock: socket.socket) -> str:
    """An address as a person writes it: "127.0.0.1:8080", "[::1]:8080" or "unix:/path"."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
