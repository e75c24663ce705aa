"""A system call that fails costs the connection that it was for, at the most; everybody else is served."""

import errno
import os
import select
import socket
from typing import Any

import pytest
import trio

from tests.server.conftest import Proxy
from yatagarasu.server.reactor import Reactor

# By call: the errors of its next ones.
Faults = dict[str, list[int]]

TABLE: dict[str, Faults] = {
    "no descriptors left": {"accept": [errno.EMFILE]},
    "none left of all processes": {"accept": [errno.ENFILE, errno.ENFILE]},
    "the client gave up": {"accept": [errno.ECONNABORTED]},
    "a firewall": {"accept": [errno.EPERM]},
    "an error that accept(2) does not know": {"accept": [errno.EINVAL]},
    "a socket of its own mind": {"setblocking": [errno.ENOTTY]},
    "the client has gone before its options are set": {"setsockopt": [errno.EINVAL]},
    "too much is watched": {"register": [errno.ENOSPC]},
    "no memory to watch": {"register": [errno.ENOMEM]},
    "a listener that is paused, and cannot be watched then": {
        "accept": [errno.EMFILE],
        "register": [errno.ENOSPC, errno.ENOMEM],
    },
    "a listener that is not watched, and paused": {"accept": [errno.EMFILE], "unregister": [errno.ENOENT]},
    "it is not watched any more": {"unregister": [errno.ENOENT]},
    "recv": {"recv": [errno.ECONNRESET]},
    "recv of another kind": {"recv": [errno.EIO]},
    "send": {"send": [errno.EPIPE], "sendmsg": [errno.EPIPE]},
    "no buffers": {"send": [errno.ENOBUFS], "sendmsg": [errno.ENOBUFS]},
    "shutdown": {"shutdown": [errno.ENOTCONN]},
    "close": {"close": [errno.EIO]},
    "turned away, and not even that": {"register": [errno.ENOSPC], "send": [errno.EPIPE], "close": [errno.EIO]},
}


class _Socket(socket.socket):
    """An accepted connection."""

    faults: Faults

    def close(self) -> None:
        super().close()
        _fail(self.faults, "close")


def _method(name: str) -> Any:
    def call(self: _Socket, *arguments: Any) -> Any:
        _fail(self.faults, name)
        return getattr(super(_Socket, self), name)(*arguments)

    return call


for _name in ("setblocking", "setsockopt", "recv", "send", "sendmsg", "shutdown"):
    setattr(_Socket, _name, _method(_name))


class _Listener:
    def __init__(self, sock: socket.socket, faults: Faults) -> None:
        self._sock, self._faults = sock, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> tuple[socket.socket, Any]:
        _fail(self._faults, "accept")
        sock, address = self._sock.accept()
        made = _Socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made.faults = self._faults
        return made, address


class _Epoll:
    def __init__(self, epoll: select.epoll, faults: Faults) -> None:
        self._epoll, self._faults = epoll, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def register(self, fd: int, mask: int) -> None:
        _fail(self._faults, "register")
        self._epoll.register(fd, mask)

    def unregister(self, fd: int) -> None:
        _fail(self._faults, "unregister")
        self._epoll.unregister(fd)


def _fail(faults: Faults, call: str) -> None:
    if faults.get(call):
        number = faults[call].pop(0)
        raise OSError(number, os.strerror(number))


def break_calls(reactor: Reactor, faults: Faults) -> None:
    """Let system calls for this reactor's connections fail from here on."""
    listeners: dict[int, Any] = reactor._listeners
    for fd, sock in listeners.items():
        listeners[fd] = _Listener(sock, faults)
    reactor._epoll = _Epoll(reactor._epoll, faults)  # type: ignore[assignment]


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("ending", ["keep-alive", "close"])
async def test_a_call_that_fails(proxy: Proxy, name: str, ending: str):
    assert (await proxy.get("/b/k"))[0] == 200
    faults = {call: list(errors) for call, errors in TABLE[name].items()}
    break_calls(proxy.system.reactor, faults)
    request = f"GET /b/k HTTP/1.1\r\nHost: test\r\nConnection: {ending}\r\n\r\n".encode()
    for _ in range(3):
        answer = await proxy.raw(request, half_closes=True)
        assert answer[:13] in (b"", b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")
    with trio.fail_after(5):
        assert (await proxy.get("/b/k"))[2] == b"0123456789"
        while proxy.system.reactor.connections:
            await trio.sleep(0.01)
    if not (ending == "keep-alive" and name == "shutdown"):
        assert faults != TABLE[name], "it was never called"
    assert "connection_failed" not in proxy.log.text


async def test_one_that_cannot_be_watched_is_told_and_counted(proxy: Proxy):
    break_calls(proxy.system.reactor, {"register": [errno.ENOSPC]})
    answer = await proxy.raw(b"GET /b/k HTTP/1.1\r\nHost: test\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (proxy.system.metrics.connections_total, proxy.system.metrics.connections_refused) == (1, 1)
    assert "No space left on device" in proxy.log.text
