"""What the peers do with 50 clients on a cold key, and what we do instead: exact counts, virtual time."""

import random

import pytest
import trio

from tests.fakes import Play, RecordingClient, ScriptedOrigin
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import OriginBroken
from yatagarasu.proxy.fetch import FlightSettings

MB = 1_000_000
DATA_10K = random.Random(1).randbytes(10 * 1024)
DATA_4M = random.Random(2).randbytes(4 * MB)
DATA_8M = random.Random(3).randbytes(8 * MB)
RESET = OriginBroken("the connection was reset")


def whole(clients: list[RecordingClient], data: bytes) -> int:
    return sum(client.is_whole and client.status == 200 and client.body == data for client in clients)


async def test_cold_object_costs_one_request_and_followers_wait_no_longer_than_the_leader(
    autojump_clock, make_rig, origin
):
    origin.objects["k"] = DATA_10K
    origin.default = Play(latency=0.2)
    rig = make_rig()
    clients = await rig.herd(200)
    assert whole(clients, DATA_10K) == 200
    assert len(origin.requests) == 1
    assert max(client.first_byte_at for client in clients) == pytest.approx(0.2, abs=0.001)
    assert rig.metrics.coalesced_requests == {"b": 199}
    assert rig.metrics.coalesced_bytes == {"b": 199 * len(DATA_10K)}
    await rig.settle()


