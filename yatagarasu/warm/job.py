"""The job: items out of a source, each warmed within the limits, counted, noted in the journal.

Memory is constant, however long the list: a batch of it, what is under way, ranges of numbers that are done.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import trio

from yatagarasu.errors import ConfigError, YatagarasuError
from yatagarasu.observe.scrub import strike_signatures
from yatagarasu.warm.filters import Filters
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.journal import Journal, Past
from yatagarasu.warm.limits import Rate, Window
from yatagarasu.warm.outcome import WHOLE, Kind, Outcome, Part, Warmer, combine
from yatagarasu.warm.report import Failure, Tally
from yatagarasu.warm.sources import Source

# A verdict about an origin is told to everybody for a second (F6): asking again sooner asks nobody.
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_JOURNAL_SECONDS = 1.0
_SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How a job goes about it.

    Args:
        parts: what is asked for of each object.
        concurrency: objects at once, at the most.
        requests_per_second: None for no limit.
        bytes_per_second: on average over objects; None for no limit.
        attempts: tries of an object that fails for a reason that may pass; overload does not count.
        overload_attempts: the same for 503 Slow Down and 429.
        is_strict: a malformed line ends the job.
    """

    filters: Filters = field(default_factory=Filters)
    parts: tuple[Part, ...] = WHOLE
    concurrency: int = 32
    requests_per_second: float | None = None
    bytes_per_second: float | None = None
    attempts: int = 3
    overload_attempts: int = 12
    is_strict: bool = False


class _Numbered(NamedTuple):
    round: int
    number: int
    item: Item


