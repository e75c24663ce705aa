"""F3, F4, F5: resume, changed objects, and bodies that end early."""

import random

import pytest
import trio

from tests.fakes import Play, RecordingClient
from yatagarasu.errors import OriginBroken
from yatagarasu.proxy.fetch import FlightSettings

MIB = 1024 * 1024
DATA = random.Random(5).randbytes(3 * MIB)
OTHER = random.Random(6).randbytes(3 * MIB)


async def test_a_stored_head_is_not_told_before_the_origin_says_that_it_is_good(autojump_clock, make_rig, origin):
    """Of a large object only the head is kept, and it may be another object by now."""
    origin.objects["k"] = random.Random(1).randbytes(2_000_000)
    rig = make_rig()
    assert (await rig.ask()).is_whole
    origin.objects["k"] = new = random.Random(2).randbytes(2_000_000)
    clients = await rig.herd(3)
    assert [(client.status, client.is_whole, client.body == new) for client in clients] == [(200, True, True)] * 3
    assert len(origin.requests) == 3  # The old one; what is left of it, which is 412; the new one.
    await rig.settle()


async def test_a_cut_range_is_resumed_within_its_range(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB // 2)]
    rig = make_rig()
    client = await rig.ask(range=f"bytes={MIB}-{2 * MIB - 1}")
    assert client.body == DATA[MIB : 2 * MIB]
    assert dict(origin.requests[1].headers)["range"] == f"bytes={MIB + MIB // 2}-{2 * MIB - 1}"
    await rig.settle()


async def test_progress_restores_the_budget(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=256 * 1024) for _ in range(10)]
    rig = make_rig()
    client = await rig.ask()
    assert client.body == DATA
    assert len(origin.requests) == 11
    await rig.settle()


async def test_no_progress_ends_in_a_torn_connection(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB), *(Play(cut_after=0) for _ in range(9))]
    rig = make_rig()
    client = await rig.ask()
    assert not client.is_whole
    assert client.result.is_clean is False
    assert client.body == DATA[:MIB]
    assert len(origin.requests) == 3
    await rig.settle()


async def test_an_origin_that_ignores_ranges_is_resumed_by_skipping(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB), Play(ignores_range=True)]
    rig = make_rig()
    client = await rig.ask()
    assert client.is_whole
    assert client.body == DATA
    await rig.settle()


async def test_a_wrong_content_range_is_tried_again(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB), Play(wrong_start=7)]
    rig = make_rig()
    client = await rig.ask()
    assert client.body == DATA
    assert len(origin.requests) == 3
    await rig.settle()


async def test_without_a_strong_etag_a_cut_body_is_not_joined(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB, headers=[("etag", 'W/"weak"')])]
    rig = make_rig()
    client = await rig.ask()
    assert not client.is_whole
    assert not client.result.is_clean
    assert len(origin.requests) == 1
    await rig.settle()


async def test_without_a_strong_etag_a_fetch_begins_again_before_the_first_byte(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    weak = [("etag", 'W/"weak"')]
    origin.plays = [Play(cut_after=0, headers=weak), Play(headers=weak)]
    rig = make_rig()
    clients = await rig.herd(5)
    assert all(client.is_whole and client.body == DATA for client in clients)
    assert len(origin.requests) == 2
    await rig.settle()


@pytest.mark.parametrize("status", [404, 412])
async def test_an_object_that_goes_away_cuts_readers_in_the_middle(autojump_clock, make_rig, origin, status):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB), Play(status=status)]
    rig = make_rig()
    client = await rig.ask()
    assert not client.result.is_clean
    assert client.body == DATA[:MIB]
    await rig.settle()


async def test_readers_that_have_sent_nothing_move_to_the_new_generation(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig()
    await rig.ask(method="HEAD")  # the old generation is known, none of its bytes
    origin.objects["k"] = OTHER
    client = await rig.ask()
    assert not client.is_whole or client.body == OTHER
    again = await rig.ask()
    assert again.body == OTHER
    await rig.settle()


async def test_a_body_of_unknown_length_that_breaks_has_no_last_chunk(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB, without=["content-length", "etag"])]
    rig = make_rig()
    client = await rig.ask()
    assert client.header("transfer-encoding") == "chunked"
    assert not client.result.is_clean
    assert not client.data.endswith(b"0\r\n\r\n")
    await rig.settle()


async def test_a_body_of_unknown_length_ends_with_the_last_chunk_and_is_kept(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA[:5000]
    origin.plays = [Play(without=["content-length"])]
    rig = make_rig()
    client = await rig.ask()
    assert client.data.endswith(b"\r\n0\r\n\r\n")
    again = await rig.ask()
    assert again.body == DATA[:5000]
    assert again.header("content-length") == "5000"
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_stall_before_the_first_body_byte_is_resumed(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(stall_after=0)]
    rig = make_rig(settings=FlightSettings(stall_timeout=2.0))
    client = await rig.ask()
    assert client.body == DATA
    assert 2.0 <= client.finished_at < 2.5
    await rig.settle()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(chunk_seconds=0.05)
    rig = make_rig()
    client = await rig.ask(client=RecordingClient(leaves_after=100_000))
    assert not client.result.is_clean
    began = trio.current_time()
    await rig.settle()
    assert origin.sent_bytes < len(DATA)
    assert trio.current_time() - began == 5


async def test_a_failed_resume_says_where_and_why_in_one_line(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(cut_after=MIB), *(Play(error=OriginBroken("the connection was reset")) for _ in range(9))]
    rig = make_rig()
    await rig.ask()
    line = next(line for line in rig.log_lines if '"flight_failed"' in line)
    for part in ('"bucket": "b"', '"key": "k"', "origin.test", '"request_id": "id1"', '"attempt": "3/3"', "reset"):
        assert part in line
    assert f'"bytes_so_far": {MIB}' in line
    await rig.settle()
