"""F8, F10, F12: bounded waiting, clients that leave, and nothing left behind."""

import os
import random

import trio

from tests.fakes import Play, RecordingClient
from yatagarasu.cache.policy import Timing
from yatagarasu.proxy.fetch import FlightSettings

SMALL = random.Random(8).randbytes(200_000)
LARGE = random.Random(8).randbytes(5_000_000)


async def test_waiters_over_the_bound_are_turned_away(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=1.0)
    rig = make_rig(settings=FlightSettings(max_waiters=5))
    clients = await rig.herd(8, apart=0.001)
    assert sorted(client.status for client in clients) == [200] * 5 + [503] * 3
    assert all(client.header("retry-after") == "1" for client in clients if client.status == 503)
    assert len(origin.requests) == 1
    await rig.settle()


async def test_waiting_ends_with_504(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=60.0)
    rig = make_rig(settings=FlightSettings(wait_timeout=3.0))
    client = await rig.ask()
    assert client.status == 504
    assert client.finished_at == 3.0
    await rig.settle()


async def test_waiting_ends_with_what_is_stale_where_that_may_be(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    rig = make_rig(settings=FlightSettings(wait_timeout=3.0), timing=Timing(ttl=1.0, stale_if_error=600.0))
    await rig.ask()
    await trio.sleep(5)
    origin.default = Play(latency=60.0)
    client = await rig.ask()
    assert client.status == 200
    assert client.header("x-cache") == "STALE"
    await rig.settle()


async def test_a_flight_nobody_wants_is_cancelled_after_a_second(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=30.0)
    rig = make_rig()
    with trio.move_on_after(0.5):
        await rig.ask()
    assert len(rig.coalescer.flights) == 1
    await trio.sleep(0.9)
    assert len(rig.coalescer.flights) == 1
    await trio.sleep(0.2)
    assert rig.coalescer.is_idle
    assert rig.metrics.verdicts == {"abandoned": 1}


async def test_a_flight_wanted_again_within_the_second_goes_on(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=3.0)
    rig = make_rig()
    with trio.move_on_after(0.5):
        await rig.ask()
    await trio.sleep(0.5)
    client = await rig.ask()
    assert client.body == SMALL
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_flight_past_half_finishes_for_the_cache(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(chunk_bytes=20_000, chunk_seconds=1.0)
    rig = make_rig()
    with trio.move_on_after(6.5):
        await rig.ask()
    await trio.sleep(10)
    assert (await rig.ask()).header("x-cache") == "HIT"
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_flight_before_half_does_not(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(chunk_bytes=20_000, chunk_seconds=1.0)
    rig = make_rig()
    with trio.move_on_after(2.5):
        await rig.ask()
    await trio.sleep(10)
    assert rig.coalescer.is_idle
    assert origin.sent_bytes < len(SMALL)


async def test_a_private_flight_ends_with_its_client(autojump_clock, make_rig, origin):
    origin.objects["k"] = LARGE
    origin.default = Play(chunk_seconds=0.1, headers=[("cache-control", "private")])
    rig = make_rig()
    await rig.ask(client=RecordingClient(leaves_after=100_000))
    await trio.sleep(0.2)
    assert rig.coalescer.is_idle
    assert origin.open_responses == 0


async def test_a_private_flight_waits_for_a_slow_client(autojump_clock, make_rig, origin):
    origin.objects["k"] = LARGE
    origin.default = Play(headers=[("cache-control", "private")])
    rig = make_rig()
    client = RecordingClient(bytes_per_second=100_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rig.ask(client=client))
        await trio.sleep(5)
        assert origin.sent_bytes < 2_500_000
    assert client.body == LARGE
    await rig.settle()


async def test_temporary_files_are_closed(autojump_clock, make_rig, origin):
    origin.objects["k"] = LARGE
    rig = make_rig()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        clients = await rig.herd(10)
        assert all(client.body == LARGE for client in clients)
    await rig.settle()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_memory_evicts_by_bytes(autojump_clock, make_rig, origin):
    rig = make_rig(memory_bytes=1_000_000)
    for number in range(20):
        origin.objects[f"k{number}"] = SMALL
        await rig.ask(f"k{number}")
    statistics = rig.tiers.memory.statistics()
    assert statistics.bytes <= 1_000_000
    assert statistics.evictions >= 15
    await rig.settle()
