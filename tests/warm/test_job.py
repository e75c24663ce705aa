"""Jobs over a warmer that does what it is told, on trio's clock."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import trio
import trio.testing

from yatagarasu.errors import ConfigError
from yatagarasu.warm.filters import Filters
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.job import JobSettings, WarmJob
from yatagarasu.warm.journal import Journal
from yatagarasu.warm.outcome import Kind, Outcome, Part
from yatagarasu.warm.report import Failure
from yatagarasu.warm.sources import Given

WARMED = Outcome(Kind.WARMED, 100)
PRESENT = Outcome(Kind.PRESENT)
BROKEN = Outcome(Kind.FAILED, reason="502 BadGateway", is_transient=True)
GONE = Outcome(Kind.FAILED, reason="404 NoSuchKey")
SLOW_DOWN = Outcome(Kind.FAILED, reason="503 SlowDown", is_transient=True, is_overload=True)


class Cache:
    """A warmer: takes a tenth of a second for each object, gives the outcomes of its script, then remembers."""

    def __init__(self, script: dict[str, list[Outcome]] | None = None, seconds: float = 0.1) -> None:
        self.script = script or {}
        self.seconds = seconds
        self.asked: list[tuple[str, Part]] = []
        self.held: set[str] = set()
        self.settled: set[str] = set()
        self.busy = self.most = 0

    async def warm(self, item: Item, part: Part) -> Outcome:
        self.asked.append((item.key, part))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.busy -= 1
        if self.script.get(item.key):
            return self.script[item.key].pop(0)
        if item.key in self.held:
            return PRESENT
        self.held.add(item.key)
        return WARMED

    async def settle(self) -> None:
        await trio.lowlevel.checkpoint()
        self.settled |= self.held

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.asked]


def items(count: int, **more: object) -> list[Item | Malformed]:
    return [Item(f"k{number}", source="list", line=number + 1, **more) for number in range(count)]  # type: ignore[arg-type]


def job(
    listed: Iterable[Item | Malformed],
    cache: Cache,
    path: Path | None = None,
    is_repeatable: bool = True,
    **settings: object,
) -> WarmJob:
    kept = list(listed)
    return WarmJob(
        lambda: Given(iter(kept)),
        cache,
        JobSettings(**settings),  # type: ignore[arg-type]
        journal=Journal(path, "job"),
        is_repeatable=is_repeatable,
        rng=random.Random(1),
        clock=lambda: 1.0,
    )


async def test_every_object_is_asked_for_once(autojump_clock: trio.testing.MockClock) -> None:
    cache = Cache()
    tally = await job(items(1300), cache, concurrency=10).run()
    assert Counter(cache.keys) == Counter({f"k{number}": 1 for number in range(1300)})
    assert cache.most == 10
    assert tally.seconds == pytest.approx(13.0)
    assert (tally.listed, tally.kinds[Kind.WARMED], tally.bytes, tally.requests) == (1300, 1300, 130_000, 1300)
    assert tally.is_good(0)


async def test_what_is_there_is_told_apart(autojump_clock: trio.testing.MockClock) -> None:
    cache = Cache()
    cache.held = {"k1", "k2"}
    tally = await job(items(5), cache).run()
    assert (tally.kinds[Kind.WARMED], tally.kinds[Kind.PRESENT], tally.bytes) == (3, 2, 300)


async def test_failures_are_tried_again_where_that_may_help(autojump_clock: trio.testing.MockClock) -> None:
    told: list[Failure] = []
    cache = Cache({"k0": [BROKEN, BROKEN], "k1": [BROKEN] * 9, "k2": [GONE] * 9})
    running = job(items(4), cache, attempts=3)
    running._on_failure = told.append
    tally = await running.run()
    assert Counter(cache.keys) == {"k0": 3, "k1": 3, "k2": 1, "k3": 1}
    assert (tally.kinds[Kind.WARMED], tally.kinds[Kind.FAILED], tally.retries) == (2, 2, 4)
    assert tally.reasons == {"502 BadGateway": 1, "404 NoSuchKey": 1}
    assert {one.key for one in told} == {"k1", "k2"}
    assert {(one.source, one.line) for one in told} == {("list", 2), ("list", 3)}


async def test_retries_of_an_object_wait_for_the_verdict_to_be_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cache = Cache({"k0": [BROKEN, BROKEN]}, seconds=0)
    await job(items(1), cache).run()
    assert trio.current_time() >= 2.0


@pytest.mark.parametrize(("allowed", "is_good"), [(0, False), (24.9, False), (25, True), (100, True)])
async def test_share_of_failures_that_is_allowed(
    allowed: float, is_good: bool, autojump_clock: trio.testing.MockClock
) -> None:
    tally = await job(items(4), Cache({"k2": [GONE]})).run()
    assert tally.is_good(allowed) is is_good


async def test_overload_halves_the_load_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    class Origin(Cache):
        """Says 503 to everything beyond eight at once."""

        async def warm(self, item: Item, part: Part) -> Outcome:
            if self.busy >= 8:
                self.asked.append((item.key, part))
                return SLOW_DOWN
            return await super().warm(item, part)

    cache = Origin()
    tally = await job(items(2000), cache, concurrency=64).run()
    assert tally.kinds == {Kind.WARMED: 2000}
    assert tally.overloads > 0
    # Once it has found out, few requests are in vain.
    assert len(cache.asked) < 2000 * 1.35


async def test_overload_that_does_not_end_is_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    tally = await job(items(1), Cache({"k0": [SLOW_DOWN] * 50}), overload_attempts=4).run()
    assert (tally.kinds[Kind.FAILED], tally.overloads) == (1, 4)


async def test_everybody_waits_as_long_as_was_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    slow = Outcome(Kind.FAILED, reason="503", is_transient=True, is_overload=True, wait_seconds=20.0)
    cache = Cache({"k0": [slow]}, seconds=0)
    await job(items(50), cache, concurrency=1).run()
    assert 20 <= trio.current_time() < 22


async def test_limits_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    await job(items(500), Cache(seconds=0.01), requests_per_second=100).run()
    assert trio.current_time() == pytest.approx(4.91, abs=0.02)
    began = trio.current_time()
    # Known sizes are paid for before, unknown ones after.
    for size in (100, None):
        await job(items(101, size=size), Cache(seconds=0), bytes_per_second=1000, concurrency=1).run()
        assert trio.current_time() - began == pytest.approx(9.9, abs=0.2)
        began = trio.current_time()


async def test_parts_of_an_object_are_one_item(autojump_clock: trio.testing.MockClock) -> None:
    parts = (Part(range="bytes=0-9"), Part(range="bytes=-5"))
    cache = Cache({"k0": [WARMED, PRESENT], "k1": [PRESENT, PRESENT], "k2": [WARMED, GONE], "k3": [GONE]})
    tally = await job(items(4), cache, parts=parts, concurrency=1).run()
    assert tally.kinds == {Kind.WARMED: 1, Kind.PRESENT: 1, Kind.FAILED: 2}
    assert cache.asked[:2] == [("k0", parts[0]), ("k0", parts[1])]
    assert tally.requests == 7


async def test_filters_and_malformed_lines_cost_no_request(autojump_clock: trio.testing.MockClock) -> None:
    told: list[Malformed] = []
    listed = [*items(10), Malformed("list", 11, "not UTF-8", "\\xff")]
    cache = Cache()
    running = job(listed, cache, filters=Filters(include=("k[0-3]",)))
    running._on_malformed = told.append
    tally = await running.run()
    assert sorted(cache.keys) == ["k0", "k1", "k2", "k3"]
    assert (tally.kinds[Kind.SKIPPED], tally.malformed, tally.listed, tally.ended) == (6, 1, 11, 11)
    assert told == [listed[-1]]
    assert tally.is_good(0)


async def test_strict_ends_at_a_malformed_line(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ConfigError, match="list:2: not UTF-8: xx"):
        await job([Item("a"), Malformed("list", 2, "not UTF-8", "xx")], Cache(), is_strict=True).run()


async def run_for(running: WarmJob, seconds: float) -> None:
    with trio.move_on_after(seconds) as scope:
        await running.run()
    assert scope.cancelled_caught


async def test_an_interrupted_job_goes_on_where_it_was(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal"
    first, second = Cache(), Cache()
    await run_for(job(items(1000), first, path, concurrency=10), 5.05)
    done = set(first.held)
    assert 400 <= len(done) < 600
    tally = await job(items(1000), second, path, concurrency=10).run()
    assert set(second.keys) == {f"k{number}" for number in range(1000)} - done
    assert (tally.earlier, tally.kinds[Kind.WARMED], tally.ended) == (len(done), 1000 - len(done), 1000)
    assert list(path.parent.iterdir()) == []


async def test_a_killed_job_repeats_at_most_what_its_journal_does_not_say(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    path, kept = tmp_path / "journal", tmp_path / "kept"
    cache = Cache()
    running = job(items(1000), cache, path, concurrency=10)

    async def look() -> None:
        await trio.sleep(5.05)
        kept.write_bytes(path.read_bytes())
        # What the journal says is done had outlived the process by then.
        said = Journal(kept, "job").read()
        assert said is not None
        assert {f"k{number}" for start, stop in said.done for number in range(start, stop)} <= cache.settled

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await running.run()
    path.write_bytes(kept.read_bytes())
    again = Cache()
    tally = await job(items(1000), again, path, concurrency=10).run()
    assert 390 <= tally.earlier <= 510
    assert len(again.keys) == 1000 - tally.earlier


async def test_what_failed_is_tried_again_by_the_run_that_goes_on(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    await run_for(job(items(100), Cache({"k3": [GONE], "k7": [GONE]}), path, concurrency=5), 1.05)
    again = Cache()
    tally = await job(items(100), again, path, concurrency=5).run()
    assert {"k3", "k7"} <= set(again.keys)
    assert tally.earlier + len(again.keys) == 100


@pytest.mark.parametrize("change", ["other-key", "shorter", "longer-start"])
async def test_another_list_is_begun_again(change: str, autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    await run_for(job(items(1000), Cache(), path, concurrency=10), 5.05)
    changed = items(1000)
    if change == "other-key":
        changed[10] = Item("new")
    elif change == "shorter":
        changed = changed[:300]
    else:
        changed.insert(0, Item("new"))
    cache = Cache()
    tally = await job(changed, cache, path, concurrency=10).run()
    assert cache.held == {one.key for one in changed if isinstance(one, Item)}
    assert (tally.listed, tally.ended) == (len(changed), len(changed))
    assert "begun again" in tally.notes[0]


async def test_a_list_that_cannot_be_read_twice_and_is_another_one_is_refused(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    await run_for(job(items(1000), Cache(), path, concurrency=10), 5.05)
    with pytest.raises(ConfigError, match="--restart"):
        await job(items(10), Cache(), path, is_repeatable=False).run()


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "yatagarasu-warm/1"}', b'{"format": "other/1"}', b"[]"])
async def test_a_journal_that_is_none_is_as_good_as_no_journal(
    content: bytes, autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    tally = await job(items(3), Cache(), path).run()
    assert tally.kinds == {Kind.WARMED: 3}


async def test_a_journal_that_cannot_be_written_is_named(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"journal .*file/journal cannot be written"):
        await job(items(1000), Cache(), tmp_path / "file" / "journal", concurrency=1).run()


async def test_a_paused_job_begins_nothing(autojump_clock: trio.testing.MockClock) -> None:
    cache = Cache()
    running = job(items(100), cache, concurrency=5)
    counts: list[int] = []

    async def watch() -> None:
        for act in (running.pause, lambda: None, running.resume):
            await trio.sleep(1.05)
            act()
            counts.append(len(cache.asked))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        tally = await running.run()
    assert counts[1] - counts[0] <= 5
    assert counts[2] == counts[1]
    assert tally.kinds[Kind.WARMED] == 100


async def test_ten_million_items_need_no_more_memory_than_a_few(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is held, not by the kernel's word: a hundred thousand show whether anything grows."""
    most = 0

    class Endless:
        left = 100_000

        async def next_batch(self) -> list[Item | Malformed]:
            nonlocal most
            await trio.lowlevel.checkpoint()
            most = max(most, len(running._queue), running._journal.done.run_count)
            taken, self.left = min(512, self.left), self.left - min(512, self.left)
            return [Item(f"k{self.left + number}") for number in range(taken)]

    class Instant(Cache):
        async def warm(self, item: Item, part: Part) -> Outcome:
            await trio.lowlevel.checkpoint()
            return PRESENT

    source: Callable[[], Endless] = Endless
    running = WarmJob(source, Instant(), JobSettings(concurrency=32))
    tally = await running.run()
    assert tally.kinds[Kind.PRESENT] == 100_000
    assert most <= 512 + 64
