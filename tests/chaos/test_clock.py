"""The wall clock jumps: no answer is lost by it. In every phase, and for every client: `test_matrix.py`."""

import random
import time
from collections.abc import AsyncIterator

import pytest
import trio

from tests.chaos.clients import Answer, patient
from tests.chaos.clock import HOUR, YEAR, Clock
from tests.server.conftest import Proxy, run_proxy
from yatagarasu.bench.faults import Fault

DATA = random.Random(5).randbytes(300_000)
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, 20 * YEAR, -20 * YEAR], ids=["+1 h", "-1 h", "+20 y", "-20 y"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "time", found)
    return found


@pytest.fixture
async def proxy(clock: Clock) -> AsyncIterator[Proxy]:
    cache = {"ttl": "10m", "stale_if_error": "1d"}
    async with run_proxy(cache=cache, origin={"retry": {"backoff": "5ms"}}) as running:
        running.origin.clock = clock
        running.store.put("bkt", "k", DATA)
        yield running


async def ask(proxy: Proxy) -> Answer:
    [answer] = await patient(proxy.port, "/b/k", "")
    assert (answer.status, answer.body == DATA, answer.is_whole) == (200, True, True)
    assert 0 <= int(answer.fields["age"]) < 2
    return answer


@JUMPS
async def test_in_the_middle_of_a_body(proxy: Proxy, clock: Clock, jump: float):
    proxy.faults.add(Fault(bandwidth=1_000_000, cut_after=200_000), count=1)

    async def strike() -> None:
        await trio.sleep(0.1)
        clock.offset = jump

    async with trio.open_nursery() as nursery:
        nursery.start_soon(strike)
        for _ in range(3):
            nursery.start_soon(ask, proxy)
    assert proxy.origin.request_count("k") == 2


@JUMPS
async def test_what_was_stored_before_is_validated_once_and_then_served(proxy: Proxy, clock: Clock, jump: float):
    await ask(proxy)
    clock.offset = jump
    assert (await ask(proxy)).fields["x-cache"] == "REVALIDATED"
    assert (await ask(proxy)).fields["x-cache"] == "HIT"
    assert [seen.status for seen in proxy.origin.requests] == [200, 304]


@pytest.mark.parametrize("jump", [30.0, -30.0])
async def test_corrections_cost_nothing(proxy: Proxy, clock: Clock, jump: float):
    await ask(proxy)
    clock.offset = jump
    [answer] = await patient(proxy.port, "/b/k", "")
    assert (answer.body, answer.fields["x-cache"]) == (DATA, "HIT")
    assert int(answer.fields["age"]) >= 0
    assert proxy.origin.request_count("k") == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_ours_alone_jumps_and_s3_refuses_our_signatures(proxy: Proxy, clock: Clock, jump: float):
    await ask(proxy)
    clock.offset = jump
    proxy.origin.clock = clock.real
    [answer] = await patient(proxy.port, "/b/k", "")
    assert (answer.body, answer.fields["x-cache"]) == (DATA, "STALE")
    assert "RequestTimeTooSkewed" in proxy.log.text
    clock.offset = 0.0
    await ask(proxy)
