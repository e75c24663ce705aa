"""The owner's side of coalescing across workers: what other workers ask of this one (`origin.peer` asks).

A request of theirs takes the same way as a client's, through the same tables of what is stored and what is in the
air, but never on to a third worker. Its answer is for a cache, not for a client: the stored fields as they are,
with Age, so that the worker that asked makes the same entry of them. Nothing here is in the access log or in the
metrics of requests, which count clients.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from yatagarasu.cache.entry import Entry, Key
from yatagarasu.errors import BadRequest, ClientGone, InternalError, ObjectChanged, RangeNotSatisfiable, YatagarasuError
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import encode_head, parse_request_line
from yatagarasu.observe.log import Log
from yatagarasu.origin.peer import (
    CONTROL_PREFIX,
    KEY_FIELD,
    MISDIRECTED,
    OBJECT_PREFIX,
    VERDICT_FIELD,
    encode_verdict,
    key_digest,
)
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.finder import Finder, Found
from yatagarasu.proxy.hot import NeverHot
from yatagarasu.proxy.pipeline import Request, Result
from yatagarasu.proxy.reader import Client, Reader
from yatagarasu.proxy.response import RequestIds, plan
from yatagarasu.proxy.router import Line, Router, keyed_by

# A request whose object keeps changing before its first byte is answered with an error in the end.
_MAX_RESTARTS = 3
_FRAMING = frozenset(("content-length", "content-range"))


class ControlAnswer(Protocol):
    """What a worker says about itself."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[Pair]:
        """Fields."""
        ...

    @property
    def body(self) -> bytes:
        """Whole body."""
        ...


Control = Callable[[str, str, Headers], Awaitable[ControlAnswer]]


class PeerHandler(NeverHot):
    """Answers other workers; a `server.reactor.Handler`.

    `router` may be replaced while it runs (reload); `requests` counts what was asked.

    Args:
        finder: goes to the real origins.
        is_mine: whether this worker owns a primary key.
        control: answers method, target and fields of what is asked under CONTROL_PREFIX.
        clock: epoch seconds.
    """

    def __init__(
        self,
        *,
        router: Router,
        finder: Finder,
        coalescer: Coalescer,
        is_mine: Callable[[Key], bool],
        control: Control,
        log: Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.router = router
        self.requests = 0
        self._finder = finder
        self._coalescer = coalescer
        self._is_mine = is_mine
        self._control = control
        self._log = log
        self._clock = clock
        self._ids = RequestIds()

    def line(self, raw: bytes) -> Line:
        """Read a request line. Raises BadRequest."""
        method, target, minor = parse_request_line(raw)
        if target.startswith(OBJECT_PREFIX + "/"):
            return self.router.line(f"{method} {target[len(OBJECT_PREFIX) :]} HTTP/1.{minor}".encode("ascii"))
        return Line(method, target, minor)

    def new_id(self) -> str:
        """A request id."""
        return self._ids.new()

    async def handle(self, request: Request, client: Client) -> Result:
        """Answer one request; never raises but for cancellation."""
        self.requests += 1
        result = Result(must_close=not request.keeps_alive)
        line = request.line
        try:
            if line.route is not None and self._is_ours(request):
                await self._object(request, client, result)
            elif line.route is None and line.error is None and line.target.startswith(CONTROL_PREFIX):
                answer = await self._control(line.method, line.target, request.block.headers)
                await self._simple(request, client, result, answer.status, answer.headers, answer.body)
            else:
                await self._simple(request, client, result, MISDIRECTED)
        except ClientGone as exc:
            result.is_clean, result.cause = False, str(exc)
        except YatagarasuError as exc:
            await self._fail(request, client, result, exc)
        return result

    def _is_ours(self, request: Request) -> bool:
        """Whether this worker takes the request for what it was sent as, and owns its key.

        Ownership is looked up anew: two workers that each wait for the other would wait for ever.
        """
        line, block = request.line, request.block
        if line.route is None or line.error is not None or block.error is not None:
            return False
        if line.is_bucket or line.method not in ("GET", "HEAD"):
            return False
        primary = keyed_by(line.route, line.primary, block.headers)
        return block.headers.get(KEY_FIELD) == key_digest(primary) and self._is_mine(primary)

    async def _object(self, request: Request, client: Client, result: Result) -> None:
        for restarts_left in reversed(range(_MAX_RESTARTS)):
            found = await self._finder.find(request.line, request.block, request.request_id)
            try:
                async with found:
                    await self._read(request, found, client, result)
                return
            except ObjectChanged:
                # F4: a reader that has sent nothing starts again on the new generation.
                if result.has_begun or not restarts_left:
                    raise

    async def _read(self, request: Request, found: Found, client: Client, result: Result) -> None:
        entry, line = found.entry, request.line
        fields = _stored_fields(entry, self._clock())
        if found.negative is not None:
            await self._simple(request, client, result, entry.status, fields)
            return
        answer = plan(line.method, request.block, entry)
        if answer.part_heads:
            raise BadRequest("workers ask for one range at a time")
        fields += [pair for pair in answer.pairs if pair[0] in _FRAMING]
        if answer.is_chunked:
            fields.append(("transfer-encoding", "chunked"))
        head = self._head(answer.status, fields, result)
        reader = Reader(client, entry, self._coalescer, found.lease, head, is_chunked=answer.is_chunked)
        try:
            for start, stop in answer.stretches:
                await reader.copy(start, stop)
            await reader.finish()
        finally:
            reader.close()
            result.has_begun = result.has_begun or reader.has_begun
            result.status, result.sent_bytes = answer.status, reader.sent_bytes

    async def _fail(self, request: Request, client: Client, result: Result, error: YatagarasuError) -> None:
        """Tell the other worker of an error, or cut it off where it has had bytes already (F5)."""
        result.cause = str(error)
        error.add(request_id=request.request_id)
        if isinstance(error, InternalError):
            self._log.error("peer_request_failed", exc=error)
        if result.has_begun:
            result.is_clean = False
            return
        # A 404 that is an error and no entry may not be stored; what forbids it is not known any more.
        fields: list[Pair] = [(VERDICT_FIELD, encode_verdict(error)), ("cache-control", "no-store")]
        if isinstance(error, RangeNotSatisfiable) and "size" in error.context:
            fields.append(("content-range", f"bytes */{error.context['size']}"))
        try:
            await self._simple(request, client, result, error.http_status, fields)
        except ClientGone as exc:
            result.is_clean, result.cause = False, f"{result.cause}; {exc}"

    async def _simple(
        self,
        request: Request,
        client: Client,
        result: Result,
        status: int,
        fields: Sequence[Pair] = (),
        body: bytes = b"",
    ) -> None:
        """Send a whole answer at once."""
        kept = [pair for pair in fields if pair[0] != "content-length"]
        head = self._head(status, [*kept, ("content-length", str(len(body)))], result)
        result.status, result.has_begun = status, True
        await client.send(head, b"" if request.line.method == "HEAD" else body)

    @staticmethod
    def _head(status: int, pairs: list[Pair], result: Result) -> bytes:
        if result.must_close:
            pairs.append(("connection", "close"))
        return encode_head(status, pairs) + b"\r\n"


def _stored_fields(entry: Entry, now: float) -> list[Pair]:
    """An entry's fields as they are stored, and how old they are at epoch `now`."""
    pairs = [pair for pair in entry.headers if pair[0] not in (VERDICT_FIELD, "age")]
    if "date" not in entry.headers:
        pairs.append(("date", format_http_date(entry.response_time)))
    pairs.append(("age", str(int(entry.age(now)))))
    return pairs
