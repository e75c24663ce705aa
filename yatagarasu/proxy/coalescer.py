"""The coalescer: who waits for whom, and when a flight is launched (flight rules F1, F6-F8, F10, F12).

Tables of what is in the air: head flights by cache key, assemblies by cache key, recent verdicts, keys whose
answers may not be shared. Look-up and insert happen with no await between them, so there is no lock.
Flights run in the coalescer's own nursery, so a client that leaves cancels only its own wait.
"""

import random
from collections.abc import Callable

import trio

from yatagarasu.cache.body import Body, MemoryBody, NoBody
from yatagarasu.cache.disk.body import DiskBody
from yatagarasu.cache.entry import Entry, Key
from yatagarasu.cache.policy import NotStorable
from yatagarasu.cache.tags import tags_of
from yatagarasu.cache.tiers import Tiers
from yatagarasu.errors import (
    AccessError,
    InternalError,
    ObjectChanged,
    OriginError,
    OverloadError,
    PreconditionFailed,
    StoreError,
    WaitTimeout,
    YatagarasuError,
    let_go,
)
from yatagarasu.http.headers import Pair
from yatagarasu.http.messages import ResponseHead
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.client import OriginResponse
from yatagarasu.proxy.answer import Unshared, lifetime_of, refreshed, relay, understand
from yatagarasu.proxy.assembly import Assembly, Lease
from yatagarasu.proxy.fetch import WHOLE, Fetch, FlightSettings, Span, Verdict
from yatagarasu.proxy.flight import Flight
from yatagarasu.proxy.readahead import ReadAhead
from yatagarasu.proxy.recent import RecentFailures, UnsharedKeys

_IDLE_POLL_SECONDS = 0.5
_STORE_ERROR_SECONDS = 60.0


