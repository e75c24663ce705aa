"""Heads of answers and chunked bodies as a client reads them (RFC 9112): lean, for one answer at a time."""

import re
from dataclasses import dataclass

import httptools

_STATUS_LINE = re.compile(rb"http/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_LENGTH = b"\r\ncontent-length:"


class Garbage(Exception):
    """The bytes are no answer."""


@dataclass(slots=True)
class Head:
    """What a head says about its message.

    `length` None: chunked, or up to the end of the connection. `span`: where in the head the field for the length
    is, from the line break before it to the one behind it.
    """

    status: int
    length: int | None
    is_chunked: bool
    closes: bool
    span: tuple[int, int] | None


def read_head(head: bytes) -> Head:
    """Read a head, without the empty line that ends it: `HTTP/1.1 200 OK CRLF … CRLF`.

    Raises:
        Garbage: no status line of HTTP/1, or lengths that contradict themselves.
    """
    # The few fields that frame a message are looked for as they are: httptools calls back for each of a dozen.
    low = head.lower()
    match = _STATUS_LINE.match(low)
    if match is None:
        raise Garbage("no status line")
    is_chunked = b"\r\ntransfer-encoding:" in low
    length = span = None
    if not is_chunked and (at := low.find(_LENGTH)) >= 0:
        span = (at, low.find(b"\r\n", at + 2) + 2)
        value = low[at + len(_LENGTH) : span[1] - 2].strip(b" \t")
        if not value.isdigit() or low.find(_LENGTH, at + 2) >= 0:
            raise Garbage("contradicting lengths")
        length = int(value)
    closes = match[1] == b"0"
    if (at := low.find(b"\r\nconnection:")) >= 0:
        options = low[at + 13 : low.find(b"\r\n", at + 2)]
        closes = b"close" in options or (closes and b"keep-alive" not in options)
    return Head(int(match[2]), length, is_chunked, closes, span)


class ChunkedBody:
    """Takes a chunked message apart with llhttp; it must see the head first."""

    def __init__(self, head: bytes) -> None:
        self.is_done = False
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self.feed(head)

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in more of the message. Raises Garbage."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Garbage(str(error)) from error
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def on_message_begin(self) -> None:
        """Called by the parser; a second message was not asked for."""
        if self.is_done:
            raise Garbage("bytes beyond the end")

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.is_done = True
