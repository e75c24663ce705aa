"""The pool's decisions, with fake connections and a fake clock."""

import pytest
import trio

from yatagarasu.origin.pool import MAX_AGE_SECONDS, MAX_IDLE_SECONDS, Pool


class FakeConnection:
    def __init__(self) -> None:
        self.is_closed = False
        self.has_died = False

    async def send_all(self, data: bytes) -> None:
        raise AssertionError

    async def receive_some(self, max_bytes: int) -> bytes:
        raise AssertionError

    def is_readable(self) -> bool:
        return self.has_died

    def close(self) -> None:
        self.is_closed = True


class Endpoint:
    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.now = 0.0
        self.fails = False

    async def connect(self) -> FakeConnection:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise OSError("refused")
        self.made.append(FakeConnection())
        return self.made[-1]

    def pool(self, limit: int = 2) -> Pool:
        return Pool(self.connect, limit, clock=lambda: self.now)


async def test_the_warmest_connection_is_used_again():
    endpoint = Endpoint()
    pool = endpoint.pool()
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first, is_reusable=True)
    pool.release(second, is_reusable=True)
    again = await pool.acquire()
    assert again is second
    assert again.is_reused
    assert len(endpoint.made) == 2


async def test_a_dead_idle_connection_is_not_used():
    endpoint = Endpoint()
    pool = endpoint.pool()
    pool.release(await pool.acquire(), is_reusable=True)
    endpoint.made[0].has_died = True
    assert (await pool.acquire()).connection is endpoint.made[1]
    assert endpoint.made[0].is_closed


@pytest.mark.parametrize("seconds", [MAX_IDLE_SECONDS + 1, MAX_AGE_SECONDS + 1])
async def test_idle_and_old_connections_end(seconds: float):
    endpoint = Endpoint()
    pool = endpoint.pool()
    pool.release(await pool.acquire(), is_reusable=True)
    endpoint.now = seconds
    await pool.acquire()
    assert endpoint.made[0].is_closed


async def test_an_old_connection_is_not_kept_so_that_the_name_is_looked_up_again():
    endpoint = Endpoint()
    pool = endpoint.pool()
    taken = await pool.acquire()
    endpoint.now = MAX_AGE_SECONDS + 1
    pool.release(taken, is_reusable=True)
    assert endpoint.made[0].is_closed


async def test_the_limit_is_waited_for_in_order(autojump_clock):
    endpoint = Endpoint()
    pool = endpoint.pool(1)
    taken = await pool.acquire()
    order: list[int] = []

    async def wait(number: int) -> None:
        mine = await pool.acquire()
        order.append(number)
        pool.release(mine, is_reusable=True)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
        assert pool.statistics().waiting == 3
        pool.release(taken, is_reusable=True)
    assert order == [0, 1, 2]
    assert len(endpoint.made) == 1


async def test_a_waiter_that_leaves_loses_nobodys_turn(autojump_clock):
    endpoint = Endpoint()
    pool = endpoint.pool(1)
    taken = await pool.acquire()
    done = trio.Event()

    async def leave() -> None:
        mine = await pool.acquire()
        try:
            await trio.lowlevel.checkpoint()
        finally:
            pool.release(mine, is_reusable=True)

    async def stay() -> None:
        pool.release(await pool.acquire(), is_reusable=True)
        done.set()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as leaving:
                leaving.start_soon(leave)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(stay)
                await trio.testing.wait_all_tasks_blocked()
                pool.release(taken, is_reusable=True)
                scope.cancel()
        with trio.fail_after(1):
            await done.wait()
    assert pool.statistics().in_use == 0


async def test_a_failed_connect_gives_its_place_back():
    endpoint = Endpoint()
    pool = endpoint.pool(1)
    endpoint.fails = True
    with pytest.raises(OSError, match="refused"):
        await pool.acquire()
    endpoint.fails = False
    await pool.acquire()


async def test_close_closes_idle_ones_now_and_others_as_they_come_back():
    endpoint = Endpoint()
    pool = endpoint.pool()
    idle, used = await pool.acquire(), await pool.acquire()
    pool.release(idle, is_reusable=True)
    pool.close()
    assert [made.is_closed for made in endpoint.made] == [True, False]
    pool.release(used, is_reusable=True)
    assert endpoint.made[1].is_closed


async def test_a_newcomer_does_not_slip_in_before_those_who_wait(autojump_clock):
    endpoint = Endpoint()
    pool = endpoint.pool(1)
    taken = await pool.acquire()
    order: list[str] = []

    async def wait() -> None:
        mine = await pool.acquire()
        order.append("waiter")
        pool.release(mine, is_reusable=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        pool.release(taken, is_reusable=True)
        taken = await pool.acquire()
        order.append("newcomer")
        pool.release(taken, is_reusable=True)
    assert order == ["waiter", "newcomer"]
    assert pool.statistics().in_use == 0
