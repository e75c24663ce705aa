"""HTTP/1 message heads as bytes (RFC 9112): request lines and header blocks in, response heads out.

Header blocks repeat: a keep-alive client sends the same bytes again and again, so what they mean is kept by
those exact bytes. llhttp judges every new block; a grammar of our own adds what it lets pass.
"""

import re
from collections.abc import Iterable, Sequence

import httptools

from yatagarasu.errors import BadRequest, BodyRefused, ExpectationFailed
from yatagarasu.http.cache_control import NO_REQUEST_DIRECTIVES, RequestDirectives, parse_request_directives
from yatagarasu.http.conditional import has_conditions
from yatagarasu.http.headers import Headers, Pair

# RFC 9112, section 3: one space between the parts, visible ASCII only in the target, HTTP/1 only. A `#` never
# belongs in a request target; what else RFC 3986 would have encoded is taken literally, as S3 clients mean it.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!\"$-~]+) HTTP/1\.([01])")
# RFC 9112, section 5: `token ":" OWS value OWS CRLF`, no control characters but TAB, no folding.
_HEADER_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_RANGE_LINE = re.compile(rb"(?:\A|(?<=\r\n))[Rr]ange:[ \t]*bytes=([0-9]{0,15})-([0-9]{0,15})[ \t]*\r\n")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