class WarmJob:
    """One run of a job.

    Args:
        open_source: the list from its beginning; called once more where the list is not the one that the journal knows.
        is_repeatable: whether it can be.
        on_malformed, on_failure: told as it happens.
        scrub: takes secrets out of what an origin says; its words are in the reasons.
        clock: epoch seconds.

    Attributes:
        tally: live numbers.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        warmer: Warmer,
        settings: JobSettings,
        *,
        journal: Journal | None = None,
        is_repeatable: bool = True,
        on_malformed: Callable[[Malformed], None] = lambda line: None,
        on_failure: Callable[[Failure], None] = lambda failure: None,
        scrub: Callable[[str], str] = strike_signatures,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tally = Tally()
        self._scrub = scrub
        self.settings = settings
        self._open_source = open_source
        self._warmer = warmer
        self._journal = journal or Journal(None, "")
        self._is_repeatable = is_repeatable
        self._on_malformed = on_malformed
        self._on_failure = on_failure
        self._rng = rng or random.Random()
        self._clock = clock
        self._window = Window(settings.concurrency)
        self._requests = Rate(settings.requests_per_second)
        self._bytes = Rate(settings.bytes_per_second)
        self._resumed: trio.Event | None = None
        self._queue: deque[_Numbered] = deque()
        self._turn = trio.Lock()
        self._is_read = False
        # How often the list was begun.
        self._round = 0
        self._source: Source
        self._past: Past | None = None
        self._scope = trio.CancelScope()
        self._fatal: YatagarasuError | None = None

    # Pausing

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is begun."""
        return self._resumed is not None

    def pause(self) -> None:
        """Begin nothing new; what is under way goes on."""
        self._resumed = self._resumed or trio.Event()

    def resume(self) -> None:
        """Go on."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    # Running

    async def run(self) -> Tally:
        """Run to the end of the list; returns the tally.

        Cancellation leaves a journal to go on from.

        Raises:
            ConfigError: the list or the journal is no good, or a line was malformed where that is fatal.
        """
        began = trio.current_time()
        self._source = self._open_source()
        self._past = self._journal.read()
        if self._past is not None:
            self._journal.done = self._past.done
        is_over = False
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._keep_time, began)
                nursery.start_soon(self._keep_journal)
                async with trio.open_nursery() as workers:
                    for _ in range(self.settings.concurrency):
                        workers.start_soon(self._work)
                is_over = self._fatal is None
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_SECONDS):
                await self.checkpoint()
            self.tally.seconds = trio.current_time() - began
        if self._fatal is not None:
            raise self._fatal
        if is_over:
            self._journal.remove()
        return self.tally

    def _fail(self, error: YatagarasuError) -> None:
        """End the job: nobody shall have to take an error out of groups."""
        error.args = (self._scrub(str(error)),)
        self._fatal = self._fatal or error
        self._scope.cancel()

    async def _keep_time(self, began: float) -> None:
        while True:
            self.tally.seconds = trio.current_time() - began
            await trio.sleep(0.1)

    async def _keep_journal(self) -> None:
        while True:
            await trio.sleep(_JOURNAL_SECONDS)
            try:
                await self.checkpoint()
            except ConfigError as exc:
                self._fail(exc)

    async def checkpoint(self) -> None:
        """Have in the journal what is done by now. Raises ConfigError where it cannot be written."""
        snapshot = self._journal.snapshot(self.tally.counts(), self._clock())
        # First the cache, then the word that it is there.
        await self._warmer.settle()
        self._journal.write(snapshot)

    async def _work(self) -> None:
        while True:
            while self._resumed is not None:
                await self._resumed.wait()
            numbered = await self._take()
            if numbered is None:
                return
            outcome = await self._warm(numbered.item)
            if numbered.round == self._round:
                self._count(numbered, outcome)

    def _count(self, numbered: _Numbered, outcome: Outcome) -> None:
        self.tally.count(outcome)
        if outcome.kind is Kind.FAILED:
            item = numbered.item
            failure = Failure(item.key, item.source, item.line, outcome.reason, item.bucket)
            self.tally.add_failure(failure)
            self._on_failure(failure)
            self._journal.give_up(numbered.number)
        else:
            self._journal.finish(numbered.number)

    async def _warm(self, item: Item) -> Outcome:
        """Warm an item, as often as it takes."""
        settings, tries, overloads = self.settings, 0, 0
        while True:
            await self._window.enter()
            try:
                await self._bytes.wait()
                if item.size is not None and settings.parts == WHOLE:
                    self._bytes.spend(item.size)
                outcome = await self._try(item)
                if item.size is None or settings.parts != WHOLE:
                    self._bytes.spend(outcome.size)
                elif outcome.kind is not Kind.WARMED:
                    self._bytes.spend(-item.size)
            finally:
                self._window.leave()
            if outcome.kind is not Kind.FAILED:
                self._window.succeeded()
                return outcome
            if outcome.is_overload:
                overloads += 1
                self.tally.overloads += 1
                self._window.overloaded(outcome.wait_seconds)
                if overloads >= settings.overload_attempts:
                    return outcome
            else:
                tries += 1
                if not outcome.is_transient or tries >= settings.attempts:
                    return outcome
            self.tally.retries += 1
            seconds = min(_MAX_RETRY_SECONDS, _RETRY_SECONDS * 2 ** (tries + overloads - 1))
            await trio.sleep(seconds * (1 + self._rng.random()) / 2 + _RETRY_SECONDS / 2)

    async def _try(self, item: Item) -> Outcome:
        outcomes = []
        for part in self.settings.parts:
            await self._requests.take()
            self.tally.requests += 1
            outcomes.append(await self._warmer.warm(item, part))
            if outcomes[-1].kind in (Kind.FAILED, Kind.SKIPPED):
                break
        found = combine(outcomes)
        return replace(found, reason=self._scrub(found.reason)) if found.kind is Kind.FAILED else found

    # Reading

    async def _take(self) -> _Numbered | None:
        """The next item that is to be warmed, None at the end."""
        while True:
            if self._queue:
                return self._queue.popleft()
            async with self._turn:
                if self._queue:
                    continue
                if self._is_read:
                    return None
                try:
                    await self._read()
                except YatagarasuError as exc:
                    self._fail(exc)
                    return None

    async def _read(self) -> None:
        batch = await self._source.next_batch()
        if not batch:
            self._is_read = True
            if self._past is not None and self._journal.taken < self._past.checked:
                self._begin_again()
        for one in batch:
            if self._take_in(one):
                break

    def _take_in(self, one: Item | Malformed) -> bool:
        """Put an item into the queue, or count it; True where the list is begun again."""
        self.tally.listed += 1
        number = self._journal.take(one.text if isinstance(one, Malformed) else f"{one.bucket or ''}\0{one.key}")
        if isinstance(one, Malformed):
            self.tally.malformed += 1
            self._journal.finish(number)
            self._on_malformed(one)
            if self.settings.is_strict:
                raise ConfigError(f"{one.source}:{one.line}: {one.reason}: {one.text}")
        elif self._past is not None and self._past.done.covers(number, number + 1) and number < self._past.checked:
            self.tally.earlier += 1
        elif (reason := self.settings.filters.refuses(one)) is not None:
            self._count(_Numbered(self._round, number, one), Outcome(Kind.SKIPPED, reason=reason))
        else:
            self._queue.append(_Numbered(self._round, number, one))
        return self._is_other_list()

    def _is_other_list(self) -> bool:
        past = self._past
        if past is None or self._journal.taken < past.checked:
            return False
        if self._journal.taken == past.checked and self._journal.agrees(past):
            self._past = None
            return False
        return self._begin_again()

    def _begin_again(self) -> bool:
        """The list is not the one that the journal knows: nothing of what that says is done may be left out."""
        if not self._is_repeatable:
            raise ConfigError("this is not the list that the interrupted job had: begin again with --restart")
        self._past = None
        self._round += 1
        self.tally.notes.append("the list has changed since this job was interrupted: begun again")
        self._journal.restart()
        self._queue.clear()
        self._is_read = False
        self.tally.listed = self.tally.malformed = self.tally.earlier = 0
        self.tally.kinds.clear()
        self.tally.reasons.clear()
        self.tally.failures.clear()
        self._source = self._open_source()
        return True
