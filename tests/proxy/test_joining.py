"""F1, F2: who joins which flight, and which hole a new one is for."""

import random

import trio

from tests.fakes import Play, RecordingClient
from yatagarasu.proxy.fetch import FlightSettings

MIB = 1024 * 1024
DATA = random.Random(4).randbytes(8 * MIB)
SMALL = DATA[:10_000]


def ranges(origin) -> list[str | None]:
    return [dict(request.headers).get("range") for request in origin.requests]


async def test_a_cold_range_asks_for_its_blocks_only(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    client = await rig.ask(range="bytes=1500000-1500099")
    assert client.status == 206
    assert client.body == DATA[1_500_000:1_500_100]
    assert client.header("content-range") == f"bytes 1500000-1500099/{len(DATA)}"
    assert ranges(origin) == [f"bytes={MIB}-{2 * MIB - 1}"]
    await rig.settle()


async def test_a_cold_suffix_range_needs_no_head_before(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    client = await rig.ask(range="bytes=-100")
    assert client.body == DATA[-100:]
    assert ranges(origin) == [f"bytes=-{MIB}"]
    await rig.settle()


async def test_a_range_of_a_small_object_fills_the_cache_with_all_of_it(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    rig = make_rig()
    await rig.ask(range="bytes=10-19")
    client = await rig.ask()
    assert client.body == SMALL
    assert client.header("x-cache") == "HIT"
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_get_after_a_head_joins_the_get_that_was_asked_for_meanwhile(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.plays = [Play(latency=0.1), Play(latency=0.3)]
    rig = make_rig()
    clients = [RecordingClient() for _ in range(3)]

    async def ask(index: int, seconds: float, method: str) -> None:
        await trio.sleep(seconds)
        await rig.ask(client=clients[index], method=method)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 0, 0.0, "HEAD")
        nursery.start_soon(ask, 1, 0.05, "GET")
        nursery.start_soon(ask, 2, 0.2, "GET")  # The head is known by now, the other GET's is not.
    assert [client.body for client in clients] == [b"", SMALL, SMALL]
    assert [request.method for request in origin.requests] == ["HEAD", "GET"]
    await rig.settle()


async def test_a_range_far_ahead_of_a_flight_starts_its_own(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(chunk_seconds=0.1)
    rig = make_rig(settings=FlightSettings(join_ahead=MIB))
    first, second = RecordingClient(), RecordingClient()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rig.ask(client=first))
        await trio.sleep(0.15)
        nursery.start_soon(lambda: rig.ask(client=second, range="bytes=6291456-6291465"))
    assert first.body == DATA
    assert second.body == DATA[6_291_456:6_291_466]
    assert second.finished_at < 1.0
    assert ranges(origin)[:2] == [None, f"bytes={6 * MIB}-{7 * MIB - 1}"]
    assert origin.sent_bytes <= len(DATA) + 64 * 1024
    await rig.settle()


async def test_a_range_just_ahead_of_a_flight_waits_for_it(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(chunk_seconds=0.01)
    rig = make_rig()
    second = RecordingClient()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.ask)
        await trio.sleep(0.05)
        nursery.start_soon(lambda: rig.ask(client=second, range="bytes=2000000-2000009"))
    assert second.body == DATA[2_000_000:2_000_010]
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_head_joins_a_get(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=0.2)
    rig = make_rig()
    head = RecordingClient()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.ask)
        await trio.sleep(0.1)
        nursery.start_soon(lambda: rig.ask(method="HEAD", client=head))
    assert head.status == 200
    assert head.header("content-length") == str(len(SMALL))
    assert head.body == b""
    assert [request.method for request in origin.requests] == ["GET"]
    await rig.settle()


async def test_a_head_alone_costs_a_head_and_is_kept(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    await rig.ask(method="HEAD")
    again = await rig.ask(method="HEAD")
    assert again.header("x-cache") == "HIT"
    assert [request.method for request in origin.requests] == ["HEAD"]
    client = await rig.ask()
    assert client.body == DATA
    assert dict(origin.requests[1].headers)["if-match"].startswith('"')
    await rig.settle()


async def test_an_object_over_the_memory_limit_is_shared_while_it_is_in_the_air(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(chunk_seconds=0.01)
    rig = make_rig()
    clients = await rig.herd(20, apart=0.02)
    assert all(client.is_whole and client.body == DATA for client in clients)
    assert len(origin.requests) == 1
    await rig.settle()


async def test_multiple_ranges_come_as_multipart(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    rig = make_rig()
    client = await rig.ask(range="bytes=0-9,100-109")
    boundary = client.header("content-type").partition("boundary=")[2]
    assert client.status == 206
    assert client.is_whole
    assert client.body.count(b"--" + boundary.encode()) == 3
    assert SMALL[:10] in client.body
    assert SMALL[100:110] in client.body
    await rig.settle()


async def test_without_coalescing_each_fetches_for_itself(autojump_clock, make_rig, origin):
    origin.objects["k"] = SMALL
    origin.default = Play(latency=0.2)
    rig = make_rig(settings=FlightSettings(enabled=False))
    clients = await rig.herd(5)
    assert all(client.body == SMALL for client in clients)
    assert len(origin.requests) == 5
    assert (await rig.ask()).header("x-cache") == "HIT"
    await rig.settle()


async def test_a_late_reader_keeps_a_temporary_file_that_others_have_left(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    first = RecordingClient(bytes_per_second=8_000_000)
    late = RecordingClient(bytes_per_second=1_000_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: rig.ask(client=first))
        await trio.sleep(0.5)  # every byte is there by now
        nursery.start_soon(lambda: rig.ask(client=late))
    assert first.body == DATA
    assert late.is_whole
    assert late.body == DATA
    assert len(origin.requests) == 1
    await rig.settle()
