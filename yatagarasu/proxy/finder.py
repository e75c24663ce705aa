"""The finder: which entry answers a request, after however much waiting that takes.

Look-up, decision, flight, and what to fall back on when the flight fails. Every turn of its loop begins with
a fresh look, because whatever was awaited may have changed everything.
"""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import trio

from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.policy import Decision, decide, may_serve_on_error
from yatagarasu.cache.tiers import Tiers
from yatagarasu.cache.variants import variant_key
from yatagarasu.errors import (
    AccessError,
    Gone,
    NoSuchKey,
    ObjectChanged,
    OriginError,
    OverloadError,
    RangeNotSatisfiable,
    StoreError,
    WaitTimeout,
    YatagarasuError,
)
from yatagarasu.http.headers import Pair
from yatagarasu.http.ranges import parse_range
from yatagarasu.http.vary import matches, selecting_values
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.origin.peer import Peers
from yatagarasu.proxy.assembly import Lease
from yatagarasu.proxy.coalescer import Coalescer
from yatagarasu.proxy.fetch import Fetch, Span, Verdict
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.router import Line, keyed_by

# Turns of the loop before we say that the origin cannot make up its mind.
_MAX_TURNS = 8
# A client's own conditions and range go along where the answer is for it alone.
_CLIENT_FIELDS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")


class Found:
    """An entry, how it was found, and the hold on its body; an async context manager that gives the hold back.

    `negative` is the error a stored 404 or 410 stands for.
    """

    __slots__ = ("_stack", "entry", "is_stored", "lease", "outcome")

    def __init__(
        self,
        entry: Entry,
        outcome: CacheOutcome,
        lease: Lease | None = None,
        *,
        is_stored: bool = False,
        stack: AsyncExitStack | None = None,
    ) -> None:
        self.entry = entry
        self.outcome = outcome
        self.lease = lease
        self.is_stored = is_stored
        self._stack = stack

    @property
    def negative(self) -> YatagarasuError | None:
        """The error of a negative entry."""
        return {404: NoSuchKey, 410: Gone}[self.entry.status]() if self.entry.status in (404, 410) else None

    def outcome_of(self, stretches: Iterable[tuple[int, int | None]]) -> CacheOutcome:
        """The outcome as the client sees it: an entry with holes is a hit where none of them is asked for."""
        body = self.entry.body
        if self.outcome is CacheOutcome.PARTIAL and all(
            body.present_until(start) >= (stop if stop is not None else body.size or 0) for start, stop in stretches
        ):
            return CacheOutcome.HIT
        return self.outcome

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lease is not None:
            self.lease.release()
        if self._stack is not None:
            await self._stack.aclose()


