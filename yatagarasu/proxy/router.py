"""From a request target to a bucket, an object key and a cache key.

Longest path prefix wins; the path is percent-decoded once and then literal. What a raw target means is kept
by its exact bytes, since clients ask for the same things again and again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from yatagarasu.cache.entry import Key
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import BadRequest, MethodNotAllowed, NoSuchRoute, RequestError
from yatagarasu.http.headers import HOP_BY_HOP, Headers, Pair
from yatagarasu.http.wire import parse_request_line
from yatagarasu.origin.client import Origin
from yatagarasu.origin.retry import RetrySettings
from yatagarasu.proxy.cors import Cors
from yatagarasu.s3.keys import decode_path
from yatagarasu.s3.query import select_query

# Fields that are the proxy's own business even where every end-to-end field is forwarded: conditions and
# ranges are its to ask, codings its to choose, the host and the signature the origin's.
_NEVER_FORWARDED = HOP_BY_HOP | frozenset(
    (
        "accept-encoding",
        "cache-control",
        "content-length",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    )
)
# Answered by the proxy itself, whatever the routes are.
PROBES = ("/health", "/ready")
METHODS = ("GET", "HEAD", "OPTIONS")
# S3's own limit for a key; longer lines are read each time.
_MAX_REMEMBERED_BYTES = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One bucket under one path prefix.

    `path_prefix` starts with a slash and has none at its end ("" is the root); `query_mode` is "s3" or "all";
    `is_signed` says whether we sign requests there; `caches` is off where the route has no cache.
    """

    bucket: str
    path_prefix: str
    origin: Origin
    timing: Timing = field(default_factory=Timing)
    caches: bool = True
    lists: bool = False
    forwarded: frozenset[str] = frozenset()
    keyed: tuple[str, ...] = ()
    query_mode: str = "s3"
    is_signed: bool = True
    cors: Cors | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)

    @property
    def forwards_authorization(self) -> bool:
        """Whether a client's Authorization goes to the origin: never to one that we sign for."""
        return not self.is_signed and ("authorization" in self.forwarded or "*" in self.forwarded)

    def forwarded_headers(self, headers: Headers) -> tuple[Pair, ...]:
        """The client's fields that go to the origin."""
        if not self.forwarded:
            return ()
        if "*" in self.forwarded:
            kept = headers.end_to_end().without(_NEVER_FORWARDED)
        else:
            kept = Headers(pair for pair in headers.end_to_end() if pair[0] in self.forwarded - _NEVER_FORWARDED)
        return kept.pairs if self.forwards_authorization else kept.without(("authorization",)).pairs


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """What a request line means.

    `error` is what every request with this line is answered with. `is_bucket` is True where the path names
    the bucket itself. `hot_key` is the cache key of a GET or HEAD whose answer can depend on nothing but it.
    """

    method: str
    target: str
    minor: int
    route: Route | None = None
    object_key: str = ""
    query: str = ""
    raw_query: str = ""
    primary: Key = ""
    is_bucket: bool = False
    hot_key: Key | None = None
    error: RequestError | None = None


class Router:
    """Finds the route of a request.

    Args:
        routes: at least one; path prefixes are distinct.
        max_lines: request lines remembered; when full, all are forgotten at once.
    """

    __slots__ = ("_lines", "_max_lines", "_routes", "routes")

    def __init__(self, routes: Sequence[Route], *, max_lines: int = 16 * 1024) -> None:
        self.routes = tuple(routes)
        self._routes = sorted(routes, key=lambda route: len(route.path_prefix), reverse=True)
        self._lines: dict[bytes, Line] = {}
        self._max_lines = max_lines

    def seen(self, raw: bytes) -> Line | None:
        """What these exact bytes were found to mean, if they were seen."""
        return self._lines.get(raw)

    def line(self, raw: bytes) -> Line:
        """Read a request line, without its CRLF.

        Raises:
            BadRequest: it is no request line. What is wrong with a well-formed one is in `Line.error`.
        """
        found = self._lines.get(raw)
        if found is not None:
            return found
        method, target, minor = parse_request_line(raw)
        found = self.read(method, target, minor)
        if len(raw) <= _MAX_REMEMBERED_BYTES:
            if len(self._lines) >= self._max_lines:
                self._lines.clear()
            self._lines[bytes(raw)] = found
        return found

    def read(self, method: str, target: str, minor: int = 1) -> Line:
        """What a request line of these parts means; not remembered. What is wrong with it is in `Line.error`."""
        try:
            path, _, query = target.partition("?")
            if target == "*" or path in PROBES:
                return Line(method, target, minor)
            decoded = decode_path(path)
            route = self.route(decoded)
        except RequestError as error:
            return Line(method, target, minor, error=error)
        rest = decoded[len(route.path_prefix) :]
        object_key, is_bucket = rest[1:], rest in ("", "/")
        if method not in METHODS:
            refused = MethodNotAllowed(bucket=route.bucket, key=object_key)
            return Line(method, target, minor, route, object_key, error=refused, is_bucket=is_bucket)
        try:
            kept = "" if is_bucket else select_query(query, route.query_mode, signed=route.is_signed)
        except BadRequest as error:
            return Line(method, target, minor, route, object_key, error=error, is_bucket=is_bucket)
        primary = primary_key(route, object_key, kept)
        is_hot = method != "OPTIONS" and not is_bucket and not route.keyed and minor == 1 and route.caches
        return Line(
            method,
            target,
            minor,
            route,
            object_key,
            kept,
            query,
            primary,
            is_bucket,
            primary if is_hot else None,
        )

    def route(self, path: str) -> Route:
        """The route with the longest prefix of a decoded path. Raises NoSuchRoute."""
        for route in self._routes:
            prefix = route.path_prefix
            if path == prefix or path.startswith(prefix + "/"):
                return route
        raise NoSuchRoute(path=path)


def primary_key(route: Route, object_key: str, query: str) -> Key:
    """The cache key before keyed fields and Vary: bucket name, object key and kept query, joined with NUL."""
    return f"{route.bucket}\0{object_key}\0{query}"


def keyed_by(route: Route, primary: Key, headers: Headers) -> Key:
    """The cache key with the values of the route's `cache_key_headers`."""
    if not route.keyed:
        return primary
    # A field that is empty is not one that is absent.
    values = ((name, headers.get(name)) for name in route.keyed)
    return primary + "\0" + "\0".join(name if value is None else f"{name}:{value}" for name, value in values)
