"""What is remembered for a while is forgotten in time, and never too much of it."""

from contextlib import nullcontext

import pytest
import trio

from yatagarasu.errors import OriginBroken
from yatagarasu.proxy import recent
from yatagarasu.proxy.recent import RecentFailures, UnsharedKeys


async def test_a_verdict_is_kept_for_its_time_and_each_waiter_has_a_copy(autojump_clock):
    failures, error = RecentFailures(), OriginBroken("broken")
    failures.remember(("k", "GET"), error, 1.0)
    with pytest.raises(OriginBroken) as caught:
        failures.raise_for(("k", "GET"))
    assert caught.value is not error
    assert caught.value.__cause__ is error
    failures.raise_for(("k", "HEAD"))
    await trio.sleep(1.0)
    failures.raise_for(("k", "GET"))


async def test_zero_seconds_keep_nothing(autojump_clock):
    failures = RecentFailures()
    failures.remember(("k", "GET"), OriginBroken("broken"), 0.0)
    assert len(failures) == 0


async def test_a_key_may_be_shared_again_in_time_or_when_its_answer_says_so(autojump_clock):
    keys = UnsharedKeys()
    keys.remember("a", 10.0, 2)
    keys.remember("b", 10.0, 2)
    keys.forget("b")
    assert ("a" in keys, "b" in keys) == (True, False)
    assert keys.slot("a").total_tokens == 2  # type: ignore[attr-defined]
    await trio.sleep(10.0)
    assert "a" not in keys
    assert isinstance(keys.slot("a"), nullcontext)


async def test_however_many_are_asked_for_the_newest_are_kept(autojump_clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recent, "MAX_ENTRIES", 100)
    keys = UnsharedKeys()
    for number in range(1_000):
        keys.remember(str(number), 120.0, 1)
    assert len(keys) == 100
    assert all(str(number) in keys for number in range(900, 1_000))


async def test_a_burst_is_over_some_time_after_it(autojump_clock):
    keys = UnsharedKeys()
    for number in range(800):
        keys.remember(f"burst {number}", 1.0, 1)
    await trio.sleep(2.0)
    for number in range(100):
        keys.remember(f"later {number}", 1.0, 1)
    assert len(keys) == 100
