"""Other workers of this machine as origins: a key that one of them owns is asked of it, over its unix socket.

Both ends speak ordinary HTTP, which `proxy.peer` answers. The owner sees the request as the client sent it, with
the range and the conditions of the flight that asks. What it answers in one of its own errors' place is a verdict:
it has tried as often as anybody may (flight rule F6), so nobody tries again.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b

import trio

from yatagarasu.errors import (
    AccessDenied,
    BadRequest,
    ConnectionDied,
    InternalError,
    ObjectChanged,
    OriginBroken,
    OriginError,
    OriginLate,
    OriginRefused,
    OriginStatus,
    OriginUnreachable,
    OverloadError,
    WaitTimeout,
    YatagarasuError,
)
from yatagarasu.http.cache_control import parse_request_directives
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import encode_request
from yatagarasu.origin.client import Origin, OriginRequest, OriginResponse
from yatagarasu.origin.retry import is_final, mark_final
from yatagarasu.origin.transport import OriginTransport, RawResponse
from yatagarasu.s3.keys import encode_key

# Objects and what workers ask of each other have paths of their own: no object's name may reach the latter.
OBJECT_PREFIX = "/o"
CONTROL_PREFIX = "/-/"
# What the sender takes the request to mean; after a reload two workers may read one path in two ways.
KEY_FIELD = "x-yatagarasu-key"
VERDICT_FIELD = "x-yatagarasu-error"
# RFC 9110, section 15.5.20: the worker that was asked does not own the key, or knows no such route.
MISDIRECTED = 421

# Flights read these as statuses, as they come from S3.
_STATUSES = frozenset((404, 410, 412, 416))
_FLIGHT_FIELDS = frozenset(
    ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
)
_OWN_FIELDS = _FLIGHT_FIELDS | frozenset(
    ("cache-control", "pragma", "content-length", "expect", "x-request-id", KEY_FIELD, VERDICT_FIELD)
)
_VERDICTS: dict[str, type[YatagarasuError]] = {
    kind.__name__: kind
    for kind in (
        AccessDenied,
        BadRequest,
        ConnectionDied,
        InternalError,
        ObjectChanged,
        OriginBroken,
        OriginLate,
        OriginRefused,
        OriginUnreachable,
        OverloadError,
        WaitTimeout,
    )
}
# The head of an answer takes both.
_MAX_MESSAGE = 1000
_MAX_VALUE = 1500
_MAX_SECONDS = 2**31


def key_digest(primary: str) -> str:
    """A primary cache key, for comparison, as a field value can hold it."""
    return blake2b(primary.encode(), digest_size=16).hexdigest()


def is_from_peer(answer: OriginResponse | YatagarasuError) -> bool:
    """Whether another worker, not the origin, is behind an answer or a failure."""
    if isinstance(answer, YatagarasuError):
        return is_final(answer) or str(answer.context.get("endpoint", "")).startswith("unix:")
    return answer.endpoint.startswith("unix:")


def encode_verdict(error: YatagarasuError) -> str:
    """An error as a field value: JSON of what the other worker's log needs."""
    context = {name: _plain(value) for name, value in error.context.items()}
    said: dict[str, object] = {"error": type(error).__name__, "message": str(error)[:_MAX_MESSAGE], "context": context}
    if isinstance(error, OriginStatus):
        said["status"] = error.origin_status
        said["retry_after"] = error.retry_after_seconds if error.asked_to_wait else None
    return json.dumps(said)


def decode_verdict(text: str) -> YatagarasuError:
    """The error that `encode_verdict` wrote, as one that nobody tries again."""
    said = json.loads(text)
    context = {name: value for name, value in said["context"].items() if name not in ("status", "retry_after")}
    error: YatagarasuError
    if "status" in said:
        error = OriginStatus(said["message"], status=said["status"], retry_after=said["retry_after"], **context)
    else:
        error = _VERDICTS.get(said["error"], OriginError)(said["message"], **context)
    mark_final(error)
    return error


def _plain(value: object) -> int | float | str:
    return value if isinstance(value, int | float) else str(value)[:_MAX_VALUE]


