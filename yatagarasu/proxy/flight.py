"""A flight: one origin fetch in progress, with its retries and resumes (flight rules F3, F4, F6, F10).

It runs in the coalescer's nursery, writes into an assembly's body, and ends with one verdict. Clients never
touch it: they wait for its head, then for the body's progress.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from yatagarasu.cache.body import WindowBody
from yatagarasu.cache.entry import Entry
from yatagarasu.cache.policy import validators
from yatagarasu.errors import (
    Gone,
    InternalError,
    NoSuchKey,
    ObjectChanged,
    OriginBroken,
    OriginError,
    OriginLate,
    YatagarasuError,
)
from yatagarasu.http.headers import Pair
from yatagarasu.http.numbers import parse_count
from yatagarasu.http.ranges import parse_content_range, parse_range
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.client import OriginRequest, OriginResponse
from yatagarasu.origin.peer import is_from_peer
from yatagarasu.origin.retry import RetryBudget
from yatagarasu.proxy.fetch import WHOLE, Fetch, FlightSettings, Span, Verdict
from yatagarasu.proxy.origin_answer import origin_failure

if TYPE_CHECKING:
    from yatagarasu.proxy.assembly import Assembly

# Bytes a flight must have brought before its retry budget is whole again: an origin that drops every
# connection after one byte must not keep us busy for ever.
_PROGRESS_BYTES = 64 * 1024
# A run of bytes that somebody else has brought already: ending this answer is cheaper than fetching it twice.
_SKIP_BYTES = 64 * 1024


class Landing(Protocol):
    """What a flight tells its coalescer."""

    def on_head(self, flight: "Flight", response: OriginResponse, request_time: float) -> "Assembly | None":
        """A usable head arrived: the assembly to write into, or None where the flight has nothing to bring."""
        ...

    def on_restart(self, flight: "Flight", cause: OriginError) -> bool:
        """Begin again without a strong ETag (F3): False where a client has had a byte already.

        Raises ObjectChanged where another flight fetches it by now.
        """
        ...

    def on_landed(self, flight: "Flight") -> None:
        """The flight has its verdict; forget it and wake everyone."""
        ...


class Flight:
    """One origin fetch in progress.

    `pos` is the next byte it will write, `stop` where it ends (None: the end, wherever that is); `head` is
    set once `entry` or `error` is there. `conditional` is the stored entry it revalidates; `negative` what
    a 404 or 410 means. `is_shared` is False for an answer only one client may see. `waiters` counts clients
    before the head, the one who launched it (`leader_waits`) among them; `is_background` is for nobody, and
    `is_readahead` for nobody yet. What is purged while it flies (`is_purged`, or any of `purged_tags`) is not kept.
    """

    def __init__(
        self,
        fetch: Fetch,
        landing: Landing,
        settings: FlightSettings,
        *,
        method: str = "GET",
        span: Span = WHOLE,
        conditional: Entry | None = None,
        extra_headers: tuple[Pair, ...] = (),
        assembly: "Assembly | None" = None,
        is_shared: bool = True,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.fetch = fetch
        self.method = method
        self.span = span
        self.start = self.pos = span.start
        self.stop = span.stop
        self.conditional = conditional
        self.extra_headers = extra_headers
        self.assembly = assembly
        self.is_shared = is_shared
        self.entry: Entry | None = None
        self.verdict: Verdict | None = None
        self.error: YatagarasuError | None = None
        self.head = trio.Event()
        self.waiters = 0
        self.leader_waits = False
        self.is_background = False
        self.is_readahead = False
        self.is_purged = False
        self.purged_tags: set[str] = set()
        self.has_landed = False
        self.negative: YatagarasuError | None = None
        self.scope = trio.CancelScope()
        self.is_leaving = False
        self._landing = landing
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._began = trio.current_time()
        self._sent_at = 0.0
        self._brought_bytes = 0
        self._is_from_peer = False
        self._budget = RetryBudget(settings.retry, rng)

    def __repr__(self) -> str:
        state = self.verdict.value if self.verdict else "flying"
        return f"<Flight {self.method} {self.fetch.key!r} {self.start}+{self.pos - self.start} {state}>"

    async def run(self) -> None:
        """Fly to the end. Whatever happens, `on_landed` is called once, with the verdict set."""
        verdict = Verdict.ABANDONED
        try:
            with self.scope:
                verdict = await self._attempts()
        except ObjectChanged as exc:
            verdict, self.error = Verdict.CHANGED, exc
        except YatagarasuError as exc:
            verdict, self.error = Verdict.FAILED, exc
        except Exception as exc:
            verdict, self.error = Verdict.FAILED, InternalError("flight failed", **self.fetch.context())
            self.error.__cause__ = exc
        finally:
            self.has_landed = True
            self.verdict = verdict
            if self.error is not None:
                self.error.add(**self._context())
            self._landing.on_landed(self)

    async def _attempts(self) -> Verdict:
        while True:
            try:
                return await self._attempt()
            except OriginError as exc:
                exc.add(**self._context())
                resumes = self.assembly is not None
                delay = self._budget.failed(exc)
                if delay is None:
                    raise
                if resumes and not self._can_resume():
                    if not self._landing.on_restart(self, exc):
                        raise
                    self.assembly, self.head = None, trio.Event()
                    self.start = self.pos = self.span.start
                    self.stop = self.span.stop
                counts = self._metrics.origin_resumes if resumes else self._metrics.origin_retries
                counts[self.fetch.bucket] = counts.get(self.fetch.bucket, 0) + 1
                self._log.warning("origin_resume" if resumes else "origin_retry", exc=exc)
                await trio.sleep(delay)

    async def _attempt(self) -> Verdict:
        request_time = self._clock()
        response = await self._open()
        try:
            if self.assembly is None:
                await self._check_head(response)
                self.assembly = self._landing.on_head(self, response, request_time)
                if self.assembly is None:
                    return self.verdict or Verdict.COMPLETE
            elif self._ended_at(response):
                self.assembly.body.finish(self.pos)
                return Verdict.COMPLETE
            else:
                await self._check_same(response)
                self.assembly.is_confirmed = True
            await self._pump(response)
            return self.verdict or Verdict.COMPLETE
        finally:
            await response.aclose()

    async def _open(self) -> OriginResponse:
        outcome = "cancelled"
        self._is_from_peer = False
        try:
            response = await self.fetch.origin.open(self._request())
            self._is_from_peer = is_from_peer(response)
            outcome = str(response.status)
        except YatagarasuError as exc:
            self._is_from_peer = is_from_peer(exc)
            outcome = type(exc).__name__
            raise
        else:
            return response
        finally:
            # Another worker counts what it asks of the origin for us.
            if not self._is_from_peer:
                self._metrics.count_origin_request(self.fetch.bucket, outcome)

    def _request(self) -> OriginRequest:
        headers = list(self.fetch.headers)
        if self.assembly is not None:
            headers = [pair for pair in headers if not pair[0].startswith("if-")]
            size = self.assembly.body.size
            if self.pos or (self.stop is not None and self.stop != size):
                headers.append(("range", Span(self.pos, self.stop).field()))
            etag = self.assembly.entry.strong_etag
            if etag is not None:
                headers.append(("if-match", etag))
        else:
            headers.extend(self.extra_headers)
            if self.conditional is not None:
                headers.extend(validators(self.conditional))
            if not self.span.is_whole and self.method == "GET":
                headers.append(("range", self.span.field()))
        return OriginRequest(self.method, self.fetch.object_key, self.fetch.query, tuple(headers))

    async def _check_head(self, response: OriginResponse) -> None:
        """Set `pos` and `stop` from a first head; raise what an unusable one means."""
        status = response.status
        if status == 304 and (self.conditional is not None or not self.is_shared):
            return
        if status in (404, 410) and self.is_shared:
            failure = await origin_failure(response)
            if not isinstance(failure, NoSuchKey | Gone):
                raise failure
            self.negative = failure
            return
        if status == 206:
            got = parse_content_range(response.headers.get("content-range"))
            if got is None or got.start is None or got.stop is None:
                raise OriginBroken("206 without a usable Content-Range", endpoint=response.endpoint)
            asked = self._asked()
            if asked is None or (asked.suffix is None and got.start > asked.start):
                wanted = "the whole" if asked is None else asked.field()
                raise OriginBroken(
                    f"asked for {wanted}, got bytes {got.start}-{got.stop - 1}", endpoint=response.endpoint
                )
            self.start = self.pos = got.start
            self.stop = got.stop
        elif 200 <= status < 300:
            self.start = self.pos = 0
            self.stop = None
        else:
            raise await origin_failure(response)

    def _asked(self) -> Span | None:
        """The range that was asked for: what we need, or in an answer for one client what that asked for itself."""
        if self.is_shared:
            return None if self.span.is_whole else self.span
        specs = parse_range(dict(self.extra_headers).get("range"))
        if specs is None:
            return None
        first, last = specs[0].first, specs[0].last
        return Span(suffix=last) if first is None else Span(first)

    def _ended_at(self, response: OriginResponse) -> bool:
        """Whether a 416 says that a body of unknown size is whole: only its end was lost, a last chunk for instance.

        If-Match comes before Range (RFC 9110, section 13.2.2), so it is said of the same generation.
        """
        assert self.assembly is not None
        if response.status != 416 or self.assembly.body.size is not None:
            return False
        got = parse_content_range(response.headers.get("content-range"))
        is_same = response.headers.get("etag") in (None, self.assembly.entry.etag)
        return is_same and got is not None and got.start is None and got.size == self.pos

    async def _check_same(self, response: OriginResponse) -> None:
        """Hold a further answer against the generation that is being put together (F3, F4)."""
        assert self.assembly is not None
        status, entry = response.status, self.assembly.entry
        if status in (404, 410, 412, 416):
            raise ObjectChanged(f"origin answered {status} while the object was being fetched")
        if status not in (200, 206):
            raise await origin_failure(response)
        etag = response.headers.get("etag")
        size = self.assembly.body.size
        if status == 206:
            got = parse_content_range(response.headers.get("content-range"))
            if got is None or got.start is None or got.start != self.pos:
                raise OriginBroken(f"asked for bytes from {self.pos}, got {response.headers.get('content-range')!r}")
            new_size = got.size
        else:
            new_size = parse_count(response.headers.get("content-length"))
        if etag != entry.etag or (size is not None and new_size is not None and new_size != size):
            raise ObjectChanged(f"ETag {entry.etag} size {size} became {etag} size {new_size}")
        if status == 200 and self.pos:
            # The origin ignores ranges: its bytes before `pos` are here already.
            await self._skip(response, self.pos)

    async def _skip(self, response: OriginResponse, count: int) -> None:
        rest = count
        while rest > 0:
            with trio.move_on_after(self._settings.stall_timeout):
                data = await response.receive_some()
                if not data:
                    raise OriginBroken("answer ended before the bytes that are wanted")
                if len(data) > rest:
                    self._store(data[rest:])
                rest -= len(data)
                continue
            raise OriginLate(f"no byte for {self._settings.stall_timeout:g} s")

    async def _pump(self, response: OriginResponse) -> None:
        assembly, stall = self.assembly, self._settings.stall_timeout
        assert assembly is not None
        body = assembly.body
        end = self.stop if self.stop is not None else body.size
        data = response.take_buffered()
        if data and end is not None and self.pos + len(data) <= end:
            # A small object comes in one piece with its head: no wait, so no deadline.
            self._store(data)
            data = b""
            if self.pos >= end:
                return
        with trio.CancelScope() as scope:
            while True:
                end = self.stop if self.stop is not None else body.size
                if end is not None and (self.pos >= end or self._meets(end)):
                    return
                scope.deadline = trio.current_time() + stall
                data = data or await response.receive_some()
                if not data:
                    if end is not None:
                        raise OriginBroken(f"answer ended at byte {self.pos} of {end}")
                    body.finish(self.pos)
                    return
                self._store(data if end is None or self.pos + len(data) <= end else data[: end - self.pos])
                data = b""
                if isinstance(body, WindowBody):
                    scope.deadline = float("inf")
                    await body.room()
        raise OriginLate(f"no byte for {stall:g} s")

    def _store(self, data: bytes) -> None:
        assert self.assembly is not None
        self.assembly.body.write(self.pos, data)
        self.pos += len(data)
        self._brought_bytes += len(data)
        if not self._is_from_peer:
            counts = self._metrics.origin_bytes
            counts[self.fetch.bucket] = counts.get(self.fetch.bucket, 0) + len(data)
        if self._brought_bytes >= _PROGRESS_BYTES:
            self._brought_bytes = 0
            # What the next failure would throw away is no progress: an origin that always cuts is not asked for ever.
            if self._can_resume():
                self._budget.progress()

    def _meets(self, end: int) -> bool:
        """Whether somebody else has brought, or is bringing, what comes next: then it is not fetched again (F1)."""
        assembly, pos = self.assembly, self.pos
        assert assembly is not None
        if not self.is_shared or (len(assembly.flights) < 2 and pos == self.start):
            return False  # Nobody else writes into a window, and looking there would let go of its bytes.
        run = assembly.body.present_until(pos) - pos
        ahead = self._settings.join_ahead
        for other in assembly.flights:
            # Only as far as readers join the other one: who waits for what is behind that needs this one.
            if other is not self and other.pos <= pos + run and not other.has_landed:
                reach = other.pos + ahead if other.stop is None else min(other.stop, other.pos + ahead)
                run = max(run, min(reach, end) - pos)
        return run > 0 and (run >= _SKIP_BYTES or pos + run >= end)

    def _can_resume(self) -> bool:
        """Bytes of two answers may be joined only under one strong ETag (RFC 9110, section 15.3.7.3)."""
        assert self.assembly is not None
        return self.assembly.entry.strong_etag is not None

    def _context(self) -> dict[str, object]:
        return {
            **self.fetch.context(),
            "attempt": str(self._budget),
            "elapsed_seconds": round(trio.current_time() - self._began, 3),
            "bytes_so_far": self.pos - self.start,
        }