class Coalescer:
    """Launches flights and lets everybody else wait for them.

    Args:
        nursery: where flights live; it outlives every client.
        tiers: where complete entries go.
        clock: epoch seconds.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        tiers: Tiers,
        settings: FlightSettings,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.flights: set[Flight] = set()
        self._nursery = nursery
        self._tiers = tiers
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._rng = rng or random.Random()
        # A key is in here from `start_soon` until its flight's head is known or its verdict is in.
        self._heads: dict[tuple[Key, str], Flight] = {}
        # A key is in here while its assembly has a reader or a flight and is the newest generation.
        self._assemblies: dict[Key, Assembly] = {}
        self._failures = RecentFailures()
        self._readahead = ReadAhead()
        self.unshared = UnsharedKeys()

    def __repr__(self) -> str:
        return f"<Coalescer flights={len(self.flights)} heads={len(self._heads)} assemblies={len(self._assemblies)}>"

    @property
    def waiting(self) -> int:
        """Clients that wait for a head."""
        return sum(flight.waiters for flight in self.flights)

    @property
    def is_idle(self) -> bool:
        """Nothing in the air and nobody waiting (F12)."""
        return not self.flights and not self._heads and not self._assemblies

    async def wait_idle(self) -> None:
        """Return once nothing is in the air. Polled: it is asked once a reload, and costs flights nothing."""
        while not self.is_idle:  # noqa: ASYNC110  # see the docstring
            await trio.sleep(_IDLE_POLL_SECONDS)

    # What is there

    def assembly(self, key: Key) -> Assembly | None:
        """The newest generation of `key` that is being put together, if any."""
        return self._assemblies.get(key)

    def assembling(self) -> list[Entry]:
        """Entries that are being put together at the moment."""
        return [assembly.entry for assembly in self._assemblies.values()]

    def assemble(self, entry: Entry, fetch: Fetch) -> Assembly:
        """An assembly for a stored entry whose body has holes."""
        found = self._assemblies.get(entry.key)
        if found is not None:
            return found
        is_stored = self._tiers.keeps(entry.body)
        if not is_stored:
            # A head without a body, or with a temporary file whose assembly is over.
            entry = entry.with_body(self._tiers.new_body(entry.key, entry.body.size))
        assembly = Assembly(entry, fetch, self._settle)
        assembly.is_stored = is_stored
        self._assemblies[entry.key] = assembly
        return assembly

    # Heads

    def launch_or_join(
        self,
        fetch: Fetch,
        *,
        method: str = "GET",
        span: Span = WHOLE,
        conditional: Entry | None = None,
    ) -> tuple[Flight, bool]:
        """The flight that will bring this key's head, and whether this call launched it.

        Raises:
            YatagarasuError: the verdict of a flight that failed less than `failure_ttl` ago (F6).
            OverloadError: the flight has `max_waiters` waiting already (F8).
        """
        slot = (fetch.key, method)
        if self.settings.enabled:
            flight = self._heads.get(slot)
            if flight is None and method == "HEAD":
                flight = self._heads.get((fetch.key, "GET"))
            if flight is not None:
                if flight.waiters >= self.settings.max_waiters:
                    raise OverloadError("too many clients wait for one fetch", **fetch.context())
                self._metrics.followers_total += 1
                return flight, False
            self._failures.raise_for(slot)
        flight = self._new_flight(fetch, method=method, span=span, conditional=conditional)
        self._launch(flight)
        if self.settings.enabled:
            self._heads[slot] = flight
        return flight, True

    def awaits_head(self, key: Key) -> bool:
        """Whether a GET of `key` is in the air whose head is not known yet."""
        return (key, "GET") in self._heads

    async def wait_head(self, flight: Flight, *, is_leader: bool) -> Lease | None:
        """Wait until a flight's head is known, then hold what it brings.

        Returns:
            A lease on the flight's assembly; None where there is none for this client: a 304 or a negative
            answer (look at `flight.entry`), an answer for the leader alone, or an abandoned flight.

        Raises:
            WaitTimeout: after `wait_timeout` seconds (F8).
            YatagarasuError: this waiter's own copy of the flight's failure (F6).

        Cancellation takes this waiter out of the flight and leaves the flight as it is.
        """
        flight.waiters += 1
        flight.leader_waits |= is_leader
        try:
            with trio.move_on_after(self.settings.wait_timeout):
                # A restart (F3) replaces the event.
                while not flight.head.is_set():
                    await flight.head.wait()
            if not flight.head.is_set():
                raise WaitTimeout(
                    f"waited {self.settings.wait_timeout:g} s for the origin's head", **flight.fetch.context()
                )
            if flight.error is not None and flight.entry is None:
                raise flight.error.for_waiter() from flight.error
            if flight.assembly is None or not (flight.assembly.is_shared or is_leader):
                return None
            return flight.assembly.lease()
        finally:
            flight.waiters -= 1
            if is_leader:
                flight.leader_waits = False
            if flight.has_landed:
                if flight.assembly is not None:
                    self._settle(flight.assembly)
            else:
                self._reconsider(flight)

    def revalidate_in_background(self, fetch: Fetch, entry: Entry) -> None:
        """Refresh a stale entry in one flight that nobody waits for (F11)."""
        if self.awaits_head(fetch.key):
            return
        try:
            flight, is_new = self.launch_or_join(fetch, conditional=entry)
        except YatagarasuError:
            return  # It failed a moment ago; its log line is written.
        if is_new:
            flight.is_background = True

    # Purges

    def purge(self, matches: Callable[[Key], bool], *, tag: str | None = None) -> int:
        """Let nobody find what is in the air, and keep nothing of it; who reads it already reads on.

        Args:
            matches: of cache keys.
            tag: only answers with this tag; of a flight whose head is not known yet that shows later.

        Returns how many objects that were being put together it took away.
        """
        for slot, flight in list(self._heads.items()):
            if matches(slot[0]):
                if tag is None:
                    del self._heads[slot]
                    flight.is_purged = True
                else:
                    flight.purged_tags.add(tag)
        found = [
            assembly
            for key, assembly in self._assemblies.items()
            if matches(key) and (tag is None or tag in tags_of(assembly.entry.headers))
        ]
        for assembly in found:
            assembly.is_purged = True
            del self._assemblies[assembly.entry.key]
        return len(found)

    # Unshared answers (F7)

    async def fetch_alone(self, fetch: Fetch, *, method: str, extra_headers: tuple[Pair, ...]) -> tuple[Lease, Entry]:
        """Fetch for one client only; nothing is stored.

        Raises what the flight failed with. Cancellation cancels the flight.
        """
        flight = self._new_flight(fetch, method=method, extra_headers=extra_headers, is_shared=False)
        self._launch(flight)
        lease: Lease | None = None
        try:
            lease = await self.wait_head(flight, is_leader=True)
        finally:
            if lease is None:
                flight.scope.cancel()
        assert lease is not None
        return lease, lease.assembly.entry

    async def fetch_rest(self, lease: Lease, cause: StoreError) -> Lease:
        """Fetch what a reader still needs for it alone, because the store has failed under it.

        Returns:
            A lease on another assembly; positions are the same. The old one is still to be released.

        Raises:
            ObjectChanged: there is no strong ETag to continue by, or it is another's by now.
            OriginError: it cannot be had. Cancellation cancels the flight.
        """
        assembly, entry = lease.assembly, lease.assembly.entry
        if assembly.broken is None:
            # No flight said so: what is there cannot be read.
            self._note_store_error(cause)
            assembly.broken = cause
            self._hide(assembly)
        if entry.strong_etag is None:
            raise ObjectChanged("nothing to continue by", **lease.assembly.fetch.context())
        wanted = Span(lease.pos, lease.stop)
        fields = (("range", wanted.field()), ("if-match", entry.strong_etag))
        try:
            rest, found = await self.fetch_alone(lease.assembly.fetch, method="GET", extra_headers=fields)
        except PreconditionFailed as exc:
            raise ObjectChanged("the object has changed", **lease.assembly.fetch.context()) from exc
        if found.etag != entry.etag or (entry.size is not None and found.size != entry.size):
            rest.release()
            raise ObjectChanged("the object has changed", **lease.assembly.fetch.context())
        rest.pos, rest.stop, rest.has_begun = lease.pos, lease.stop, lease.has_begun
        return rest

    # Bytes

    async def wait_bytes(self, lease: Lease) -> bool:
        """Return once bytes at `lease.pos` are there, launching a flight for the hole if none will bring them.

        Returns:
            True; or False where the object ends at `lease.pos` (its size was unknown).

        Raises:
            ObjectChanged, OriginError: the bytes will not come (a copy for this reader).
            StoreError: there is no place for them; ask `fetch_rest`.

        Cancellation leaves the flight as it is.
        """
        assembly = lease.assembly
        while True:
            body = assembly.body
            if body.present_until(lease.pos) > lease.pos:
                return True
            if body.size is not None and lease.pos >= body.size:
                return False
            over = assembly.changed or assembly.broken
            if over is not None:
                raise over.for_waiter() from over
            flight = assembly.flight_reaching(lease.pos, self.settings.join_ahead)
            if flight is None:
                flight = self._launch_hole(lease)
            step = body.progress()
            await step.wait()
            if flight.error is not None and body.present_until(lease.pos) <= lease.pos:
                raise flight.error.for_waiter() from flight.error

    def read_ahead(self, lease: Lease, start: int, stop: int | None) -> None:
        """Fetch what a client that reads range by range will ask for next, behind its [start, stop) of now."""
        assembly, size = lease.assembly, lease.assembly.body.size
        if stop is None or size is None or not assembly.is_stored or not assembly.is_shared:
            return
        ahead = self._readahead.bytes_after(assembly.entry.key, start, stop, self.settings.readahead)
        end = min(size, stop + ahead)
        pos = assembly.body.present_until(stop)
        # What is there, or on its way, lasts for a while yet: fewer, larger requests.
        if not ahead or pos >= end or pos - stop > ahead // 2 or assembly.flight_reaching(pos, ahead):
            return
        try:
            self._failures.raise_for((assembly.fetch.key, "GET"))
        except YatagarasuError:
            return  # It failed a moment ago; who really wants the bytes will be told.
        self._fill(assembly, self._span_for(assembly, pos, end)).is_readahead = True

    def _launch_hole(self, lease: Lease) -> Flight:
        assembly = lease.assembly
        if not assembly.is_shared:
            raise OriginError("the only answer ended early", **assembly.fetch.context())
        if assembly.entry.strong_etag is None and (assembly.body.present_bytes or assembly.flights):
            # Without a strong ETag bytes of two answers cannot be joined.
            raise ObjectChanged("a hole cannot be filled without a strong ETag", **assembly.fetch.context())
        span = self._span_for(assembly, lease.pos, lease.stop)
        self._failures.raise_for((assembly.fetch.key, "GET"))
        return self._fill(assembly, span)

    def _span_for(self, assembly: Assembly, pos: int, stop: int | None) -> Span:
        return assembly.span_for(pos, stop, self.settings.block_size, self.settings.join_ahead)

    def _fill(self, assembly: Assembly, span: Span) -> Flight:
        self._keep(assembly)
        flight = self._new_flight(assembly.fetch, span=span, assembly=assembly)
        flight.head.set()
        self._launch(flight)
        assembly.flights.append(flight)
        return flight

    def _keep(self, assembly: Assembly) -> None:
        """Let the tier that keeps bodies with holes hold this one as it grows."""
        entry = assembly.entry  # Without a strong ETag no hole could ever be filled.
        if not isinstance(entry.body, DiskBody) or entry.strong_etag is None or self._is_superseded(assembly):
            return
        if assembly.is_purged:
            return
        self._tiers.fill(entry)
        assembly.is_stored = True

    # What flights tell

    def on_head(self, flight: Flight, response: OriginResponse, request_time: float) -> Assembly | None:
        """Make an entry and an assembly of a flight's first head; see `flight.Landing`."""
        head = ResponseHead(response.status, response.headers)
        now, fetch = self._clock(), flight.fetch
        if not flight.is_shared:
            if not isinstance(lifetime_of(fetch, head, now), NotStorable):
                self.unshared.forget(fetch.key)
            return self._relay(flight, head, request_time, now)
        if head.status == 304:
            self._refresh(flight, head, request_time, now)
            return None
        try:
            answer = understand(fetch, flight.method, head, request_time, now, self._tiers.new_body)
        except StoreError as exc:
            self._note_store_error(exc)
            answer = Unshared("no room for the body")
        if isinstance(answer, Unshared):
            self._tiers.remove(fetch.key)
            if flight.negative is not None:
                raise flight.negative
            return self._unshare(flight, head, request_time, now)
        flight.is_purged |= not flight.purged_tags.isdisjoint(tags_of(answer.entry.headers))
        self.unshared.forget(fetch.key)
        self._tiers.remember_vary(fetch.primary, answer.varies_by, now)
        if answer.varies_by:
            # Stored before the answers began to vary: nobody may find it under the bare key again.
            self._tiers.memory.remove(fetch.primary)
        entry = flight.entry = answer.entry
        if isinstance(entry.body, NoBody):
            if not flight.is_purged:
                self._tiers.put(entry)
            self._head_known(flight)
            return None
        assembly = self._attach(flight, entry)
        assembly.is_purged = flight.is_purged
        if self.settings.enabled and not flight.is_purged:
            # An older generation that is still being read keeps its readers and flights, out of the table.
            self._assemblies[entry.key] = assembly
            self._keep(assembly)
        self._head_known(flight)
        return assembly

    def _attach(self, flight: Flight, entry: Entry) -> Assembly:
        assembly = Assembly(entry, flight.fetch, self._settle, is_shared=flight.is_shared)
        assembly.flights.append(flight)
        assembly.first = flight
        assembly.is_confirmed = True
        flight.assembly = assembly
        return assembly

    def _relay(self, flight: Flight, head: ResponseHead, request_time: float, now: float) -> Assembly:
        """An answer for one client."""
        flight.entry = relay(flight.fetch, flight.method, head, request_time, now, flight.pos)
        if isinstance(flight.entry.body, NoBody):
            flight.stop = flight.pos
        assembly = self._attach(flight, flight.entry)
        self._head_known(flight)
        return assembly

    def _refresh(self, flight: Flight, head: ResponseHead, request_time: float, now: float) -> None:
        """304: the stored entry is good again."""
        stored = flight.conditional
        assert stored is not None
        entry, may_stay = refreshed(flight.fetch, stored, head, request_time, now)
        if not flight.is_purged:
            if may_stay:
                self._tiers.replace(entry)
            else:
                self._tiers.remove(entry.key)
        assembly = self._assemblies.get(stored.key)
        if assembly is not None and assembly.body is entry.body:
            assembly.entry = entry
        flight.entry, flight.verdict = entry, Verdict.NOT_MODIFIED
        self._metrics.revalidations += 1
        self._head_known(flight)

    def _unshare(self, flight: Flight, head: ResponseHead, request_time: float, now: float) -> Assembly | None:
        """An answer that may not be shared: remember the key, let every waiter fetch for itself (F7)."""
        settings = self.settings
        self.unshared.remember(flight.fetch.key, settings.uncacheable_ttl, settings.uncacheable_concurrency)
        flight.verdict = Verdict.UNCACHEABLE
        if flight.leader_waits and flight.span.is_whole:
            flight.is_shared = False
            return self._relay(flight, head, request_time, now)
        self._head_known(flight)
        return None

    def _head_known(self, flight: Flight) -> None:
        """Out of the table first, then wake: whoever comes now looks at what the head brought."""
        slot = (flight.fetch.key, flight.method)
        if self._heads.get(slot) is flight:
            del self._heads[slot]
        flight.head.set()

    def on_restart(self, flight: Flight, cause: OriginError) -> bool:
        """Take back an assembly that no client has had a byte of; see `flight.Landing`."""
        assembly = flight.assembly
        if assembly is None or not flight.is_shared or any(lease.has_begun for lease in assembly.leases):
            return False
        slot = (flight.fetch.key, flight.method)
        if slot in self._heads and self.settings.enabled:
            # Somebody has come meanwhile and launched another: its readers and waiters join that.
            raise ObjectChanged("another fetch has begun", **flight.fetch.context()) from cause
        error = ObjectChanged("the fetch began again", **flight.fetch.context())
        error.__cause__ = cause
        let_go(error)
        self._disown(assembly, error)
        assembly.flights.remove(flight)
        if self.settings.enabled:
            self._heads[slot] = flight
        flight.entry = None
        assembly.first = None
        assembly.body.wake()
        self._settle(assembly)
        return True

    def on_landed(self, flight: Flight) -> None:
        """Forget a flight, then wake everyone; see `flight.Landing`."""
        self.flights.discard(flight)
        verdict, error, assembly = flight.verdict, flight.error, flight.assembly
        assert verdict is not None
        self._metrics.verdicts[verdict.value] = self._metrics.verdicts.get(verdict.value, 0) + 1
        if error is not None:
            is_ours = isinstance(error, OriginError | InternalError)
            (self._log.error if is_ours else self._log.debug)("flight_failed", exc=error)
            let_go(error)
            # Refused for what we are, not for what this client is, everybody is refused alike.
            is_verdict = is_ours or (isinstance(error, AccessError) and not flight.fetch.authorized)
            if is_verdict and not isinstance(error, ObjectChanged):
                self._failures.remember((flight.fetch.key, flight.method), error, self.settings.failure_ttl)
        if assembly is not None:
            if flight in assembly.flights:
                assembly.flights.remove(flight)
            if isinstance(error, ObjectChanged):
                self._disown(assembly, error)
            elif isinstance(error, StoreError):
                self._note_store_error(error)
                assembly.broken = error
                self._hide(assembly)
            elif assembly.body.is_complete:
                self._complete(assembly)
            assembly.body.wake()
        self._head_known(flight)
        if assembly is not None:
            self._settle(assembly)

    def lose(self, key: Key, cause: StoreError) -> None:
        """A stored entry's bytes cannot be read: nobody is to find it again."""
        self._note_store_error(cause)
        self._tiers.remove(key)

    # Book-keeping

    def _disown(self, assembly: Assembly, error: ObjectChanged) -> None:
        """Its generation is over: nobody may find it any more, and its readers are told so."""
        assembly.changed = error
        self._hide(assembly)

    def _hide(self, assembly: Assembly) -> None:
        if assembly.is_purged or self._is_superseded(assembly):
            return
        self._tiers.remove(assembly.entry.key)
        self._assemblies.pop(assembly.entry.key, None)

    def _is_superseded(self, assembly: Assembly) -> bool:
        """Whether a newer generation has taken the key."""
        return self._assemblies.get(assembly.entry.key, assembly) is not assembly

    def _note_store_error(self, error: StoreError) -> None:
        """Count it, and say so once a minute: a full disk would say it with every request."""
        self._metrics.store_errors += 1
        if not self._log.rate_limited("store", _STORE_ERROR_SECONDS):
            self._log.error("store_failed", exc=error)

    def _complete(self, assembly: Assembly) -> None:
        """Every byte is there: put the entry where later requests find it."""
        entry = assembly.entry
        is_held = assembly.is_stored and isinstance(entry.body, DiskBody)
        if is_held or not assembly.is_shared or assembly.changed is not None or assembly.is_purged:
            return
        size = entry.body.size
        assert size is not None
        if self.settings.enabled and self._assemblies.get(entry.key) is not assembly:
            return  # A newer generation has taken the key.
        body: Body = entry.body
        if not self._tiers.keeps(body):
            if size > self._tiers.max_memory_object:
                return
            data = bytearray()
            try:
                while len(data) < size:
                    data += body.view(len(data), size)
            except StoreError as exc:
                self._note_store_error(exc)
                return
            body = MemoryBody.of(bytes(data))
        assembly.is_stored = True
        self._tiers.put(entry.with_body(body) if body is not entry.body else entry)

    def _settle(self, assembly: Assembly) -> None:
        """After a lease or a flight has gone: drop an idle assembly, leave no flight without a taker."""
        if not assembly.is_idle:
            for flight in assembly.flights:
                self._reconsider(flight)
            return
        # They hold each other: without this a body that is over would keep its file until the collector comes by.
        assembly.first = None
        entry, body = assembly.entry, assembly.body
        if self._assemblies.get(entry.key) is assembly:
            del self._assemblies[entry.key]
            if assembly.is_stored:
                self._tiers.rest(entry)
            elif assembly.changed is None and entry.strong_etag is not None:
                # Bytes that no tier keeps go, the head stays: HEAD is answered, and a GET knows its generation.
                is_kept = self._tiers.keeps(body) and body.present_bytes
                self._tiers.put(entry if is_kept else entry.with_body(NoBody(body.size)))
        body.close()

    def _reconsider(self, flight: Flight) -> None:
        """Give a flight that nobody wants a second to be wanted again (F10)."""
        if flight.has_landed or flight.is_leaving or self._is_wanted(flight):
            return
        flight.is_leaving = True
        self._nursery.start_soon(self._abandon, flight)

    async def _abandon(self, flight: Flight) -> None:
        if flight.is_shared:
            await trio.sleep(self.settings.abandon_grace)
        flight.is_leaving = False
        if not flight.has_landed and not self._is_wanted(flight):
            self._head_known(flight)
            flight.scope.cancel()

    def _is_wanted(self, flight: Flight) -> bool:
        assembly = flight.assembly
        if flight.waiters or flight.is_background or flight.is_readahead:
            return True
        if assembly is None:
            return False
        if any(lease.wants(flight.pos, flight.stop) for lease in assembly.leases):
            return True
        body = assembly.body
        fills_cache = assembly.is_shared and self._tiers.keeps(body)
        return fills_cache and body.present_bytes >= self.settings.finish_abandoned_at * (body.size or 1)

    def _new_flight(
        self,
        fetch: Fetch,
        *,
        method: str = "GET",
        span: Span = WHOLE,
        conditional: Entry | None = None,
        extra_headers: tuple[Pair, ...] = (),
        assembly: Assembly | None = None,
        is_shared: bool = True,
    ) -> Flight:
        return Flight(
            fetch,
            self,
            self.settings,
            method=method,
            span=span,
            conditional=conditional,
            extra_headers=extra_headers,
            assembly=assembly,
            is_shared=is_shared,
            metrics=self._metrics,
            log=self._log,
            clock=self._clock,
            rng=self._rng,
        )

    def _launch(self, flight: Flight) -> None:
        self._nursery.start_soon(flight.run)
        self.flights.add(flight)
        self._metrics.flights_total += 1
