"""One connection of the load generator, and what arrives on it. It decides nothing about what is asked next."""

import socket
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from yatagarasu.bench.checks import ErrorKind, is_pattern
from yatagarasu.bench.mix import Ask
from yatagarasu.bench.response import ChunkedBody, Garbage, Head, read_head

MAX_HEAD_BYTES = 64 * 1024
# A head that came in pieces is put together in front of what was received last.
BUFFER_BYTES = 256 * 1024 + MAX_HEAD_BYTES
RECEIVE_BYTES = 256 * 1024

# `Client.left` while nothing of the answer has come, or only a part of its head, and where only the end of the
# message tells its length.
HEAD = -1
PART = -2
UNKNOWN = -3
# What `receive` found: more must come, or the answer is whole; otherwise it is a status.
PENDING = 0
NO_ASK = Ask(b"", 0, None, None)
_STATUS_LINE = len("HTTP/1.1 200 ")


class State(IntEnum):
    """What a connection waits for."""

    READING = 0
    IDLE = 1
    DOWN = 2
    CONNECTING = 3
    SHAKING = 4
    SENDING = 5


class Shape(NamedTuple):
    """The outline of an answer that came at once, head and body, and leaves its connection open.

    Where the next one has the same size, status and field for the length at the same place, and its head ends
    where this one's did, it is framed as this one was, and no parser need look at it.
    """

    size: int
    status_line: bytes
    length_field: bytes
    length_at: int
    head_end: int
    status: int


NO_SHAPE = Shape(-1, b"", b"", 0, 0, 0)


class Broken(Exception):
    """An answer that cannot be read to its end; `kind` says why."""

    def __init__(self, kind: ErrorKind) -> None:
        self.kind = kind


