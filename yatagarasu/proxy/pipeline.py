"""The life of one request, top to bottom.

`hot` answers what a fresh entry in memory answers, without waiting for anything; `handle` takes every other
request through its steps: checks, look-up, decision, reader, record.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from yatagarasu.cache.entry import Entry
from yatagarasu.cache.tiers import Tiers
from yatagarasu.errors import (
    AccessDenied,
    BadRequest,
    ClientGone,
    InternalError,
    NoSuchRoute,
    ObjectChanged,
    StoreError,
    YatagarasuError,
)
from yatagarasu.http.headers import Pair
from yatagarasu.http.wire import HeaderBlock, encode_head
from yatagarasu.observe.access_log import AccessLog
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.peer import Peers
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.finder import Finder, Found
from yatagarasu.proxy.hot import HotAnswer, Ready, hot_answer, ready_part
from yatagarasu.proxy.listing import Lister
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.reader import Client, Reader
from yatagarasu.proxy.response import Plan, RequestIds, error_answer, moment_fields, plan
from yatagarasu.proxy.router import METHODS, Line, Route, Router

# A request whose object keeps changing before its first byte is answered with an error in the end.
_MAX_RESTARTS = 3

Probe = Callable[[str], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class Request:
    """One request as the connection hands it over.

    `peer` is the client's address, `keeps_alive` what the connection will do after it, `received_at` epoch and
    `began` trio's seconds.
    """

    line: Line
    block: HeaderBlock
    request_id: str
    peer: str
    keeps_alive: bool
    received_at: float
    began: float


@dataclass(slots=True)
class Result:
    """What became of a request.

    `is_clean` is False where the connection must be torn down at once, `must_close` True where it must be
    closed after the answer.
    """

    status: int = 0
    sent_bytes: int = 0
    outcome: CacheOutcome = CacheOutcome.NONE
    is_clean: bool = True
    must_close: bool = False
    has_begun: bool = False
    cause: str = ""


class Pipeline:
    """Answers requests.

    Args:
        router: from targets to buckets.
        probe: answers /health and /ready with a status and a JSON body.
        clock: epoch seconds.
        peers: the other workers, None where there are none.
    """

    def __init__(
        self,
        *,
        router: Router,
        tiers: Tiers,
        coalescer: Coalescer,
        metrics: Metrics,
        access_log: AccessLog,
        log: Log,
        probe: Probe,
        clock: Callable[[], float] = time.time,
        peers: Peers | None = None,
    ) -> None:
        self.router = router
        self._ids = RequestIds()
        self.metrics = metrics
        self.access_log = access_log
        self._coalescer = coalescer
        self.finder = Finder(tiers, coalescer, clock, peers)
        self._lister = Lister(metrics=metrics, log=log)
        self._tiers = tiers
        self._get = tiers.memory.get
        self._log = log
        self._probe = probe
        self._clock = clock

    def seen(self, raw: bytes) -> Line | None:
        """What a request line was found to mean, if it was seen."""
        return self.router.seen(raw)

    def line(self, raw: bytes) -> Line:
        """Read a request line. Raises BadRequest."""
        return self.router.line(raw)

    def new_id(self) -> str:
        """A request id."""
        return self._ids.new()

    def hot(self, line: Line, now: float) -> HotAnswer | None:
        """The answer of a fresh, complete entry in memory to a plain request, or None for the long way.

        Args:
            line: its header block is plain.
            now: epoch seconds.
        """
        if line.hot_key is None:
            return None
        entry = self._get(line.hot_key)
        if entry is None:
            return None
        answer = self._answer_of(entry, line, now)
        return answer if answer is not None and len(answer.data) == answer.size else None

    @staticmethod
    def _answer_of(entry: Entry, line: Line, now: float) -> HotAnswer | None:
        answer = entry.derived.get("hot")
        if answer is None:
            assert line.route is not None
            answer = entry.derived["hot"] = hot_answer(entry, line.route)
        assert isinstance(answer, HotAnswer)
        if not answer.fresh_from <= now < answer.fresh_until:
            return None
        if now >= answer.renew_at:
            answer.renew(entry, now)
        return answer

    def ready(self, line: Line, part: tuple[int | None, int | None] | None, now: float) -> Ready | None:
        """The answer of a fresh, complete entry in any tier, or None for the long way.

        Args:
            line: its header block is plain, but for the range.
            part: first and last byte position of that, None for the whole object; see `http.wire.split_range`.
            now: epoch seconds.
        """
        key = line.hot_key
        if key is None or self._coalescer.assembly(key) is not None:
            return None
        entry = self._tiers.get(key)
        if entry is None or not entry.body.is_complete or self._tiers.is_unverified(entry):
            return None
        answer = self._answer_of(entry, line, now)
        if answer is None:
            return None
        if part is None:
            return Ready(200, answer.head, answer.data, answer.body, 0, answer.size)
        return ready_part(answer, *part) if line.method == "GET" else None

    def record_hot(
        self,
        line: Line,
        block: HeaderBlock,
        request_id: str,
        peer: str,
        now: float,
        seconds: float,
        size: int,
        status: int = 200,
        cause: str = "",
    ) -> None:
        """Count and log a hot answer of `size` body bytes; `cause` says why it ended early."""
        assert line.route is not None
        bucket = line.route.bucket
        self.metrics.request(bucket, line.method, status, "hit", seconds, size)
        self.access_log.record(
            now,
            request_id,
            peer,
            line.method,
            line.target,
            bucket,
            line.object_key,
            status,
            size,
            seconds,
            "hit",
            block.headers,
            cause,
        )

    def lose(self, line: Line, cause: StoreError) -> None:
        """The file of a ready answer cannot be read: whoever asks next must not be given it again."""
        if line.hot_key is not None:
            self._coalescer.lose(line.hot_key, cause)

    async def handle(self, request: Request, client: Client) -> Result:
        """Answer one request, whatever it takes; record it; never raise but for cancellation."""
        result = Result(must_close=not request.keeps_alive)
        try:
            await self._answer(request, client, result)
        except ClientGone as exc:
            result.is_clean, result.cause = False, str(exc)
            result.status = result.status or exc.status
        except YatagarasuError as exc:
            await self._fail(request, client, result, exc)
        except BaseException:
            result.is_clean, result.cause = False, "cancelled"
            raise
        finally:
            self._record(request, result)
        return result

    async def _answer(self, request: Request, client: Client, result: Result) -> None:
        line, block = request.line, request.block
        if block.error is not None:
            raise block.error.for_waiter()
        block.check_version(line.minor)
        if line.error is not None:
            raise line.error.for_waiter()
        if line.route is None:
            await self._answer_server(request, client, result)
        elif line.method == "OPTIONS":
            await self._preflight(request, line.route, client, result)
        elif line.is_bucket:
            await self._bucket(request, line.route, client, result)
        else:
            await self._object(request, line.route, client, result)

    async def _object(self, request: Request, route: Route, client: Client, result: Result) -> None:
        for restarts_left in reversed(range(_MAX_RESTARTS)):
            found = await self.finder.find(request.line, request.block, request.request_id)
            result.outcome = found.outcome
            try:
                async with found:
                    await self._read(request, route, found, client, result)
                return
            except ObjectChanged:
                # F4: a reader that has sent nothing starts again on the new generation.
                if result.has_begun or not restarts_left:
                    raise

    async def _read(self, request: Request, route: Route, found: Found, client: Client, result: Result) -> None:
        entry, line = found.entry, request.line
        if found.negative is not None:
            raise found.negative
        answer = plan(line.method, request.block, entry)
        now = self._clock()
        result.outcome = found.outcome_of(answer.stretches)
        pairs = [*answer.pairs, *moment_fields(result.outcome, entry, now, is_stored=found.is_stored)]
        if route.cors is not None:
            pairs += route.cors.response_fields(request.block.headers)
        is_chunked = answer.is_chunked and line.minor == 1
        if is_chunked:
            pairs.append(("transfer-encoding", "chunked"))
        elif answer.is_chunked:
            result.must_close = True  # HTTP/1.0: the end of the connection is the end of the body.
        head = self._head(request, answer.status, pairs, result)
        reader = Reader(client, entry, self._coalescer, found.lease, head, is_chunked=is_chunked)
        if answer.status == 206 and found.lease is not None and len(answer.stretches) == 1:
            self._coalescer.read_ahead(found.lease, *answer.stretches[0])
        try:
            await self._send(answer, reader)
        except BaseException:
            result.has_begun = result.has_begun or reader.has_begun
            result.status = answer.status if reader.has_begun else 0
            raise
        finally:
            reader.close()
            result.sent_bytes = reader.sent_bytes
        result.status = answer.status
        if found.outcome is CacheOutcome.COLLAPSED:
            saved = self.metrics.coalesced_bytes
            saved[route.bucket] = saved.get(route.bucket, 0) + reader.sent_bytes
            requests = self.metrics.coalesced_requests
            requests[route.bucket] = requests.get(route.bucket, 0) + 1

    async def _send(self, answer: Plan, reader: Reader) -> None:
        for index, (start, stop) in enumerate(answer.stretches):
            if answer.part_heads:
                await reader.write(answer.part_heads[index])
            await reader.copy(start, stop)
        if answer.tail:
            await reader.write(answer.tail)
        await reader.finish()

    async def _bucket(self, request: Request, route: Route, client: Client, result: Result) -> None:
        if not route.lists:
            raise AccessDenied("the route has list = false", bucket=route.bucket)
        if request.line.method == "HEAD":
            await self._simple(request, client, result, 200, [("content-type", "application/xml")])
            return
        status, pairs, body = await self._lister.page(route, request.line.raw_query, request.request_id)
        if route.cors is not None:
            pairs += route.cors.response_fields(request.block.headers)
        await self._simple(request, client, result, status, pairs, body)

    async def _preflight(self, request: Request, route: Route, client: Client, result: Result) -> None:
        headers = request.block.headers
        pairs: list[Pair] = [("allow", "GET, HEAD, OPTIONS")]
        if "access-control-request-method" in headers:
            fields = route.cors.preflight_fields(headers) if route.cors is not None else None
            if fields is None:
                raise AccessDenied("CORS pre-flight refused", bucket=route.bucket)
            pairs += fields
        await self._simple(request, client, result, 200, pairs)

    async def _answer_server(self, request: Request, client: Client, result: Result) -> None:
        """What is asked of the server itself: OPTIONS * and the probes."""
        line = request.line
        if line.method == "OPTIONS":
            await self._simple(request, client, result, 200, [("allow", "GET, HEAD, OPTIONS")])
            return
        if line.method not in ("GET", "HEAD"):
            raise NoSuchRoute
        status, body = await self._probe(line.target.partition("?")[0])
        pairs: list[Pair] = [("content-type", "application/json"), ("cache-control", "no-store")]
        await self._simple(request, client, result, status, pairs, body)

    async def _fail(self, request: Request, client: Client, result: Result, error: YatagarasuError) -> None:
        """Tell the client of an error, or cut it off where it has had bytes already (F5)."""
        result.cause = str(error)
        if result.has_begun or error.http_status >= 500:
            # The flight has its own line, once; this one is found by the id that this client was told.
            write = self._log.error if isinstance(error, InternalError) else self._log.warning
            write("request_failed", exc=error, request_id=request.request_id)
        if result.has_begun:
            result.is_clean = False
            return
        if isinstance(error, BadRequest) or error.http_status in (413, 417, 431):
            result.must_close = True
        path = request.line.target.partition("?")[0]
        status, pairs, body = error_answer(error, request.block.headers, path, request.request_id)
        route = request.line.route
        if route is not None and route.cors is not None:
            pairs += route.cors.response_fields(request.block.headers)
        pairs += moment_fields(result.outcome, None, 0.0)
        try:
            await self._simple(request, client, result, status, pairs, body)
        except ClientGone as exc:
            result.is_clean, result.cause = False, f"{result.cause}; {exc}"

    async def _simple(
        self,
        request: Request,
        client: Client,
        result: Result,
        status: int,
        pairs: list[Pair],
        body: bytes = b"",
    ) -> None:
        """Send a whole answer at once."""
        if not any(name == "content-length" for name, _ in pairs):
            pairs = [*pairs, ("content-length", str(len(body)))]
        head = self._head(request, status, pairs, result)
        result.status, result.has_begun = status, True
        if request.line.method == "HEAD":
            body = b""
        await client.send(head, body)
        result.sent_bytes = len(body)

    def _head(self, request: Request, status: int, pairs: list[Pair], result: Result) -> bytes:
        pairs.append(("x-request-id", request.request_id))
        if result.must_close:
            pairs.append(("connection", "close"))
        elif request.line.minor == 0:
            pairs.append(("connection", "keep-alive"))
        return encode_head(status, pairs) + b"\r\n"

    def _record(self, request: Request, result: Result) -> None:
        line = request.line
        seconds = trio.current_time() - request.began
        bucket = line.route.bucket if line.route is not None else ""
        outcome = result.outcome.value
        method = line.method if line.method in METHODS else "OTHER"
        self.metrics.request(bucket, method, result.status, outcome, seconds, result.sent_bytes)
        self.access_log.record(
            request.received_at,
            request.request_id,
            request.peer,
            line.method,
            line.target,
            bucket,
            line.object_key,
            result.status,
            result.sent_bytes,
            seconds,
            outcome,
            request.block.headers,
            result.cause,
        )
