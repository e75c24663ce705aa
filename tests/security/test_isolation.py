"""What a client cannot reach: the admin listener through a public one, and any host but the configured origin."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from tests.security.conftest import OK, Pair, open_pair
from yatagarasu.app import open_system
from yatagarasu.config.model import Config

ADMIN_PATHS = ["/metrics", "/cache/stats", "/cache/entries", "/cache/purge", "/cache/warm", "/-/counts", "/"]
SPELLINGS = ["{}", "/{}", "/.{}", "/b/..{}", "{}/", "{}?x", "{};x", "/%2e{}", "/b%2f..{}", "{}%20"]


@pytest.mark.parametrize("path", ADMIN_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_the_admin_listener_through_the_public_one(pair: Pair, path: str, method: str):
    fields = [
        f"Host: 127.0.0.1:{pair.admin_port}",
        f"X-Forwarded-Host: 127.0.0.1:{pair.admin_port}",
        f"X-Original-URL: {path}",
        f"X-Rewrite-URL: {path}",
    ]
    for spelling in SPELLINGS:
        target = spelling.format(path)
        lines = [f"{method} {target} HTTP/1.1", *fields, "Connection: close", "", ""]
        answer = await pair.raw("\r\n".join(lines).encode(), half_closes=True)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 405 ")), (target, answer)
        assert b"yatagarasu_" not in answer
    assert pair.origin.heads == []


async def test_probes_on_the_public_listener_say_nothing_else(pair: Pair):
    for path in ("/health", "/ready"):
        answer = await pair.get(path)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
        assert str(pair.origin.port).encode() not in answer
        assert b"bkt" not in answer


@pytest.fixture
async def internal(nursery: trio.Nursery) -> AsyncIterator[Any]:
    """Something on this machine that nobody outside may reach: its port, and what was sent to it."""
    found = SimpleNamespace(port=0, contacts=[])

    async def serve(stream: trio.SocketStream) -> None:
        found.contacts.append(await stream.receive_some(1000))
        await stream.send_all(OK.replace(b"data", b"SECR"))

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    found.port = listener.socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    yield found
    nursery.cancel_scope.cancel()


async def test_no_request_chooses_its_host(pair: Pair, internal: Any):
    where = f"127.0.0.1:{internal.port}"
    requests = [
        f"GET /b/k1 HTTP/1.1\r\nHost: {where}\r\n",
        f"GET http://{where}/b/k HTTP/1.1\r\nHost: {where}\r\n",
        f"GET //{where}/b/k HTTP/1.1\r\nHost: x\r\n",
        f"GET @{where}/b/k HTTP/1.1\r\nHost: x\r\n",
        f"GET /b/http://{where}/ HTTP/1.1\r\nHost: x\r\n",
        f"GET /b@{where}/k HTTP/1.1\r\nHost: x\r\n",
        f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n",
        f"GET /b/k2 HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: {where}\r\nX-Forwarded-Server: {where}\r\nForwarded: host={where}\r\n",
        f"GET /b/k3 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {where}\r\nX-Real-IP: {where}\r\nX-Host: {where}\r\n",
        f"GET /b/k4 HTTP/1.1\r\nHost: x\r\nReferer: http://{where}/\r\nOrigin: http://{where}\r\nRange: bytes=0-1\r\n",
    ]
    for request in requests:
        answer = await pair.raw(f"{request}Connection: close\r\n\r\n".encode(), half_closes=True)
        assert b"SECR" not in answer
    assert internal.contacts == []
    assert len(pair.origin.heads) >= 4
    for head in pair.origin.heads:
        assert f"host: 127.0.0.1:{pair.origin.port}".encode() in head.lower()
        assert where.encode() not in head.partition(b"\r\n")[2]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_a_redirect_is_neither_followed_nor_passed_on(pair: Pair, internal: Any, status: int):
    def answer(head: bytes) -> bytes:
        return (
            f"HTTP/1.1 {status} Go\r\nlocation: http://127.0.0.1:{internal.port}/latest/meta-data\r\n"
            f"refresh: 0; url=http://127.0.0.1:{internal.port}/\r\ncontent-length: 0\r\n\r\n"
        ).encode()

    pair.origin.answer = answer
    for method in ("GET", "HEAD"):
        got = await pair.get("/b/k", method=method)
        assert got.startswith(b"HTTP/1.1 502 "), got
        assert str(internal.port).encode() not in got
    assert internal.contacts == []


async def test_a_redirect_of_a_listing_is_not_followed_either(pair: Pair, internal: Any):
    pair.origin.answer = lambda head: (
        f"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{internal.port}/\r\ncontent-length: 0\r\n\r\n".encode()
    )
    answer = await pair.get("/b?list-type=2")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert internal.contacts == []


async def test_an_entity_in_an_origins_error_document_reads_no_file(pair: Pair):
    body = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><Error><Code>AccessDenied</Code><Message>&e;</Message></Error>'
    pair.origin.answer = lambda head: b"HTTP/1.1 403 No\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    answer = await pair.get("/b/k")
    assert answer.startswith(b"HTTP/1.1 403 ")
    with open("/etc/hostname") as file:  # noqa: ASYNC230
        name = file.read().strip()
    assert name not in pair.log.text


async def test_one_bucket_is_never_anothers():
    """Two buckets with objects of one name, asked for in turn and at once."""
    async with open_pair() as first, open_pair() as second:
        config = {"server": {"listen": ["127.0.0.1:0"]}, "admin": {"listen": ""}, "cache": {"ttl": "1h"}}
        buckets = [
            {
                "name": name,
                "path_prefix": f"/{name}",
                "s3": {"bucket": "bkt", "endpoint": f"http://127.0.0.1:{pair.origin.port}", "anonymous": True},
            }
            for name, pair in (("a", first), ("ab", second))
        ]
        first.origin.answer = lambda head: OK.replace(b"data", b"AAAA")
        second.origin.answer = lambda head: OK.replace(b"data", b"BBBB")
        async with open_system(
            Config.model_validate({**config, "buckets": buckets}), write_access=lambda batch: None
        ) as system:
            port = int(system.addresses[0].rpartition(":")[2])
            for _ in range(2):
                for target, body in (("/a/k", b"AAAA"), ("/ab/k", b"BBBB"), ("/a/b/k", b"AAAA"), ("/ab//k", b"BBBB")):
                    assert (
                        await first.raw(
                            f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), port=port
                        )
                    ).endswith(body)
