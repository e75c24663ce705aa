"""A response that no task writes: its bytes are all there, and the reactor sends on as the client takes them."""

import errno
import os
import socket
from enum import Enum

from yatagarasu.cache.body import Body, Bytes
from yatagarasu.errors import StoreError
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.proxy.router import Line

# Up to here head and file go out in one segment; with more, filling up the head's would break up the file's pages.
_ONE_SEGMENT_BYTES = 32 * 1024


# Bytes of a file in one system call: what runs far ahead of the client leaves the processor's caches before it reads.
FILE_BYTES = 256 * 1024


# What a file says, and a socket never does.
_UNREADABLE = frozenset((errno.EIO, errno.ESTALE))


def send_file(sock: socket.socket, fd: int, offset: int, count: int) -> int:
    """Write bytes of a body's file; returns how many the socket took, 1 to `count`.

    Raises StoreError: the file cannot be read, or is too short; OSError: nobody takes them, or not at the moment.
    """
    try:
        sent = os.sendfile(sock.fileno(), fd, offset, min(count, FILE_BYTES))
    except OSError as exc:
        if exc.errno in _UNREADABLE:
            raise StoreError(f"a body's file: {exc.strerror}") from exc
        raise
    if not sent:
        raise StoreError("a body's file is shorter than its extents")
    return sent


class Progress(Enum):
    """How far a turn got."""

    DONE = 1
    BLOCKED = 2  # the client takes no more for now
    MORE = 3  # others have their turn first


class Sending:
    """What is left of a response, and what to record of it in the end.

    Args:
        parts: what comes first; `head_bytes` of them are no body.
        body: whose file's bytes [pos, stop) come after; held, so that its descriptor stays open.
        began: monotonic seconds.
        now: epoch seconds.
    """

    __slots__ = (
        "_body",
        "_fd",
        "_pos",
        "_stop",
        "_views",
        "began",
        "block",
        "line",
        "now",
        "request_id",
        "sent",
        "status",
    )

    def __init__(
        self,
        parts: tuple[Bytes, ...],
        head_bytes: int,
        body: Body | None,
        pos: int,
        stop: int,
        *,
        line: Line,
        block: HeaderBlock,
        request_id: str,
        status: int,
        now: float,
        began: float,
    ) -> None:
        self._views = [memoryview(part) for part in parts if len(part)]
        self._body = body
        self._fd = (body.fileno() if body is not None else None) or 0
        self._pos = pos
        self._stop = stop
        # Body bytes that are out; below zero as long as there is some head left.
        self.sent = -head_bytes
        self.line, self.block, self.request_id, self.status = line, block, request_id, status
        self.now, self.began = now, began

    def go_on(self, sock: socket.socket, turn_bytes: int) -> Progress:
        """Write until all is out, the socket is full, or so many bytes have gone.

        Raises OSError: nobody takes them; StoreError: the file cannot be read.
        """
        views, rest = self._views, self._stop - self._pos
        try:
            while views:
                if len(views) > 1:
                    count = sock.sendmsg(views)
                else:
                    flags = socket.MSG_MORE if 0 < rest <= _ONE_SEGMENT_BYTES else 0
                    count = sock.send(views[0], flags)
                self.sent += count
                turn_bytes -= count
                while views and count >= len(views[0]):
                    count -= len(views.pop(0))
                if count:
                    views[0] = views[0][count:]
            while rest:
                if turn_bytes <= 0:
                    return Progress.MORE
                count = send_file(sock, self._fd, self._pos, min(rest, turn_bytes))
                self.sent += count
                self._pos += count
                turn_bytes -= count
                rest -= count
        except BlockingIOError:
            return Progress.BLOCKED
        return Progress.DONE
