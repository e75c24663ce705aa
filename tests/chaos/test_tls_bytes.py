"""An answer over TLS that ends at each byte of its ciphertext in turn: what is not closed properly is not whole.

An attacker who can cut a connection, but not read it, must not make a part of an object look like all of it
(RFC 9112, section 9.8), whatever frames the body.
"""

import socket
import ssl
from contextlib import suppress
from functools import partial

import pytest
import trio
import trustme

from tests.chaos.test_every_byte import DATA, FRAMES, encode
from yatagarasu.errors import OriginBroken
from yatagarasu.origin.transport import OriginTransport

HEAD = b"GET /k HTTP/1.1\r\nhost: origin.test\r\n\r\n"
RESET = b"\x01\0\0\0\0\0\0\0"


class Cutter:
    """A TLS server that sends so many bytes of its answer's ciphertext, then ends the connection.

    `after` None sends all of it, close_notify included.
    """

    def __init__(self, context: ssl.SSLContext, answer: bytes) -> None:
        self._context, self._answer = context, answer
        self.after: int | None = None
        self.is_reset = False
        self.size = 0

    async def __call__(self, stream: trio.SocketStream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)

        async def turn() -> None:
            if outgoing.pending:
                await stream.send_all(outgoing.read())
            incoming.write(await stream.receive_some(65_536))

        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await turn()
        while True:
            try:
                tls.read(65_536)
                break
            except ssl.SSLWantReadError:
                await turn()
        await stream.send_all(outgoing.read())
        for start in range(0, len(self._answer), 100):  # Several records.
            tls.write(self._answer[start : start + 100])
        with suppress(ssl.SSLWantReadError):  # That is their close_notify, for which nobody waits.
            tls.unwrap()
        ciphertext = outgoing.read()
        self.size = len(ciphertext)
        await stream.send_all(ciphertext[: self.after])
        if self.is_reset:
            await trio.sleep(0.002)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await stream.aclose()


@pytest.fixture
def authority() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server and of a client that trusts it."""
    ca = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    server.num_tickets = 0
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(client)
    return server, client


async def fetch(transport: OriginTransport, port: int) -> bytes:
    """The whole body; raises OriginBroken where it is not."""
    response = await transport.fetch("https", "127.0.0.1", port, HEAD, method="GET")
    try:
        body = b""
        while data := response.take_buffered() or await response.receive_some():
            body += data
        return body
    finally:
        await response.aclose()


@pytest.mark.parametrize("is_reset", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["end", "reset"])
@pytest.mark.parametrize("frame", FRAMES)
async def test_cut_at_every_byte_of_the_ciphertext(authority, frame: str, is_reset: bool):
    server, client = authority
    # As systems do that forgive a missing close_notify for all their programs.
    client.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    cutter = Cutter(server, encode(frame, DATA))
    transport = OriginTransport(ssl_context=client, max_connections=1)
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), cutter, 0)
        port = listener.socket.getsockname()[1]
        assert await fetch(transport, port) == DATA
        whole = []
        cutter.is_reset = is_reset
        for after in range(cutter.size):
            cutter.after = after
            try:
                assert await fetch(transport, port) == DATA
                whole.append(after)
            except OriginBroken:
                continue
        # Of a body of known length every byte may be there before the records that say that it is over.
        last_record = cutter.size - 24 if frame != "connection" else cutter.size
        assert all(after >= last_record for after in whole), (whole, cutter.size)
        nursery.cancel_scope.cancel()
    await transport.aclose()
