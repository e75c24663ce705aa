"""Byte streams in memory, with ends, cuts and pauses where a test wants them."""

from collections import deque

import trio

from yatagarasu.errors import OriginBroken


class Pipe:
    """One direction: chunks in order, then an end, clean or not."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.is_closed = False
        self.is_reset = False
        self._arrived = trio.Event()

    def put(self, data: bytes) -> None:
        """Append bytes; after the end they go nowhere."""
        if not self.is_closed:
            self.chunks.append(data)
            self._wake()

    def close(self, *, reset: bool = False) -> None:
        """End it; what is in it is still read, unless it is reset."""
        if not self.is_closed:
            self.is_closed, self.is_reset = True, reset
            if reset:
                self.chunks.clear()
            self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def get(self, max_bytes: int) -> bytes:
        """At least one byte, b"" at the end. Raises OriginBroken after a reset."""
        await trio.lowlevel.checkpoint()
        while not self.chunks:
            if self.is_reset:
                raise OriginBroken("the connection was reset")
            if self.is_closed:
                return b""
            await self._arrived.wait()
        data = self.chunks.popleft()
        if len(data) > max_bytes:
            self.chunks.appendleft(data[max_bytes:])
        return data[:max_bytes]


class MemoryConnection:
    """The proxy's end of a connection to an origin; see `yatagarasu.origin.connect.Connection`."""

    def __init__(self) -> None:
        self.up, self.down = Pipe(), Pipe()

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        await trio.lowlevel.checkpoint()
        if self.down.is_reset:
            raise OriginBroken("the connection was lost while sending")
        self.up.put(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        """At least one byte, or b"" at the end."""
        return await self.down.get(max_bytes)

    def is_readable(self) -> bool:
        """Whether something came, or the end."""
        return bool(self.down.chunks) or self.down.is_closed

    def close(self) -> None:
        """Close at once."""
        self.up.close(reset=True)
        self.down.close(reset=True)