class Client:
    """A connection and the request on it.

    Times are monotonic ns: `began` when the request was meant to be sent, 0 while there is none; `sent` when it was
    (or its connection was begun); `first` when the first byte of the answer came, 0 before; `freed` when the last one
    ended. `out` is what must still be sent, `left` how many body bytes must still come. `is_checked` says whether
    these are compared, `fault` what is wrong with an answer that is whole; `shape` is for the engine to take. `flags`
    are for `recv_into`.
    """

    __slots__ = (
        "_chunks",
        "_head",
        "_skipping",
        "_status",
        "ask",
        "began",
        "body_bytes",
        "closes",
        "fault",
        "fd",
        "first",
        "flags",
        "freed",
        "is_checked",
        "is_head_method",
        "left",
        "out",
        "recv_into",
        "send",
        "sent",
        "shape",
        "sock",
        "state",
    )

    def __init__(self, *, is_head_method: bool, skips: bool) -> None:
        self.is_head_method = is_head_method
        # Bytes that nobody looks at need not be copied: the kernel drops them, and large bodies cost us half.
        self._skipping = socket.MSG_TRUNC if skips else 0
        self.sock: socket.socket | None = None
        self.recv_into: Callable[[Any, int, int], int]
        self.send: Callable[[bytes], int]
        self.fd = -1
        self.state = State.DOWN
        self.sent = self.freed = 0
        self.shape: Shape | None = None
        self.fault: ErrorKind | None = None
        self.is_checked = self.closes = False
        self._chunks: ChunkedBody | None = None
        self.expect(NO_ASK, 0)

    def expect(self, ask: Ask, began: int) -> None:
        """Get ready for the answer to a request."""
        self.ask = ask
        self.out = ask.wire
        self.began = began
        self.left = HEAD
        self.flags = 0
        self.first = self.body_bytes = 0
        self.fault = None

    def use(self, sock: socket.socket) -> None:
        """Take a connected socket."""
        self.sock = sock
        self.recv_into = sock.recv_into
        self.send = sock.send

    def take_whole(self, buffer: bytearray, start: int, stop: int, status: int) -> None:
        """Take an answer that is known to have its body, whole, at `buffer[start:stop]`."""
        ask = self.ask
        size = self.body_bytes = stop - start
        if status == ask.status:
            if ask.size is not None and ask.size != size:
                self.fault = ErrorKind.LENGTH
                self.is_checked = False
            elif self.is_checked and not is_pattern(ask.seed or 0, ask.start, buffer, start, stop):
                self.fault = ErrorKind.BODY

    def receive(self, buffer: bytearray, size: int) -> int:
        """Read `size` new bytes of the answer in `buffer`, 0 at the end of the connection.

        Returns: its status once it is whole, else PENDING.

        Raises:
            Broken: it ended too soon, or is no answer.
        """
        if size == 0:
            return self._end()
        start = 0
        if self.left == HEAD or self.left == PART:
            if self.left == PART:
                kept = len(self._head)
                buffer[kept : kept + size] = buffer[:size]
                buffer[:kept] = self._head
                size += kept
            try:
                start = self._read_head(buffer, size)
            except Garbage as error:
                raise Broken(ErrorKind.GARBAGE) from error
            if start == 0:
                return PENDING
        if self.left == UNKNOWN and self._chunks is not None:
            return self._read_chunks(bytes(buffer[start:size]))
        self._take(buffer, start, size)
        if self.left == UNKNOWN:
            return PENDING
        self.left -= size - start
        if self.left < 0:
            raise Broken(ErrorKind.GARBAGE)
        if self.left == 0:
            return self._status
        if not self.is_checked:
            self.flags = self._skipping
        return PENDING

    def _read_head(self, buffer: bytearray, size: int) -> int:
        """Read the head of the final answer; returns where its body starts, 0 if it is not whole yet."""
        at = 0
        while True:
            end = buffer.find(b"\r\n\r\n", at, size)
            if end < 0:
                if size - at > MAX_HEAD_BYTES or not buffer[at:size].startswith(b"HTTP/1."[: size - at]):
                    raise Garbage("no head")
                self._head = bytes(buffer[at:size])
                self.left = PART
                return 0
            head = read_head(bytes(buffer[at : end + 2]))
            if head.status >= 200:
                break
            at = end + 4  # An interim answer, 100 or 103.
        self._start_body(head, buffer, at, end + 4)
        body = end + 4
        if at == 0 and size - body == self.left and head.span is not None and not self.closes:
            start, stop = head.span
            self.shape = Shape(size, bytes(buffer[:_STATUS_LINE]), bytes(buffer[start:stop]), start, end, head.status)
        return body

    def _start_body(self, head: Head, buffer: bytearray, start: int, stop: int) -> None:
        self._status, self.closes = head.status, head.closes
        ask = self.ask
        if head.status == ask.status and ask.size is not None and head.length not in (None, ask.size):
            self.fault = ErrorKind.LENGTH
        self.is_checked &= head.status == ask.status and self.fault is None
        self._chunks = None
        if self.is_head_method or head.status in (204, 304):
            self.left, head.span = 0, None
        elif head.is_chunked:
            self.left, self._chunks = UNKNOWN, ChunkedBody(bytes(buffer[start:stop]))
        elif head.length is None:
            self.left, self.closes = UNKNOWN, True
        else:
            self.left = head.length

    def _read_chunks(self, data: bytes) -> int:
        assert self._chunks is not None
        try:
            body = self._chunks.feed(data)
        except Garbage as error:
            raise Broken(ErrorKind.GARBAGE) from error
        self._take(bytearray(body), 0, len(body))
        return self._whole() if self._chunks.is_done else PENDING

    def _take(self, buffer: bytearray, start: int, stop: int) -> None:
        if self.is_checked and self.fault is None:
            ask = self.ask
            if not is_pattern(ask.seed or 0, ask.start + self.body_bytes, buffer, start, stop):
                self.fault = ErrorKind.BODY
        self.body_bytes += stop - start

    def _whole(self) -> int:
        """The status of an answer whose length only its end told."""
        size = self.ask.size
        if self._status == self.ask.status and size is not None and self.body_bytes != size:
            self.fault = ErrorKind.LENGTH
        return self._status

    def _end(self) -> int:
        if self.left == HEAD or self.left == PART:
            raise Broken(ErrorKind.SHORT if self.left == PART else ErrorKind.CLOSED)
        if self.left != UNKNOWN or self._chunks is not None:
            raise Broken(ErrorKind.SHORT)
        if self.ask.size is not None and self.body_bytes < self.ask.size and self._status == self.ask.status:
            raise Broken(ErrorKind.SHORT)
        return self._whole()