REASONS = {
    100: "Continue",
    200: "OK",
    203: "Non-Authoritative Information",
    204: "No Content",
    206: "Partial Content",
    300: "Multiple Choices",
    301: "Moved Permanently",
    304: "Not Modified",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    410: "Gone",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_STATUS_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n" for status, reason in REASONS.items()}

# A value with any of these could end the field, or the head (response splitting).
_UNSAFE = re.compile(r"[\r\n\0]")


def parse_request_line(line: bytes) -> tuple[str, str, int]:
    """Split a request line, without its CRLF, into method, target and minor version.

    Raises:
        BadRequest: it is not one, or its target is not in origin form (`*` passes for OPTIONS).
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest("malformed request line")
    method, target, minor = match.groups()
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        # A proxy would have to accept the absolute form; a gateway has one name for everything it serves,
        # and a second interpretation of the host is what smuggling is made of.
        raise BadRequest("the request target must start with a slash")
    return method.decode("ascii"), target.decode("ascii"), 0 if minor == b"0" else 1


class HeaderBlock:
    """A request's header section, parsed once: `headers` and what the request's life asks of them.

    `is_plain` is True where nothing in it bears on which bytes are sent: no conditions, no ranges, no cache
    directives, no CORS, no request to close; `is_simple` allows that last one, `takes_range` besides says that a Range
    beside it would be all that counts. `error` is what such a block is answered with, whatever the request line says.
    `closes` and `keeps_alive` say whether Connection names those options.
    """

    __slots__ = (
        "closes",
        "directives",
        "error",
        "has_conditions",
        "headers",
        "hosts",
        "is_plain",
        "is_simple",
        "keeps_alive",
        "range",
        "request_id",
        "takes_range",
    )

    def __init__(self, headers: Headers, error: BadRequest | BodyRefused | ExpectationFailed | None = None) -> None:
        self.headers = headers
        self.error = error
        self.hosts = headers.get_all("host")
        options = {option.strip(" \t").lower() for option in headers.get("connection", "").split(",")}
        self.closes = "close" in options
        self.keeps_alive = "keep-alive" in options
        self.range = headers.get("range")
        self.has_conditions = has_conditions(headers)
        self.directives: RequestDirectives = parse_request_directives(headers)
        request_id = headers.get("x-request-id")
        self.request_id = request_id if request_id and _REQUEST_ID.fullmatch(request_id) else None
        self.is_simple = (
            error is None
            and len(self.hosts) == 1
            and self.range is None
            and not self.has_conditions
            and self.directives == NO_REQUEST_DIRECTIVES
            and "origin" not in headers
        )
        self.is_plain = self.is_simple and not self.closes
        self.takes_range = self.is_simple and "if-range" not in headers

    def check_version(self, minor: int) -> None:
        """Raise BadRequest where an HTTP/1.1 request has no Host (RFC 9112, section 3.2)."""
        if minor == 1 and not self.hosts:
            raise BadRequest("no Host field")


class HeaderBlocks:
    """Blocks by their exact bytes; bounded, so that a client that never repeats itself costs no memory.

    Args:
        max_blocks: blocks kept; when full, all go at once, which keeps the common path one look-up.
        max_block_bytes: longer blocks are parsed each time.
    """

    __slots__ = ("_blocks", "_max_block_bytes", "_max_blocks")

    def __init__(self, max_blocks: int = 4096, max_block_bytes: int = 4096) -> None:
        self._blocks: dict[bytes, HeaderBlock] = {}
        self._max_blocks = max_blocks
        self._max_block_bytes = max_block_bytes

    def get(self, block: bytes) -> HeaderBlock | None:
        """The block these bytes were found to be, if they were seen."""
        return self._blocks.get(block)

    def parse(self, block: bytes) -> HeaderBlock:
        """Read a header section: field lines, each with its CRLF, without the empty line.

        Raises:
            BadRequest: it could be read in two ways, or in none.
        """
        found = self._blocks.get(block)
        if found is not None:
            return found
        parsed = _parse_block(block)
        if len(block) <= self._max_block_bytes:
            if len(self._blocks) >= self._max_blocks:
                self._blocks.clear()
            self._blocks[bytes(block)] = parsed
        return parsed


def split_range(block: bytes) -> tuple[bytes, int | None, int | None] | None:
    """Take the one line of a header section that says which single range of bytes is wanted out of it.

    Clients that read by ranges send the same section again but for this line, which has a strict grammar here
    (RFC 9110, section 14.1.2). The rest must be a section of its own that is known to be good.

    Returns:
        The rest, first and last byte position: no first is a suffix of `last` bytes, no last the end. None where
        there is no such line, or it says anything else.
    """
    match = _RANGE_LINE.search(block)
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    return block[: match.start()] + block[match.end() :], int(first) if first else None, int(last) if last else None


class _Collector:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.is_head_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_head_complete = True


def _parse_block(block: bytes) -> HeaderBlock:
    if _HEADER_BLOCK.fullmatch(block) is None:
        raise BadRequest("malformed header section")
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(b"GET / HTTP/1.1\r\n" + block + b"\r\n")
    except httptools.HttpParserUpgrade:
        pass  # We speak nothing else: an offer to upgrade may be ignored (RFC 9110, section 7.8).
    except httptools.HttpParserError as exc:
        raise BadRequest("malformed header section") from exc
    if not collector.is_head_complete:
        raise BadRequest("malformed header section")
    headers = Headers.from_raw(collector.pairs)
    hosts = headers.get_all("host")
    if len(hosts) > 1 or (hosts and _HOST.fullmatch(hosts[0]) is None):
        raise BadRequest("more than one Host, or not a host")
    return HeaderBlock(headers, _refusal(headers))


def _refusal(headers: Headers) -> BadRequest | BodyRefused | ExpectationFailed | None:
    lengths = headers.get_all("content-length")
    if len(lengths) > 1 or ("transfer-encoding" in headers and lengths):
        return BadRequest("the body's length is said twice")
    if "transfer-encoding" in headers:
        is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        return BodyRefused() if is_chunked else BadRequest("unknown transfer coding")
    if lengths and lengths[0].strip("0"):
        return BodyRefused()
    expect = headers.get("expect")
    if expect is not None and expect.lower() != "100-continue":
        return ExpectationFailed()
    return None


def encode_head(status: int, pairs: Sequence[Pair]) -> bytes:
    """Encode a response head up to the last field's CRLF, without the empty line.

    Field values that could end the head are dropped with their field (response splitting).
    """
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in pairs]
    head = "".join(lines)
    if head.count("\r") != len(lines) or head.count("\n") != len(lines) or "\0" in head:
        return encode_head(status, [pair for pair in pairs if _UNSAFE.search("".join(pair)) is None])
    return head.encode("latin-1", "replace")


_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r\n")


def is_bad_chunk(headers: Headers, data: bytes) -> bool:
    """Whether `data`, what came behind a head, begins with something that is no chunk (RFC 9112, section 7.1)."""
    if "transfer-encoding" not in headers or b"\n" not in data:
        return False
    return _CHUNK_SIZE.match(data) is None


def encode_request(method: str, target: str, pairs: Iterable[Pair]) -> bytes:
    """Encode a request head with its empty line.

    Raises:
        BadRequest: a value with a line break or NUL in it, which would be another field or another request.
    """
    lines = [f"{method} {target} HTTP/1.1\r\n", *[f"{name}: {value}\r\n" for name, value in pairs], "\r\n"]
    head = "".join(lines)
    # One count over the whole is several times cheaper than a look at each value.
    if head.count("\r") != len(lines) or head.count("\n") != len(lines) or "\0" in head:
        raise BadRequest("a field that cannot be sent on")
    return head.encode("latin-1")