class Finder:
    """Finds entries.

    Args:
        tiers: what is stored.
        coalescer: what is in the air.
        clock: epoch seconds.
        peers: other workers, who own keys; None where this process is alone, or is itself the one that was asked.
    """

    def __init__(
        self, tiers: Tiers, coalescer: Coalescer, clock: Callable[[], float], peers: Peers | None = None
    ) -> None:
        self._tiers = tiers
        self._coalescer = coalescer
        self._clock = clock
        self._peers = peers

    async def find(self, line: Line, block: HeaderBlock, request_id: str) -> Found:
        """Find or fetch the entry that answers a request for an object.

        Raises:
            YatagarasuError: it cannot be had, and nothing stale may stand in for it.

        Cancellation leaves no hold behind.
        """
        try:
            return await self._find(line, block, request_id)
        except StoreError:
            # No place for a body costs nobody an answer.
            return await self._alone(self._fetch(line, block, request_id), line, block)

    async def _find(self, line: Line, block: HeaderBlock, request_id: str) -> Found:
        learn_size = False
        for _ in range(_MAX_TURNS):
            fetch = self._fetch(line, block, request_id)
            if not fetch.storable or fetch.key in self._coalescer.unshared:
                return await self._alone(fetch, line, block)
            entry = self._stored(fetch.key, line.method)
            if entry is None and fetch.key is fetch.primary and self._tiers.vary_of(fetch.primary):
                continue  # The disk has just said that the key has variants.
            if entry is not None and self._tiers.is_unverified(entry):
                await self._tiers.verify(entry)
                continue
            now = self._clock()
            decision = decide(block.directives, entry, now)
            if decision is Decision.PASS:
                return await self._alone(fetch, line, block)
            if decision is Decision.UNAVAILABLE:
                raise WaitTimeout("only-if-cached, and nothing fits", **fetch.context())
            is_usable = decision in (Decision.HIT, Decision.STALE)
            if entry is not None and is_usable and not self._is_on_its_way(entry, fetch, line.method):
                if decision is Decision.STALE:
                    self._coalescer.revalidate_in_background(fetch, entry)
                outcome = CacheOutcome.STALE if decision is Decision.STALE else CacheOutcome.HIT
                return self._use(entry, outcome, fetch, line.method)
            conditional = entry if decision is Decision.REVALIDATE else None
            assembly = self._coalescer.assembly(fetch.key)
            # What is validated must still be there when the answer says that it is good.
            hold = assembly.lease() if assembly is not None else None
            try:
                found = await self._fly(fetch, "HEAD" if learn_size else line.method, line, block, conditional)
            except RangeNotSatisfiable:
                # Of this range, or of the one of whoever asked first. The size settles it for everybody.
                learn_size = True
                continue
            except ObjectChanged:
                continue
            except (OriginError, WaitTimeout, OverloadError):
                if entry is not None and may_serve_on_error(block.directives, entry, self._clock()):
                    return self._use(entry, CacheOutcome.STALE, fetch, line.method)
                raise
            finally:
                if hold is not None:
                    hold.release()
            if found is not None:
                return found
        raise ObjectChanged("the object kept changing", **self._fetch(line, block, request_id).context())

    async def _fly(
        self, fetch: Fetch, method: str, line: Line, block: HeaderBlock, conditional: Entry | None
    ) -> Found | None:
        """Launch or join the flight for this key's head; None where another look is needed after it."""
        span = self._span(block) if method == "GET" else Span()
        flight, is_leader = None, False
        try:
            flight, is_leader = self._coalescer.launch_or_join(fetch, method=method, span=span, conditional=conditional)
            lease = await self._coalescer.wait_head(flight, is_leader=is_leader)
        except AccessError:
            # What another client's credentials, or the lack of them, were refused says nothing about these.
            is_anothers = fetch.authorized or (flight is not None and flight.fetch.authorized)
            if is_leader or not is_anothers:
                raise
            return await self._alone(fetch, line, block)
        entry = flight.entry if lease is None else lease.assembly.entry
        if lease is not None and not lease.assembly.is_shared:
            return Found(lease.assembly.entry, CacheOutcome.PASS, lease)
        if entry is None or flight.verdict is Verdict.UNCACHEABLE:
            return None
        # Another worker may have answered whoever launched this out of its cache, which is not what was asked here.
        is_too_old = not is_leader and self._peers is not None and block.directives.no_cache and entry.initial_age >= 1
        if is_too_old or not matches(entry.selecting, block.headers):
            if lease is not None:
                lease.release()
            return None
        outcome = CacheOutcome.MISS if is_leader else CacheOutcome.COLLAPSED
        if flight.verdict is Verdict.NOT_MODIFIED:
            outcome = CacheOutcome.REVALIDATED if is_leader else CacheOutcome.COLLAPSED
        if lease is None:
            return self._use(entry, outcome, fetch, line.method)
        if line.method == "HEAD":
            lease.release()
            return Found(entry, outcome, is_stored=True)
        return Found(entry, outcome, lease, is_stored=True)

    def _is_on_its_way(self, entry: Entry, fetch: Fetch, method: str) -> bool:
        """Whether a head is stored, and the body is in the air already: one request for it is enough (F1)."""
        if method == "HEAD" or entry.body.is_complete or entry.body.present_bytes:
            return False
        return self._coalescer.assembly(fetch.key) is None and self._coalescer.awaits_head(fetch.key)

    def _use(self, entry: Entry, outcome: CacheOutcome, fetch: Fetch, method: str) -> Found:
        """Hold a stored entry, by way of its assembly where bytes are missing or it has one already.

        A temporary file ends with its last lease, so it is never read without one.
        """
        if method == "HEAD":
            return Found(entry, outcome)
        assembly = self._coalescer.assembly(entry.key)
        if assembly is None or assembly.body is not entry.body:
            if entry.body.is_complete and self._tiers.keeps(entry.body):
                return Found(entry, outcome)
            assembly = self._coalescer.assemble(entry, fetch)
        if outcome is CacheOutcome.HIT and not assembly.flights and not assembly.body.is_complete:
            outcome = CacheOutcome.PARTIAL
        return Found(assembly.entry, outcome, assembly.lease(), is_stored=True)

    async def _alone(self, fetch: Fetch, line: Line, block: HeaderBlock) -> Found:
        """Fetch for this client only, within the key's bound (F7), and from the origin itself: nothing is shared."""
        assert line.route is not None
        fetch.origin = line.route.origin
        stack = AsyncExitStack()
        try:
            with trio.move_on_after(self._coalescer.settings.wait_timeout) as waiting:
                await stack.enter_async_context(self._coalescer.unshared.slot(fetch.key))
            if waiting.cancelled_caught:
                raise WaitTimeout("too many fetches of a key that cannot be shared", **fetch.context())
            lease, entry = await self._coalescer.fetch_alone(
                fetch, method=line.method, extra_headers=_client_fields(block)
            )
        except BaseException:
            await stack.aclose()
            raise
        return Found(entry, CacheOutcome.PASS, lease, stack=stack)

    def _stored(self, key: Key, method: str) -> Entry | None:
        """The newest entry of a key, from the air or from a tier, if its bytes can still be completed."""
        assembly = self._coalescer.assembly(key)
        if assembly is not None:
            return assembly.entry
        entry = self._tiers.get(key)
        if entry is None or entry.body.is_complete or method == "HEAD" or entry.strong_etag is not None:
            return entry
        return None

    def _fetch(self, line: Line, block: HeaderBlock, request_id: str) -> Fetch:
        route = line.route
        assert route is not None
        primary = keyed_by(route, line.primary, block.headers)
        names = self._tiers.vary_of(primary)
        key = variant_key(primary, selecting_values(names, block.headers)) if names else primary
        origin, peers = route.origin, self._peers
        if peers is not None:
            origin = peers.origin_for(origin, route.path_prefix, primary, block.headers, request_id)
        return Fetch(
            origin=origin,
            bucket=route.bucket,
            object_key=line.object_key,
            query=line.query,
            primary=primary,
            key=key,
            timing=route.timing,
            headers=route.forwarded_headers(block.headers),
            request_headers=block.headers,
            directives=block.directives,
            authorized=route.forwards_authorization and "authorization" in block.headers,
            storable=route.caches,
            request_id=request_id,
        )

    def _span(self, block: HeaderBlock) -> Span:
        """What to ask for when nothing is known yet: the client's range, aligned out to blocks (F1)."""
        specs = parse_range(block.range)
        if not specs:
            return Span()
        size = self._coalescer.settings.block_size
        # Of several ranges the first: once the size is known, the others fetch their own holes.
        first, last = specs[0].first, specs[0].last
        if first is None:
            return Span(suffix=-(-(last or 1) // size) * size)
        start = first // size * size
        return Span(start) if last is None else Span(start, (last // size + 1) * size)


def _client_fields(block: HeaderBlock) -> tuple[Pair, ...]:
    fields = [(name, value) for name, value in block.headers if name in _CLIENT_FIELDS]
    specs = parse_range(block.range)
    if specs is not None and len(specs) == 1 and block.range is not None:
        fields.append(("range", block.range))
    return tuple(fields)
