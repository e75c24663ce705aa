"""A connection as h11 reads it: which requests there are in its bytes, and which answers in the server's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import h11

from tests.fuzz.hold import hold

_MAX_HEAD_BYTES = 64 * 1024
# Of the moment.
_MOMENT = frozenset((b"date", b"age", b"x-cache", b"cache-status"))
# Which of them a client is told depends on how much had come; that it is refused does not.
_REFUSALS = frozenset((400, 413, 414, 417, 431))


@dataclass(frozen=True)
class Asked:
    """The requests of a connection, up to one that ends it or that may only be refused; `next_method` is that one's."""

    requests: Sequence[h11.Request]
    next_method: bytes


@dataclass(frozen=True)
class Answer:
    """An answer: what the way that it took must not change.

    `logged` are status and size as the log has them, `cache` what the cache had to do with it.
    """

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    body: bytes
    closes: bool
    logged: tuple[int, int] = field(compare=False)
    cache: bytes = field(compare=False)

    @property
    def is_refusal(self) -> bool:
        """Whether it is of what is no good request, and the last one."""
        return self.status in _REFUSALS and self.closes


def read_requests(stream: bytes) -> Asked:
    """The requests in what a client has sent."""
    found: list[h11.Request] = []
    while True:
        # RFC 9112, section 2.2: one empty line before a request is forgiven. h11 does not.
        stream = stream.removeprefix(b"\r\n")
        asked = Asked(found, b"HEAD" if stream.startswith(b"HEAD ") else b"GET")
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        peer.receive_data(stream)
        try:
            event = peer.next_event()
            # With a body it may only be refused.
            if not isinstance(event, h11.Request) or not isinstance(peer.next_event(), h11.EndOfMessage):
                return asked
        except h11.RemoteProtocolError:
            return asked
        found.append(event)
        options = values_of(event, b"connection")
        if b"close" in options if event.http_version == b"1.1" else b"keep-alive" not in options:
            return asked
        stream = peer.trailing_data[0]


def values_of(request: h11.Request, name: bytes) -> set[bytes]:
    """The members of a field that is a list of words."""
    text = b",".join(value for key, value in request.headers if key == name)
    return {word.strip().lower() for word in text.split(b",")}


def read_answers(data: bytes, asked: Asked, *, is_closed: bool) -> list[Answer]:
    """The answers in what a server has sent, each whole, nothing behind the last one."""
    found: list[Answer] = []
    while data:
        peer = h11.Connection(h11.CLIENT)
        has_request = len(found) < len(asked.requests)
        method = asked.requests[len(found)].method if has_request else asked.next_method
        # No method matters here but HEAD: its answer has no body.
        peer.send(h11.Request(method=b"HEAD" if method == b"HEAD" else b"GET", target="/", headers=[("host", "h")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(data)
        if is_closed:
            peer.receive_data(b"")
        body, head = bytearray(), None
        try:
            while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                hold(isinstance(event, h11.Response | h11.Data), f"not whole: {event!r} in {data[:500]!r}")
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
        except h11.RemoteProtocolError as exc:
            hold(False, f"{exc} in {data[:500]!r}")
        assert head is not None
        found.append(_answer(head, bytes(body), asked))
        data = peer.trailing_data[0]
    return found


def _answer(head: h11.Response, body: bytes, asked: Asked) -> Answer:
    fields, logged = dict(head.headers), (head.status_code, len(body))
    cache, closes = fields.get(b"x-cache", b""), fields.pop(b"connection", b"") == b"close"
    if head.status_code in _REFUSALS and closes:
        return Answer(400, (), b"", True, logged, cache)
    request_id = fields.get(b"x-request-id", b"")
    if request_id and not any((b"x-request-id", request_id) in request.headers for request in asked.requests):
        body = body.replace(request_id, b"ID")
        del fields[b"x-request-id"]
    kind, _, boundary = fields.get(b"content-type", b"").partition(b"; boundary=")
    if boundary:
        body = body.replace(boundary, b"BOUNDARY")
        fields[b"content-type"] = kind
    kept = tuple(sorted(pair for pair in fields.items() if pair[0] not in _MOMENT))
    return Answer(head.status_code, kept, body, closes, logged, cache)
