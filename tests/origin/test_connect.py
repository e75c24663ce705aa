"""TLS to origins: good, wrong name, unknown authority, and plain text where TLS is meant."""

import ssl

import pytest
import trio
import trustme

from yatagarasu.errors import OriginUnreachable
from yatagarasu.origin.transport import OriginTransport

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(stream: trio.abc.Stream) -> None:
    try:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        await stream.receive_some(65536)
    except (trio.BrokenResourceError, ssl.SSLError):
        return


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def serve(nursery: trio.Nursery, authority: trustme.CA, name: str) -> int:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    listeners = await nursery.start(trio.serve_ssl_over_tcp, answer, 0, context)
    return int(listeners[0].transport_listener.socket.getsockname()[1])


def trusting(authority: trustme.CA) -> OriginTransport:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return OriginTransport(ssl_context=context)


async def test_a_good_certificate(nursery, authority):
    port = await serve(nursery, authority, "localhost")
    transport = trusting(authority)
    response = await transport.fetch("https", "localhost", port, HEAD, method="GET")
    body = response.take_buffered()
    while data := await response.receive_some():
        body += data
    assert body == b"x" * 300_000
    await response.aclose()
    await transport.aclose()


async def test_a_wrong_name_is_refused(nursery, authority):
    port = await serve(nursery, authority, "other.example")
    with pytest.raises(OriginUnreachable, match="Hostname mismatch"):
        await trusting(authority).fetch("https", "localhost", port, HEAD, method="GET")


async def test_an_unknown_authority_is_refused(nursery, authority):
    port = await serve(nursery, authority, "localhost")
    with pytest.raises(OriginUnreachable, match=r"unable to get local issuer certificate|self-signed"):
        await OriginTransport().fetch("https", "localhost", port, HEAD, method="GET")


async def test_plain_text_is_no_tls(nursery):
    listeners = await nursery.start(trio.serve_tcp, answer, 0)
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(OriginUnreachable, match="TLS"):
        await OriginTransport().fetch("https", "127.0.0.1", port, HEAD, method="GET")


@pytest.mark.parametrize("pieces", [[b"helloEVIL"], [b"hello", b"EVIL"]], ids=["one record", "two records"])
async def test_bytes_behind_an_answer_are_not_the_next_ones(nursery, authority, pieces):
    """They may wait inside the TLS buffers, where the socket does not show them."""
    connections = 0
    is_sent = trio.Event()

    async def say_too_much(stream: trio.abc.Stream) -> None:
        nonlocal connections
        connections += 1
        try:
            while await stream.receive_some(65536):
                if is_sent.is_set():
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
                    continue
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
                for piece in pieces:
                    await stream.send_all(piece.replace(b"EVIL", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"))
                is_sent.set()
        except (trio.BrokenResourceError, ssl.SSLError):
            return

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    listeners = await nursery.start(trio.serve_ssl_over_tcp, say_too_much, 0, context)
    port = int(listeners[0].transport_listener.socket.getsockname()[1])
    transport = trusting(authority)
    bodies = []
    for _ in range(2):
        response = await transport.fetch("https", "localhost", port, HEAD, method="GET")
        await is_sent.wait()
        body = response.take_buffered()
        while data := await response.receive_some():
            body += data
        await response.aclose()
        bodies.append(body)
    assert bodies == [b"hello", b"good"]
    assert connections == 2
