"""A reader: one response being written to one client out of a body (flight rules F2, F3, F5, F10).

One path for hits, misses, followers, ranges and resumes. Whatever a reader cannot finish ends with its
connection torn down, so that a short body never looks whole.
"""

from typing import Protocol

from yatagarasu.cache.body import Body, Bytes
from yatagarasu.cache.entry import Entry
from yatagarasu.errors import OriginBroken, StoreError
from yatagarasu.proxy.assembly import Lease
from yatagarasu.proxy.coalescer import Coalescer

# Bytes per send: large enough that a system call's price vanishes, small enough that others get a turn.
_SEND_BYTES = 1024 * 1024


class Client(Protocol):
    """The connection a response goes to. Each call raises ClientGone when nobody takes the bytes."""

    async def send(self, *parts: Bytes) -> None:
        """Write all of the parts, in order."""
        ...

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Write `count` bytes of a file from `offset` on; returns how many it could read.

        Raises StoreError: none.
        """
        ...


class Reader:
    """Writes stretches of one entry's body.

    Args:
        client: where bytes go.
        entry: whose body they are.
        coalescer: asked for bytes that are missing.
        lease: hold on the assembly; None for a complete body.
        head: the response head, sent with the first bytes.
        is_chunked: frame the body as chunks, because its length is not known (RFC 9112, section 7.1).
    """

    __slots__ = (
        "_client",
        "_coalescer",
        "_entry",
        "_head",
        "_is_chunked",
        "_lease",
        "_own",
        "has_begun",
        "sent_bytes",
    )

    def __init__(
        self,
        client: Client,
        entry: Entry,
        coalescer: Coalescer,
        lease: Lease | None,
        head: bytes,
        *,
        is_chunked: bool = False,
    ) -> None:
        self._client = client
        self._entry = entry
        self._coalescer = coalescer
        self._lease = lease
        self._head = head
        self._is_chunked = is_chunked
        self._own: Lease | None = None
        self.has_begun = False
        self.sent_bytes = 0

    async def write(self, data: bytes) -> None:
        """Send bytes that are not the body's: part heads, the end of a multipart."""
        await self._send(data)

    async def copy(self, start: int, stop: int | None) -> None:
        """Send the body's bytes [start, stop), `stop` None for the end, as they come.

        Raises:
            ClientGone: nobody takes them.
            OriginError, StoreError: they will not come; if the head has gone out, the connection must go too.
        """
        body, lease, pos = self._entry.body, self._lease, start
        if lease is not None:
            body = lease.assembly.body
            lease.pos, lease.stop = start, stop
        while stop is None or pos < stop:
            try:
                end = body.present_until(pos)
                if end > pos:
                    end = end if stop is None else min(end, stop)
                    pos = await self._send_present(body, pos, end)
                    if lease is not None:
                        lease.pos = pos
                    continue
                if lease is None:
                    raise OriginBroken("a complete body has a hole")
                if self._head and self._entry.strong_etag is not None and lease.assembly.is_confirmed:
                    # Followers answer as soon as the head is known (F2). Without a strong ETag, or with a stored head
                    # that may not be the object's any more, it waits for the first byte: until then everything may
                    # still begin again (F3, F4).
                    await self._send()
                    continue
                if not await self._coalescer.wait_bytes(lease):
                    break
            except StoreError as exc:
                if lease is None:
                    self._coalescer.lose(self._entry.key, exc)
                if lease is None or self._own is not None:
                    raise
                # A full disk must cost nobody a download.
                self._own = lease = self._lease = await self._coalescer.fetch_rest(lease, exc)
                body = lease.assembly.body

    def close(self) -> None:
        """Give back what the reader took for itself; idempotent."""
        if self._own is not None:
            self._own.release()

    async def finish(self) -> None:
        """End the response cleanly: every byte is out."""
        if self._is_chunked:
            self._is_chunked = False
            await self._send(b"0\r\n\r\n", is_body=False)
        elif self._head:
            await self._send()

    async def _send_present(self, body: Body, pos: int, end: int) -> int:
        end = min(end, pos + _SEND_BYTES)
        fd = body.fileno()
        if fd is not None and not self._is_chunked:
            if self._head:
                await self._send()
            sent = await self._client.send_file(fd, pos, end - pos)
            self.sent_bytes += sent
            return pos + sent
        data = body.view(pos, end)
        await self._send(data)
        return pos + len(data)

    async def _send(self, data: Bytes = b"", *, is_body: bool = True) -> None:
        head, self._head = self._head, b""
        if head:
            self.has_begun = True
            if self._lease is not None:
                self._lease.has_begun = True
        if self._is_chunked and is_body and len(data):
            await self._client.send(head, b"%x\r\n" % len(data), data, b"\r\n")
        elif len(data):
            await self._client.send(head, data) if head else await self._client.send(data)
        elif head:
            await self._client.send(head)
        self.sent_bytes += len(data) if is_body else 0
