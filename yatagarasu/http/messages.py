"""Message heads (RFC 9112, sections 3 and 4): what a parser hands out and an encoder takes in."""

from dataclasses import dataclass

from yatagarasu.http.headers import Headers


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head.

    `method` is upper-case as sent; `target` the raw request target (origin form, still percent-encoded,
    ASCII); `minor` the HTTP/1 minor version, 0 or 1.
    """

    method: str
    target: str
    headers: Headers
    minor: int = 1


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response's head: `status` 100-999 and its header fields."""

    status: int
    headers: Headers
