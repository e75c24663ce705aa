"""Clients of every temper over real sockets, and what each of them got.

They read HTTP with a parser of their own: what the proxy's code would misread the same way twice must not pass here.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

_CHUNK = 64 * 1024
_SLOW_CHUNK, _SLOW_SECONDS = 16 * 1024, 0.01


@dataclass
class Answer:
    """One answer: `is_whole` where its framing says that every byte came; `has_left` where the client did not wait."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False
    has_left: bool = False

    @property
    def request_id(self) -> str:
        """What the proxy calls this request; empty where no head came."""
        return self.fields.get("x-request-id", "")


class Wire:
    """A client's end of a connection."""

    def __init__(self, stream: trio.SocketStream, *, is_slow: bool = False) -> None:
        self._stream = stream
        self._is_slow = is_slow
        self._buffer = b""

    async def _more(self) -> bool:
        if self._is_slow:
            await trio.sleep(_SLOW_SECONDS)
        try:
            data = await self._stream.receive_some(_SLOW_CHUNK if self._is_slow else _CHUNK)
        except trio.BrokenResourceError:
            return False
        self._buffer += data
        return bool(data)

    async def answer(self, answer: Answer, *, until: int | None = None) -> Answer:
        """Read one answer into `answer`; with `until`, leave after so many body bytes."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return answer
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1", status_line
        answer.status = int(status)
        pairs = [line.split(": ", 1) for line in lines]
        answer.fields = dict(pairs)  # type: ignore[arg-type]
        assert len({name for name, _ in pairs if name in ("content-length", "transfer-encoding")}) <= 1, head
        if "transfer-encoding" in answer.fields:
            await self._chunks(answer)
        else:
            await self._counted(answer, int(answer.fields["content-length"]), until)
        return answer

    async def _counted(self, answer: Answer, size: int, until: int | None) -> None:
        while len(self._buffer) < size:
            if until is not None and len(self._buffer) >= until:
                answer.body, answer.has_left = self._buffer, True
                return
            if not await self._more():
                answer.body, self._buffer = self._buffer, b""
                return
        answer.body, self._buffer = self._buffer[:size], self._buffer[size:]
        answer.is_whole = True

    async def _chunks(self, answer: Answer) -> None:
        while True:
            while b"\r\n" not in self._buffer:
                if not await self._more():
                    return
            line, _, rest = self._buffer.partition(b"\r\n")
            size = int(line, 16)
            while len(rest) < size + 2:
                before = self._buffer
                if not await self._more():
                    answer.body += rest[:size]
                    return
                rest += self._buffer[len(before) :]
            assert rest[size : size + 2] == b"\r\n"
            answer.body += rest[:size]
            self._buffer = rest[size + 2 :]
            if size == 0:
                answer.is_whole = True
                return

    async def is_closed(self) -> bool:
        """Whether nothing more comes, not even a byte."""
        return not self._buffer and not await self._more()


def request(target: str, *fields: str, closes: bool = False) -> bytes:
    """A GET as bytes."""
    lines = [f"GET {target} HTTP/1.1", "Host: proxy.test", *fields, *(["Connection: close"] if closes else []), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _connect(port: int, *, small: bool = False) -> trio.SocketStream:
    sock = trio.socket.socket()
    if small:
        # What the kernels hold between the two would hide from the proxy that nobody reads.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    try:
        await sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def patient(port: int, target: str, good: str, *fields: str) -> list[Answer]:
    """Asks and waits for the end."""
    async with await _connect(port) as stream:
        await stream.send_all(request(target, *fields, closes=True))
        return [await Wire(stream).answer(Answer())]


async def leaves(port: int, target: str, good: str, *fields: str) -> list[Answer]:
    """Goes away in the middle of the body, or while it waits for a head."""
    answer = Answer()
    with trio.move_on_after(0.25):
        async with await _connect(port, small=True) as stream:
            await stream.send_all(request(target, *fields))
            await Wire(stream).answer(answer, until=50_000)
    answer.has_left = True
    return [answer]


async def reads_slowly(port: int, target: str, good: str, *fields: str) -> list[Answer]:
    """Takes its time with every piece."""
    async with await _connect(port, small=True) as stream:
        await stream.send_all(request(target, *fields, closes=True))
        return [await Wire(stream, is_slow=True).answer(Answer())]


async def pipelines(port: int, target: str, good: str, *fields: str) -> list[Answer]:
    """Asks for the object, a good one and the object again, all at once, on one connection."""
    async with await _connect(port) as stream:
        await stream.send_all(request(target, *fields) + request(good, *fields) + request(target, *fields, closes=True))
        wire, answers = Wire(stream), []
        for _ in range(3):
            answers.append(await wire.answer(Answer()))
            if not answers[-1].is_whole:
                break
        assert await wire.is_closed()
        return answers


async def half_closes(port: int, target: str, good: str, *fields: str) -> list[Answer]:
    """Says that it will send no more, and waits for its answer (RFC 9112, section 9.6)."""
    async with await _connect(port) as stream:
        await stream.send_all(request(target, *fields))
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_eof()  # Unless it is over already.
        return [await Wire(stream).answer(Answer())]


Behaviour = Callable[..., Awaitable[list[Answer]]]
BEHAVIOURS: dict[str, Behaviour] = {
    "patient": patient,
    "leaves": leaves,
    "slow": reads_slowly,
    "pipelines": pipelines,
    "half-closes": half_closes,
}