class Peers:
    """The other workers, as this one reaches them. `fallbacks` counts requests that had to go to the origin.

    Args:
        paths: unix sockets by worker index.
        peer_for: the other worker that owns a primary key, None where it is this one's.
        transport: has to wait for a head longer than the owner waits for its own.
        is_stuck: whether a worker, though it is there, has not been seen to do anything for a while.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        peer_for: Callable[[str], int | None],
        transport: OriginTransport,
        is_stuck: Callable[[int], bool] = lambda index: False,
    ) -> None:
        self.fallbacks = 0
        self.peer_for = peer_for
        self._is_stuck = is_stuck
        self._waiting: dict[int, set[trio.CancelScope]] = {}
        self._paths = tuple(paths)
        self._transport = transport

    def origin_for(
        self, real: Origin, path_prefix: str, primary: str, headers: Headers, request_id: str
    ) -> "PeerOrigin":
        """The origin of one fetch.

        Args:
            real: the route's.
            path_prefix: the route's, decoded.
            primary: cache key before Vary, which decides who owns it.
            headers: the client's.
        """
        return PeerOrigin(self, real, path_prefix, primary, headers, request_id)

    async def send(self, index: int, method: str, target: str, pairs: Sequence[Pair]) -> RawResponse:
        """Ask a worker; returns when the head is there. Raises OriginError; OriginLate where it is stuck."""
        head = encode_request(method, target, pairs)
        if not self._is_stuck(index):
            waiting = self._waiting.setdefault(index, set())
            with trio.CancelScope() as scope:
                waiting.add(scope)
                try:
                    return await self._transport.fetch("unix", self._paths[index], 0, head, method=method)
                finally:
                    waiting.discard(scope)
        raise OriginLate(f"worker {index} is stuck", endpoint=f"unix:{self._paths[index]}")

    def stop_waiting(self) -> None:
        """Wait no longer for the heads of those that are stuck by now."""
        for index, waiting in self._waiting.items():
            if waiting and self._is_stuck(index):
                for scope in waiting:
                    scope.cancel()

    async def ask(self, index: int, target: str, *, method: str = "GET") -> tuple[int, bytes]:
        """Ask a worker about itself: status and whole body.

        Args:
            target: begins with CONTROL_PREFIX.

        Raises OriginError. Cancellation closes the connection.
        """
        response = await self.send(index, method, target, (("host", "peer"),))
        body = bytearray()
        try:
            while data := await response.receive_some():
                body += data
        finally:
            await response.aclose()
        return response.status, bytes(body)

    async def aclose(self) -> None:
        """Close idle connections; those in use close as they are given back."""
        await self._transport.aclose()


class PeerOrigin:
    """The origin of one fetch: whichever worker owns its key at the moment, or the real one."""

    __slots__ = ("_headers", "_path_prefix", "_peers", "_primary", "_request_id", "real")

    def __init__(
        self, peers: Peers, real: Origin, path_prefix: str, primary: str, headers: Headers, request_id: str
    ) -> None:
        self.real = real
        self._peers = peers
        self._path_prefix = path_prefix
        self._primary = primary
        self._headers = headers
        self._request_id = request_id

    def __repr__(self) -> str:
        return f"<PeerOrigin {self._primary!r} of {self.real!r}>"

    @property
    def endpoint(self) -> str:
        """The real origin's."""
        return self.real.endpoint

    @property
    def key_prefix(self) -> str:
        """The real origin's."""
        return self.real.key_prefix

    async def list(self, query: str) -> OriginResponse:
        """Ask the real origin."""
        return await self.real.list(query)

    async def check(self) -> None:
        """Ask the real origin."""
        await self.real.check()

    async def open(self, request: OriginRequest) -> OriginResponse:
        """Ask whoever owns the key now; the origin itself, where the owner is gone or says that it is not.

        Raises:
            OriginBroken: the owner's connection was lost: worth another try.
            YatagarasuError: the owner's own verdict, which is final.
        """
        peers = self._peers
        owner = peers.peer_for(self._primary)
        if owner is None:
            return await self.real.open(request)
        try:
            response = await peers.send(owner, request.method, self._target(request), self._pairs(request))
        except (OriginUnreachable, OriginLate):
            peers.fallbacks += 1
            return await self.real.open(request)
        status = response.status
        if status == MISDIRECTED:
            await response.aclose()
            peers.fallbacks += 1
            return await self.real.open(request)
        if status not in _STATUSES and VERDICT_FIELD in response.headers:
            await response.aclose()
            error = decode_verdict(response.headers.get(VERDICT_FIELD, ""))
            error.add(owner=owner)
            raise error
        return response

    def _target(self, request: OriginRequest) -> str:
        path = OBJECT_PREFIX + encode_key(f"{self._path_prefix}/{request.object_key}")
        return f"{path}?{request.query}" if request.query else path

    def _pairs(self, request: OriginRequest) -> Sequence[Pair]:
        pairs = [pair for pair in self._headers.end_to_end() if pair[0] not in _OWN_FIELDS]
        if "host" not in self._headers:
            pairs.append(("host", "peer"))
        asked = [pair for pair in request.headers if pair[0] in _FLIGHT_FIELDS]
        demands = self._demands(asked)
        if demands:
            pairs.append(("cache-control", demands))
        return [*pairs, *asked, ("x-request-id", self._request_id), (KEY_FIELD, key_digest(self._primary))]

    def _demands(self, asked: Sequence[Pair]) -> str:
        """What the client asks of freshness; what it would put up with is for the worker that it asked."""
        names = {name for name, _ in asked}
        if "if-match" in names:
            return ""  # More of a generation that is known already.
        directives = parse_request_directives(self._headers)
        demands = ["no-cache"] if directives.no_cache else []
        if directives.max_age is not None:
            demands.append(f"max-age={int(min(directives.max_age, _MAX_SECONDS))}")
        if directives.min_fresh is not None:
            demands.append(f"min-fresh={int(min(directives.min_fresh, _MAX_SECONDS))}")
        if not demands and not names.isdisjoint(("if-none-match", "if-modified-since")):
            # Who validates wants to know what the origin says: a stale answer would be asked for again at once.
            demands.append("min-fresh=0")
        return ", ".join(demands)
