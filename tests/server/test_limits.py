"""Timeouts, caps, listeners."""

import socket

import pytest
import trio

from tests.server.conftest import free_port, make_config, run_proxy
from yatagarasu.app import open_system
from yatagarasu.errors import ConfigError


async def test_a_slow_head_is_told_so():
    async with run_proxy(server={"header_timeout": "200ms"}) as proxy:
        answer = await proxy.raw(b"GET /b/k HTTP/1.1\r\nHost: ")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_without_a_word():
    async with run_proxy(server={"idle_timeout": "200ms"}) as proxy:
        assert await proxy.raw(b"") == b""


async def test_a_client_that_takes_nothing_is_cut_off():
    async with run_proxy(server={"write_timeout": "500ms"}) as proxy:
        proxy.store.put_pattern("bkt", "large", 64 * 1024 * 1024)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            await stream.send_all(b"GET /b/large HTTP/1.1\r\nHost: x\r\n\r\n")
            with trio.fail_after(8):
                while proxy.system.reactor.connections:
                    await trio.sleep(0.1)
            while not proxy.system.coalescer.is_idle:
                await trio.sleep(0.1)


async def test_connections_over_the_cap_are_turned_away():
    async with run_proxy(server={"max_connections": 2}) as proxy:
        kept = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(2)]
        for stream in kept:
            await stream.send_all(b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await stream.receive_some(4096)
        assert (await proxy.raw(b"")).startswith(b"HTTP/1.1 503 ")
        for stream in kept:
            await stream.aclose()
        with trio.fail_after(5):
            while proxy.system.reactor.connections:
                await trio.sleep(0.01)
        assert (await proxy.get("/health"))[0] == 200


async def test_unix_sockets_and_several_listeners(tmp_path):
    path = tmp_path / "proxy.sock"
    async with run_proxy(server={"listen": ["127.0.0.1:0", f"unix:{path}", "127.0.0.1:0"]}) as proxy:
        assert len(proxy.system.addresses) == 3
        with trio.fail_after(5):
            stream = await trio.open_unix_socket(str(path))
            async with stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200")


async def test_a_dead_unix_socket_is_taken_over_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with run_proxy(server={"listen": [f"unix:{path}"]}):
        config = make_config("http://127.0.0.1:1", server={"listen": [f"unix:{path}"]})
        with pytest.raises(ConfigError, match="taken"):
            async with open_system(config):
                pass
    assert not path.exists()


async def test_a_taken_port_is_named():
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: the address is taken"):
            async with open_system(make_config("http://127.0.0.1:1", server={"listen": [f"127.0.0.1:{port}"]})):
                pass


async def test_ten_thousand_random_requests_leave_nothing(proxy):
    import os
    import random

    from tests.server.test_malformed import TABLE

    seeds = [request for request, _ in TABLE.values() if len(request) < 500]
    seeds += [
        b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /b/k HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n\r\n",
        b"GET /b/nope HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
        b"GET /b?list-type=2 HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    await proxy.get("/b/k")
    before = len(os.listdir("/proc/self/fd"))

    def mutate(rng: random.Random) -> bytes:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(1, 8)]
            elif kind == 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 8))
            else:
                data[at:at] = rng.choice([b"\r\n", b"\0", b"%", b"..", b" ", b":", b"\n"])
            data = data or bytearray(b"G")
        return bytes(data)

    async def client(number: int) -> None:
        rng = random.Random(number)
        stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        async with stream:
            try:
                for _ in range(25):
                    await stream.send_all(mutate(rng))
                    with trio.move_on_after(0.002):
                        await stream.receive_some(65536)
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        for number in range(400):
            nursery.start_soon(client, number)
    with trio.fail_after(10):
        while proxy.system.reactor.connections or not proxy.system.coalescer.is_idle:
            await trio.sleep(0.05)
    assert (await proxy.get("/b/k"))[2] == b"0123456789"
    assert "connection_failed" not in proxy.log.text
    assert "InternalError" not in proxy.log.text
    assert "Traceback" not in proxy.log.text
    with trio.fail_after(5):
        while len(os.listdir("/proc/self/fd")) > before + 4:
            await trio.sleep(0.05)


async def test_a_client_that_has_just_connected_is_answered_by_a_server_that_drains():
    async with run_proxy() as proxy:
        proxy.store.put("bkt", "k", b"0123456789")
        with trio.fail_after(8):
            used, fresh, silent = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(3)]
            await used.send_all(b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await used.receive_some(4096)).startswith(b"HTTP/1.1 200 ")
            while len(proxy.system.reactor.connections) < 3:
                await trio.sleep(0.01)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(proxy.system.drain)
                assert await used.receive_some(4096) == b""
                await fresh.send_all(b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while data := await fresh.receive_some(4096):
                    answer += data
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"\r\nconnection: close\r\n" in answer
                # Who says nothing does not hold up the end.
                assert await silent.receive_some(4096) == b""
            for stream in (used, fresh, silent):
                await stream.aclose()


async def test_a_request_that_is_here_already_is_not_closed_upon():
    """The loop may be late: what looks idle to it has a request in the kernel."""
    async with run_proxy() as proxy:
        proxy.store.put("bkt", "k", b"0123456789")
        with trio.fail_after(8):
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                request = b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n"
                await stream.send_all(request)
                assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200 ")
                (connection,) = proxy.system.reactor.connections.values()
                # Nothing else runs between the two.
                stream.socket._sock.send(request)
                connection.close_idle()
                assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200 ")
                connection.close_idle()
                assert await stream.receive_some(4096) == b""
