"""Limits on trio's clock: what is taken in a time, never the time itself."""

import pytest
import trio

from yatagarasu.warm.limits import Rate, Window


async def test_requests_keep_to_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    rate = Rate(100)
    began, times = trio.current_time(), []

    async def caller() -> None:
        for _ in range(50):
            await rate.take()
            times.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(caller)
    # A tenth of a second's worth at once, then one every 10 ms.
    assert len(times) == 500
    assert times[-1] == pytest.approx(4.9)
    for second in range(5):
        assert sum(second <= at < second + 1 for at in times) <= 111


async def test_a_pause_gives_no_more_than_a_burst(autojump_clock: trio.testing.MockClock) -> None:
    rate = Rate(10)
    await rate.take()
    await trio.sleep(1000)
    began = trio.current_time()
    for _ in range(11):
        await rate.take()
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_bytes_are_paid_for_afterwards(autojump_clock: trio.testing.MockClock) -> None:
    rate = Rate(1000)
    began = trio.current_time()
    for _ in range(5):
        await rate.wait()
        rate.spend(5000)
    await rate.wait()
    assert trio.current_time() - began == pytest.approx(24.9)


async def test_no_limit_never_waits(autojump_clock: trio.testing.MockClock) -> None:
    rate = Rate(None)
    rate.spend(1e12)
    await rate.wait()
    for _ in range(1000):
        await rate.take()
    assert trio.current_time() == 0


async def test_window_is_halved_once_a_second_and_grows_by_one_a_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    window = Window(16)
    for _ in range(5):
        window.overloaded(None)
    assert window.size == 8
    await trio.sleep(1)
    window.overloaded(None)
    assert window.size == 4
    for _ in range(4):
        window.succeeded()
    assert 4.7 < window.size <= 5
    for _ in range(1000):
        window.succeeded()
    assert window.size == 16


async def test_window_never_closes_for_good(autojump_clock: trio.testing.MockClock) -> None:
    window = Window(2)
    for _ in range(10):
        window.overloaded(None)
        await trio.sleep(1)
    assert window.size == 1
    await window.enter()


async def test_nobody_enters_before_the_time_that_was_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    window = Window(4)
    window.overloaded(7.0)
    window.overloaded(3.0)
    await window.enter()
    assert trio.current_time() == 7.0


async def test_nobody_waits_for_a_day_because_somebody_said_so(autojump_clock: trio.testing.MockClock) -> None:
    window = Window(4)
    window.overloaded(86_400.0)
    await window.enter()
    assert trio.current_time() == 300.0


async def test_as_many_as_the_window_holds_are_in(autojump_clock: trio.testing.MockClock) -> None:
    window, most, busy = Window(5), 0, 0

    async def guest() -> None:
        nonlocal most, busy
        await window.enter()
        busy += 1
        most = max(most, busy)
        await trio.sleep(1)
        busy -= 1
        window.leave()

    async with trio.open_nursery() as nursery:
        for _ in range(23):
            nursery.start_soon(guest)
    assert most == 5
    assert trio.current_time() == 5.0


async def test_a_cancelled_wait_takes_no_place(autojump_clock: trio.testing.MockClock) -> None:
    window = Window(1)
    await window.enter()
    with trio.move_on_after(1):
        await window.enter()
    window.leave()
    with trio.fail_after(1):
        await window.enter()
