"""Turns: what wakes a connection, and what becomes of the others where one fails."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.server.conftest import Proxy, run_proxy

GET = b"GET /b/k HTTP/1.1\r\nHost: test\r\n\r\n"


def connect(proxy: Proxy, data: bytes, *, ends: bool = False) -> trio.SocketStream:
    """A client whose bytes, and their end, are there before the server has a turn."""
    sock = socket.create_connection(("127.0.0.1", proxy.port))
    sock.sendall(data)
    if ends:
        sock.shutdown(socket.SHUT_WR)
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(5):
        async for chunk in stream:
            data += chunk
    return data


@pytest.mark.parametrize("requests", [GET, GET * 3, GET + b"GET /b/nope HTTP/1.1\r\nHost: test\r\n\r\n", GET[:20], b""])
async def test_an_end_that_comes_with_the_last_bytes_is_seen(proxy: Proxy, requests: bytes):
    """No second edge tells of it; the client would wait for idle_timeout."""
    await proxy.get("/b/k")
    async with connect(proxy, GET) as stream:  # Its fields have been seen: what follows is hot.
        await stream.receive_some(4096)
    async with connect(proxy, requests, ends=True) as stream:
        answer = await read_all(stream)
    assert answer.count(b"HTTP/1.1 ") == requests.count(b"\r\n\r\n")
    with trio.fail_after(1):
        while proxy.system.reactor.connections:
            await trio.sleep(0.01)


async def test_a_long_pipeline_goes_on_behind_a_request_that_took_a_task(proxy: Proxy):
    """More than a turn reads has come meanwhile, and nothing else happens that would wake the reactor."""
    await proxy.get("/b/k")
    proxy.store.put("bkt", "cold", b"cold")
    # Large heads, so that the answers to many bytes fit into a buffer, and nobody waits for room in it.
    padded = GET[:-2] + b"X-Padding: " + b"y" * 3_500 + b"\r\n\r\n"
    count, found = 45, b""
    # All of them have arrived before the first is read: no more come that would wake it.
    for listener in proxy.system.reactor._listeners.values():
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    async with connect(proxy, padded) as stream:
        await stream.receive_some(4096)
    async with connect(proxy, b"GET /b/cold HTTP/1.1\r\nHost: test\r\n\r\n" + padded * count) as stream:
        with trio.fail_after(5):
            while found.count(b"HTTP/1.1 200 ") < count + 1:
                found += await stream.receive_some(64 * 1024)


def fails(*arguments: Any) -> Any:
    raise RuntimeError("a defect of ours")


@pytest.mark.parametrize("method", ["seen", "hot", "ready", "record_hot"])
@pytest.mark.parametrize("before", [b"", b"GET /b/nope HTTP/1.1\r\nHost: test\r\nX: 1\r\n\r\n"])
async def test_a_defect_ends_the_connection_that_it_shows_in(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, method: str, before: bytes
):
    """In the reactor's own turn, where no task stands for the connection, and behind a request that took one."""
    await proxy.get("/b/k")
    part = GET[:-2] + b"Range: bytes=0-1\r\n\r\n"
    async with connect(proxy, GET + part) as other:
        await other.receive_some(4096)
        heal = _break(proxy, monkeypatch, method)
        async with connect(proxy, before + (part if method == "ready" else GET)) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await read_all(stream)
        assert proxy.log.text.count("connection_failed") == 1
        assert "RuntimeError: a defect of ours" in proxy.log.text
        heal()
        await other.send_all(GET)
        with trio.fail_after(5):
            assert (await other.receive_some(4096)).startswith(b"HTTP/1.1 200 ")


def _break(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, method: str) -> Callable[[], None]:
    handler = proxy.system.reactor.handler
    if method == "seen":  # It is asked of every request: only of this connection's second one it fails.
        monkeypatch.setattr(type(handler), "seen", lambda self, raw: None if b"nope" in raw else fails())
    else:
        monkeypatch.setattr(type(handler), method, fails)
    return monkeypatch.undo


async def test_an_answer_that_is_cut_short_when_all_ends_does_not_look_whole():
    """F5: where the end of the connection is the end of the body, it must not be a clean one."""

    async def half(request: Any, client: Any) -> Any:
        await client.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of it")
        await trio.sleep_forever()

    async with run_proxy() as proxy:
        proxy.system.reactor.handler.handle = half  # type: ignore[method-assign]
        stream = connect(proxy, b"GET /b/k HTTP/1.0\r\n\r\n")
        assert (await stream.receive_some(4096)).endswith(b"half of it")
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some(4096)
    await stream.aclose()
