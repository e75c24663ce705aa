"""F6, F7: one verdict for all, and answers that may not be shared."""

import random

import pytest
import trio

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin
from yatagarasu.errors import OriginBroken, OriginUnreachable
from yatagarasu.http.headers import Headers
from yatagarasu.proxy.fetch import FlightSettings

DATA = random.Random(8).randbytes(20_000)


async def test_stragglers_get_the_verdict_without_a_request(autojump_clock, make_rig, origin):
    origin.default = Play(error=OriginUnreachable("refused"))
    rig = make_rig()
    assert (await rig.ask()).status == 502
    asked = len(origin.requests)
    assert (await rig.ask()).status == 502
    assert len(origin.requests) == asked == 3
    await trio.sleep(1.1)
    await rig.ask()
    assert len(origin.requests) == 6
    await rig.settle()


async def test_each_waiter_gets_its_own_exception_from_the_one_cause(autojump_clock, make_rig, origin):
    origin.default = Play(latency=0.1, error=OriginBroken("reset"))
    rig = make_rig()
    clients = await rig.herd(3)
    assert {client.header("x-request-id") for client in clients} == {"id1", "id2", "id3"}
    assert {client.status for client in clients} == {502}
    assert sum('"flight_failed"' in line for line in rig.log_lines) == 1
    await rig.settle()


@pytest.mark.parametrize(("status", "answer"), [(500, 502), (502, 502), (503, 503), (429, 503), (504, 504)])
async def test_origin_statuses_become_ours(autojump_clock, make_rig, origin, status, answer):
    origin.default = Play(status=status)
    rig = make_rig()
    client = await rig.ask()
    assert client.status == answer
    assert (client.header("retry-after") is not None) == (answer == 503)
    assert len(origin.requests) == 3
    await rig.settle()


async def test_forbidden_is_passed_on_and_not_tried_again(autojump_clock, make_rig, origin):
    origin.default = Play(status=403)
    rig = make_rig()
    client = await rig.ask()
    assert client.status == 403
    assert b"<Code>AccessDenied</Code>" in client.body
    assert len(origin.requests) == 1
    await rig.settle()


async def test_a_missing_object_is_remembered_for_negative_ttl(autojump_clock, make_rig, origin):
    rig = make_rig()
    clients = await rig.herd(10)
    assert {client.status for client in clients} == {404}
    await rig.ask()
    assert len(origin.requests) == 1
    await trio.sleep(1.1)
    origin.objects["k"] = DATA
    assert (await rig.ask()).body == DATA
    await rig.settle()


@pytest.mark.parametrize(
    "field",
    [("cache-control", "private"), ("cache-control", "no-store"), ("set-cookie", "a=b"), ("vary", "*")],
    ids=lambda field: field[0] + field[1],
)
async def test_answers_that_may_not_be_shared_are_not(autojump_clock, make_rig, origin, field):
    origin.objects["k"] = DATA
    origin.default = Play(latency=0.1, headers=[field])
    rig = make_rig()
    clients = await rig.herd(4)
    assert all(client.body == DATA and client.header("x-cache") == "PASS" for client in clients)
    assert len(origin.requests) == 4
    await rig.settle()


async def test_a_key_is_shared_again_once_an_answer_may_be(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.plays = [Play(headers=[("cache-control", "private")])]
    rig = make_rig()
    await rig.ask()
    assert (await rig.ask()).header("x-cache") == "PASS"
    assert (await rig.ask()).header("x-cache") == "MISS"
    assert (await rig.ask()).header("x-cache") == "HIT"
    await rig.settle()


async def test_unshared_fetches_are_bounded(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(latency=1.0, headers=[("cache-control", "private")])
    rig = make_rig(settings=FlightSettings(uncacheable_concurrency=2))
    await rig.ask()
    began = trio.current_time()
    await rig.herd(6)
    assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    await rig.settle()


async def test_a_large_private_body_passes_with_a_range_and_a_cut(autojump_clock, make_rig, origin):
    data = random.Random(1).randbytes(6_000_000)
    origin.objects["k"] = data
    private = [("cache-control", "private")]
    origin.default = Play(headers=private)
    rig = make_rig()
    await rig.ask()
    origin.plays = [Play(headers=private, cut_after=1_000_000)]
    client = await rig.ask(range="bytes=1000-5000999")
    assert client.status == 206
    assert client.body == data[1000:5_001_000]
    assert len(origin.requests) == 3
    await rig.settle()


async def test_a_private_answer_honours_the_clients_own_condition(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    origin.default = Play(headers=[("cache-control", "private")])
    rig = make_rig()
    etag = (await rig.ask()).header("etag")
    client = await rig.ask(if_none_match=etag)
    assert client.status == 304
    assert client.body == b""
    await rig.settle()


async def test_a_route_without_a_cache_stores_nothing(autojump_clock, make_rig, origin):
    origin.objects["k"] = DATA
    rig = make_rig(caches=False)
    for _ in range(2):
        assert (await rig.ask()).header("x-cache") == "PASS"
    assert len(origin.requests) == 2
    await rig.settle()


async def test_a_refusal_of_everybody_is_one_request(autojump_clock, make_rig, origin):
    origin.default = Play(latency=0.1, status=403)
    rig = make_rig()
    clients = await rig.herd(20, apart=0.02)
    assert {client.status for client in clients} == {403}
    assert len(origin.requests) == 1
    await rig.settle()


@pytest.mark.parametrize("apart", [0.0, 0.05, 0.3], ids=["together", "in flight", "right after"])
@pytest.mark.parametrize("first", ["bad", None], ids=["bad credentials", "none"])
async def test_a_refusal_of_one_client_is_not_anothers(autojump_clock, nursery, apart, first):
    class Strict(ScriptedOrigin):
        def _answer(self, request, play):
            is_known = Headers(request.headers).get("authorization") == "good"
            return super()._answer(request, play if is_known else Play(status=403))

    origin = Strict({"k": b"data"}, default=Play(latency=0.1))
    rig = Rig(nursery, origin, is_signed=False, forwarded=frozenset({"authorization"}))
    clients = [RecordingClient() for _ in range(3)]
    async with trio.open_nursery() as asking:
        for index, client in enumerate(clients):
            fields = {"authorization": "good"} if index else {"authorization": first} if first else {}
            asking.start_soon(lambda client=client, fields=fields: rig.ask(client=client, **fields))
            await trio.sleep(apart)
    assert [client.status for client in clients] == [403, 200, 200]
    assert all(client.body == b"data" for client in clients[1:])
    await rig.settle()