async def test_followers_of_a_slow_body_get_their_first_byte_at_once(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_8M
    origin.default = Play(chunk_bytes=40_000, chunk_seconds=0.01)  # 4 MB/s
    rig = make_rig()
    clients = await rig.herd(50, apart=0.01)
    assert whole(clients, DATA_8M) == 50
    assert len(origin.requests) == 1
    delays = sorted(client.first_byte_at - 0.01 * index for index, client in enumerate(clients))
    assert delays[25] <= 0.001
    await rig.settle()


@pytest.mark.parametrize("cuts", [1, 3])
async def test_a_cut_connection_is_resumed_and_every_download_completes(autojump_clock, make_rig, origin, cuts):
    origin.objects["k"] = DATA_4M
    origin.plays = [Play(cut_after=1 * MB) for _ in range(cuts)]
    rig = make_rig()
    clients = await rig.herd(50)
    assert whole(clients, DATA_4M) == 50
    assert len(origin.requests) == cuts + 1
    assert origin.sent_bytes == len(DATA_4M)
    resumed = dict(origin.requests[1].headers)
    assert resumed["range"] == "bytes=1000000-"
    assert resumed["if-match"].startswith('"')
    assert rig.metrics.origin_resumes == {"b": cuts}
    await rig.settle()


async def test_first_client_leaving_does_not_cancel_the_fetch(autojump_clock, make_rig, origin, nursery):
    origin.objects["k"] = DATA_10K
    origin.default = Play(latency=0.2)
    rig = make_rig()
    with trio.CancelScope() as leaver:
        async with trio.open_nursery() as first:
            first.start_soon(rig.ask)
            await trio.sleep(0.1)
            leaver.cancel()
    clients = await rig.herd(49)
    assert whole(clients, DATA_10K) == 49
    assert len(origin.requests) == 1
    await rig.settle()


async def test_private_answers_are_fetched_by_each_at_once_and_remembered(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_10K
    origin.default = Play(latency=0.2, headers=[("cache-control", "private")])
    rig = make_rig()
    clients = await rig.herd(50)
    assert whole(clients, DATA_10K) == 50
    assert max(client.finished_at for client in clients) <= 0.45
    assert len(origin.requests) == 50
    began = trio.current_time()
    again = await rig.herd(50)
    assert whole(again, DATA_10K) == 50
    assert max(client.finished_at for client in again) - began <= 0.25
    assert len(origin.requests) == 100
    await rig.settle()


async def test_one_503_is_retried_for_everybody(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_10K
    origin.plays = [Play(status=503)]
    rig = make_rig()
    clients = await rig.herd(50)
    assert whole(clients, DATA_10K) == 50
    assert len(origin.requests) == 2
    await rig.settle()


async def test_an_expired_entry_costs_one_conditional_request(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_10K
    rig = make_rig(timing=Timing(ttl=10.0))
    await rig.ask()
    await trio.sleep(11)
    origin.default = Play(latency=0.2)
    clients = await rig.herd(50)
    assert whole(clients, DATA_10K) == 50
    assert len(origin.requests) == 2
    assert "if-none-match" in dict(origin.requests[1].headers)
    assert origin.sent_bytes == len(DATA_10K)
    await rig.settle()


async def test_within_stale_while_revalidate_nobody_waits(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_10K
    rig = make_rig(timing=Timing(ttl=10.0, stale_while_revalidate=60.0))
    await rig.ask()
    await trio.sleep(11)
    origin.default = Play(latency=5.0)
    began = trio.current_time()
    clients = await rig.herd(50)
    assert trio.current_time() == began
    assert whole(clients, DATA_10K) == 50
    assert {client.header("x-cache") for client in clients} == {"STALE"}
    await trio.sleep(6)
    assert len(origin.requests) == 2
    assert (await rig.ask()).header("x-cache") == "HIT"
    await rig.settle()


async def test_a_slow_origin_is_asked_once_and_answers_everybody(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_10K
    origin.default = Play(latency=7.0)
    rig = make_rig()
    clients = await rig.herd(50)
    assert whole(clients, DATA_10K) == 50
    assert len(origin.requests) == 1
    assert max(client.finished_at for client in clients) == pytest.approx(7.0, abs=0.01)
    await rig.settle()


async def test_fifty_ranges_of_a_cold_object_bring_each_byte_once(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_8M
    origin.default = Play(latency=0.05)
    rig = make_rig()
    starts = [index * (len(DATA_8M) - 65_536) // 49 for index in range(50)]
    clients = [RecordingClient() for _ in starts]
    async with trio.open_nursery() as nursery:
        for start, client in zip(starts, clients, strict=True):
            nursery.start_soon(lambda s=start, c=client: rig.ask(client=c, range=f"bytes={s}-{s + 65_535}"))
    for start, client in zip(starts, clients, strict=True):
        assert client.status == 206
        assert client.body == DATA_8M[start : start + 65_536]
    assert len(origin.requests) <= 9
    assert origin.sent_bytes == len(DATA_8M)
    await rig.settle()


async def test_a_slow_first_client_slows_nobody(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_4M
    rig = make_rig()
    slow = RecordingClient(bytes_per_second=200_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rig.ask(client=slow))
        await trio.sleep(0.001)
        began = trio.current_time()
        clients = await rig.herd(49)
        assert trio.current_time() - began < 0.1
    assert whole([slow, *clients], DATA_4M) == 50
    assert len(origin.requests) == 1
    await rig.settle()


@pytest.mark.parametrize("play", [Play(status=503), Play(error=RESET)], ids=["503", "reset"])
async def test_a_failing_origin_sees_three_requests_and_everybody_gets_the_same_answer(
    autojump_clock, make_rig, origin, play
):
    origin.objects["k"] = DATA_10K
    origin.default = play
    rig = make_rig()
    clients = await rig.herd(50, apart=0.01)
    assert len(origin.requests) <= 3
    assert len({client.status for client in clients}) == 1
    assert clients[0].status in (502, 503)
    assert all(client.is_whole for client in clients)
    assert max(client.finished_at for client in clients) <= 1.5
    await rig.settle()


async def test_a_silent_stall_is_resumed_after_stall_timeout(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_4M
    origin.plays = [Play(stall_after=1 * MB)]
    rig = make_rig(settings=FlightSettings(stall_timeout=3.0))
    clients = await rig.herd(50)
    assert whole(clients, DATA_4M) == 50
    assert len(origin.requests) == 2
    assert origin.sent_bytes == len(DATA_4M)
    assert 3.0 <= max(client.finished_at for client in clients) < 3.2
    await rig.settle()


async def test_an_object_replaced_in_the_middle_is_never_mixed_nor_short_and_whole(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA_4M
    newer = random.Random(9).randbytes(4 * MB)

    def replace() -> None:
        origin.objects["k"] = newer

    origin.plays = [Play(cut_after=1 * MB), Play(then=replace)]
    rig = make_rig()
    clients = await rig.herd(50)
    for client in clients:
        assert not client.is_whole
        assert client.result is not None
        assert not client.result.is_clean
        assert DATA_4M.startswith(client.body)
    after = await rig.ask()
    assert after.is_whole
    assert after.body == newer
    await rig.settle()


async def test_an_object_replaced_before_the_first_byte_is_served_anew(
    autojump_clock, make_rig, origin: ScriptedOrigin
):
    origin.objects["k"] = DATA_4M
    rig = make_rig()
    await rig.ask(method="HEAD")
    origin.objects["k"] = DATA_8M
    origin.last_modified = "Sun, 06 Nov 1994 09:00:00 GMT"
    clients = await rig.herd(10, range="bytes=0-99")
    for client in clients:
        assert client.status in (206, 502)
        assert client.body[:100] == DATA_8M[:100] or not client.result.is_clean
    await rig.settle()
