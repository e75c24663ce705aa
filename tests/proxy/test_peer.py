"""Two workers over real unix sockets in front of one origin: what is asked once, resumed, refused, and told."""

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin, WallClock, etag_of
from yatagarasu.cache.ownership import Ownership, owner_of
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import OriginBroken, OriginUnreachable, OverloadError
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.peer import Peers, key_digest
from yatagarasu.origin.retry import RetrySettings
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.finder import Finder
from yatagarasu.proxy.peer import PeerHandler
from yatagarasu.server.listener import open_listeners
from yatagarasu.server.reactor import Limits, Reactor

MB = 1024 * 1024
DATA_10K = random.Random(1).randbytes(10 * 1024)
OTHER_10K = random.Random(4).randbytes(10 * 1024)
DATA_4M = random.Random(2).randbytes(4 * MB)
DATA_9M = random.Random(3).randbytes(9 * MB + 12345)
ROUTE_PRIMARY = "b\0{}\0"


@dataclass
class Answer:
    """What a worker says about itself."""

    status: int
    headers: tuple[Pair, ...]
    body: bytes


class Worker(Rig):
    """A rig that answers others of its kind on a unix socket and asks them."""

    def __init__(self, nursery, origin, index: int, paths: list[str], alive: list[int], **arguments) -> None:
        super().__init__(nursery, origin, **arguments)
        clock, log = WallClock(), Log(stream=open("/dev/null", "w"))  # noqa: SIM115  # closed with the process
        self.log = log
        ownership = Ownership(index, lambda: alive)
        self.peers = Peers(
            paths,
            peer_for=ownership.peer_for,
            transport=OriginTransport(connect_timeout=1.0, first_byte_timeout=self.settings.wait_timeout + 5.0),
        )
        self.pipeline.finder = Finder(self.tiers, self.coalescer, clock, self.peers)
        self.handler = PeerHandler(
            router=self.pipeline.router,
            finder=Finder(self.tiers, self.coalescer, clock),
            coalescer=self.coalescer,
            is_mine=ownership.is_mine,
            control=self.control,
            log=log,
            clock=clock,
        )
        self.controls: list[tuple[str, str]] = []
        self.reactor = Reactor(
            open_listeners([f"unix:{paths[index]}"]),
            handler=self.handler,
            limits=Limits(max_head_bytes=64 * 1024, max_target_bytes=32 * 1024),
            nursery=nursery,
            metrics=Metrics(),
            log=log,
        )
        nursery.start_soon(self.reactor.run)

    async def control(self, method: str, target: str, headers: Headers) -> Answer:
        await trio.lowlevel.checkpoint()
        self.controls.append((method, target))
        return Answer(200, (("content-type", "application/json"),), b'{"n": 1}')

    def cut(self) -> int:
        """Cut every connection of other workers, as the kernel would; how many there were."""
        connections = list(self.reactor.connections.values())
        for connection in connections:
            connection.sock.shutdown(socket.SHUT_RDWR)
        return len(connections)

    async def close(self) -> None:
        self.reactor.stop_accepting()
        await self.peers.aclose()
        self.log._stream.close()


@dataclass
class Workers:
    """Worker `a`, which owns nothing of what is asked here, and `b`, which owns it all."""

    a: Worker
    b: Worker
    alive: list[int] = field(default_factory=list)

    async def settle(self) -> None:
        await self.a.settle()
        await self.b.settle()


def key_of(owner: int, prefix: str = "key") -> str:
    return next(
        f"{prefix}{number}"
        for number in range(1000)
        if owner_of(ROUTE_PRIMARY.format(f"{prefix}{number}"), [0, 1]) == owner
    )


KEY = key_of(1)
OWN = key_of(0)


@pytest.fixture
async def make_pair(nursery: trio.Nursery, origin: ScriptedOrigin, tmp_path: Path) -> AsyncIterator[Callable]:
    workers: list[Worker] = []

    def make(**arguments) -> Workers:
        paths, alive = [str(tmp_path / "0"), str(tmp_path / "1")], [0, 1]
        workers.extend(Worker(nursery, origin, index, paths, alive, **arguments) for index in (0, 1))
        return Workers(workers[0], workers[1], alive)

    yield make
    for worker in workers:
        await worker.close()


@asynccontextmanager
async def in_background(work, *arguments) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, *arguments)
        yield


async def both_herds(pair: Workers, count: int, key: str = KEY, **headers: str) -> list[RecordingClient]:
    clients: list[RecordingClient] = []

    async def herd(worker: Worker) -> None:
        clients.extend(await worker.herd(count, key, **headers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(herd, pair.a)
        nursery.start_soon(herd, pair.b)
    return clients


@pytest.mark.parametrize("data", [b"", DATA_10K, DATA_4M], ids=["empty", "10 KiB", "4 MiB"])
async def test_clients_of_two_workers_cost_one_request(autojump_clock, make_pair, origin, data):
    origin.objects[KEY] = data
    origin.default = Play(latency=0.2)
    pair = make_pair()
    clients = await both_herds(pair, 50)
    assert all(client.is_whole and client.status == 200 and client.body == data for client in clients)
    assert len(origin.requests) == 1
    assert pair.b.handler.requests == 1
    await pair.settle()


async def test_followers_on_another_worker_get_bytes_as_they_come(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_4M
    origin.default = Play(latency=0.2, chunk_seconds=0.1)
    pair = make_pair()
    clients = await both_herds(pair, 5)
    assert all(client.body == DATA_4M for client in clients)
    assert len(origin.requests) == 1
    assert max(client.first_byte_at for client in clients) < 0.5
    assert min(client.finished_at for client in clients) > 6
    await pair.settle()


async def test_a_key_of_its_own_is_not_asked_of_anybody(autojump_clock, make_pair, origin):
    origin.objects[OWN] = DATA_10K
    pair = make_pair()
    assert (await pair.a.ask(OWN)).body == DATA_10K
    assert (pair.a.handler.requests, pair.b.handler.requests) == (0, 0)
    assert (await pair.b.ask(OWN)).body == DATA_10K
    assert (pair.a.handler.requests, pair.b.handler.requests) == (1, 0)
    assert len(origin.requests) == 1


async def test_both_workers_hold_the_same_entry(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(
        headers=[
            ("cache-control", "max-age=100"),
            ("age", "20"),
            ("content-type", "image/png"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("x-yatagarasu-error", "from the origin"),
            ("via", "1.1 cdn"),
        ]
    )
    pair = make_pair()
    await pair.b.ask(KEY)
    await trio.sleep(30.5)
    first = await pair.a.ask(KEY)
    entry_a, entry_b = (worker.tiers.get(ROUTE_PRIMARY.format(KEY)) for worker in (pair.a, pair.b))
    now = WallClock()()
    assert int(entry_a.age(now)) == int(entry_b.age(now)) == 50
    assert entry_a.lifetime == entry_b.lifetime
    assert (entry_a.etag, entry_a.size, entry_a.last_modified) == (entry_b.etag, entry_b.size, entry_b.last_modified)
    hidden = {"x-yatagarasu-error", "date"}
    assert set(entry_a.headers.without(hidden).pairs) == set(entry_b.headers.without(hidden).pairs)
    assert first.header("via") == "1.1 cdn, 1.1 yatagarasu"
    await trio.sleep(49)
    await pair.a.ask(KEY)
    assert len(origin.requests) == 1
    await trio.sleep(1)
    await pair.a.ask(KEY)
    assert len(origin.requests) == 2


async def test_a_cut_connection_is_resumed_byte_exact_without_another_request(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_9M
    origin.default = Play(chunk_seconds=0.05)
    pair = make_pair()
    client = RecordingClient()
    async with in_background(lambda: pair.a.ask(KEY, client=client)):
        for _ in range(3):
            await trio.sleep(1)
            assert pair.b.cut() == 1
    assert client.is_whole
    assert client.body == DATA_9M
    assert len(origin.requests) == 1
    assert pair.b.handler.requests == 4
    await pair.settle()


async def test_a_worker_that_dies_is_followed_by_the_origin_from_where_it_was(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_9M
    origin.default = Play(chunk_seconds=0.05)
    pair = make_pair()
    client = RecordingClient()
    async with in_background(lambda: pair.a.ask(KEY, client=client)):
        await trio.sleep(2)
        pair.b.reactor.stop_accepting()
        pair.b.cut()
    assert client.is_whole
    assert client.body == DATA_9M
    assert len(origin.requests) == 2
    fields = dict(origin.requests[1].headers)
    assert fields["if-match"] == etag_of(DATA_9M)
    assert int(fields["range"].removeprefix("bytes=").partition("-")[0]) > MB
    assert pair.a.peers.fallbacks == 1
    await pair.settle()


async def test_a_new_owner_takes_over_the_rest(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_9M
    origin.default = Play(chunk_seconds=0.05)
    pair = make_pair()
    client = RecordingClient()
    async with in_background(lambda: pair.a.ask(KEY, client=client)):
        await trio.sleep(2)
        pair.alive.remove(1)
        pair.b.cut()
    assert client.body == DATA_9M
    assert pair.a.peers.fallbacks == 0
    assert len(origin.requests) == 2


async def test_a_worker_that_is_gone_costs_one_request_of_the_origin(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    pair.b.reactor.stop_accepting()
    clients = await pair.a.herd(20, KEY)
    assert all(client.body == DATA_10K for client in clients)
    assert len(origin.requests) == 1


async def test_without_a_strong_etag_nothing_is_joined_to_what_was_sent(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(chunk_bytes=1024, chunk_seconds=1.0, without=("etag",))
    pair = make_pair()
    client = RecordingClient()
    async with in_background(lambda: pair.a.ask(KEY, client=client)):
        await trio.sleep(2.5)
        pair.b.cut()
    # Without a strong ETag the client has had bytes that nothing may be joined to.
    assert not client.is_whole
    await pair.settle()


async def test_another_generation_is_not_joined_to_the_first(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_4M
    origin.default = Play(chunk_seconds=0.1)
    pair = make_pair()
    client = RecordingClient()
    async with in_background(lambda: pair.a.ask(KEY, client=client)):
        await trio.sleep(1)
        origin.objects[KEY] = DATA_9M
        pair.b.coalescer._assemblies.clear()
        pair.b.tiers.clear()
        pair.b.cut()
    assert not client.is_whole
    assert DATA_4M.startswith(client.body)


@pytest.mark.parametrize(
    "play",
    [
        Play(error=OriginUnreachable("refused")),
        Play(error=OriginBroken("reset")),
        Play(status=500),
        Play(status=503),
    ],
    ids=["unreachable", "broken", "500", "503"],
)
async def test_a_failing_origin_sees_no_more_than_the_attempts(autojump_clock, make_pair, origin, play):
    origin.default = play
    pair = make_pair(settings=FlightSettings(retry=RetrySettings(attempts=3)))
    clients = await both_herds(pair, 20)
    assert {client.status for client in clients} == {503 if play.status == 503 else 502}
    assert len(origin.requests) == 3
    again = await both_herds(pair, 20)
    assert {client.status for client in again} == {503 if play.status == 503 else 502}
    assert len(origin.requests) == 3
    if play.status == 503:
        assert all(client.header("retry-after") == "1" for client in clients)
    await pair.settle()


async def test_a_verdict_of_the_owner_is_not_tried_again(autojump_clock, make_pair, origin):
    origin.default = Play(latency=0.1, status=500)
    pair = make_pair(settings=FlightSettings(retry=RetrySettings(attempts=3), failure_ttl=0.0))
    assert {client.status for client in await both_herds(pair, 5)} == {502}
    assert len(origin.requests) == 3
    assert pair.b.handler.requests == 1


async def test_an_origin_that_breaks_every_body_sees_no_more_than_the_attempts(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(cut_after=100)
    pair = make_pair(settings=FlightSettings(retry=RetrySettings(attempts=3)))
    client = await pair.a.ask(KEY)
    assert not client.is_whole
    assert len(origin.requests) <= 3
    await pair.settle()


async def test_a_late_origin_is_told_of_as_late(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(latency=100)
    pair = make_pair()
    clients = await pair.a.herd(3, KEY)
    assert {client.status for client in clients} == {504}
    assert len(origin.requests) == 1
    await trio.sleep(100)
    await pair.settle()


async def test_an_owner_that_has_too_many_waiting_says_so(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(latency=1)
    pair = make_pair(settings=FlightSettings(max_waiters=1))
    async with in_background(lambda: pair.b.ask(KEY)):
        await trio.sleep(0.1)
        client = await pair.a.ask(KEY)
    assert client.status == OverloadError.status
    assert client.header("retry-after") == "1"
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("play", "status"),
    [(Play(status=403), 403), (Play(status=400), 400), (Play(status=412), 412)],
    ids=["403", "400", "412"],
)
async def test_a_refusal_is_the_clients(autojump_clock, make_pair, origin, play, status):
    origin.default = play
    pair = make_pair()
    assert (await pair.a.ask(KEY)).status == status
    assert len(origin.requests) == 1


async def test_a_missing_object_is_remembered_on_both(autojump_clock, make_pair, origin):
    pair = make_pair(timing=Timing(negative_ttl=10.0))
    assert {client.status for client in await both_herds(pair, 10)} == {404}
    await trio.sleep(5)
    assert {client.status for client in await both_herds(pair, 10)} == {404}
    assert (len(origin.requests), pair.b.handler.requests) == (1, 1)
    await trio.sleep(5.5)
    assert {client.status for client in await both_herds(pair, 10)} == {404}
    assert len(origin.requests) == 2


async def test_a_missing_object_lives_as_long_as_the_origin_says(autojump_clock, make_pair, origin):
    origin.default = Play(status=404, headers=[("cache-control", "max-age=60")])
    pair = make_pair()
    await pair.a.ask(KEY)
    await trio.sleep(50)
    assert (await pair.a.ask(KEY)).status == 404
    assert (len(origin.requests), pair.b.handler.requests) == (1, 1)


async def test_a_missing_object_that_may_not_be_stored_is_stored_nowhere(autojump_clock, make_pair, origin):
    origin.default = Play(status=404, headers=[("cache-control", "no-store")])
    pair = make_pair()
    assert (await pair.a.ask(KEY)).status == 404
    assert (await pair.a.ask(KEY)).status == 404
    assert len(origin.requests) == 2


async def test_a_head_is_asked_as_one(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    client = await pair.a.ask(KEY, method="HEAD")
    assert (client.status, client.header("content-length"), client.body) == (200, str(len(DATA_10K)), b"")
    assert [request.method for request in origin.requests] == ["HEAD"]
    await pair.a.ask(KEY, method="HEAD")
    assert (len(origin.requests), pair.b.handler.requests) == (1, 1)
    assert (await pair.a.ask(KEY)).body == DATA_10K
    assert len(origin.requests) == 2


async def test_a_stale_entry_is_validated_by_the_owner(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair(timing=Timing(ttl=60.0))
    await both_herds(pair, 3)
    await trio.sleep(61)
    client = await pair.a.ask(KEY)
    assert (client.body, client.header("x-cache")) == (DATA_10K, "REVALIDATED")
    assert dict(origin.requests[1].headers)["if-none-match"] == etag_of(DATA_10K)
    assert len(origin.requests) == 2
    await trio.sleep(30)
    # The owner validated a moment ago, and says how long ago that was.
    assert (await pair.b.ask(KEY)).header("age") == "30"
    assert (await pair.a.ask(KEY)).header("age") == "30"
    assert len(origin.requests) == 2
    assert pair.a.metrics.revalidations == 1


async def test_an_entry_that_the_owner_has_fresh_is_validated_without_the_origin(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair(timing=Timing(ttl=60.0))
    await both_herds(pair, 1)
    await trio.sleep(61)
    await pair.b.ask(KEY)
    await trio.sleep(20)
    client = await pair.a.ask(KEY)
    assert (client.header("x-cache"), client.header("age")) == ("REVALIDATED", "20")
    assert len(origin.requests) == 2


async def test_a_background_validation_is_the_owners_word_not_its_stale_copy(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair(timing=Timing(ttl=60.0, stale_while_revalidate=600.0))
    await both_herds(pair, 1)
    await trio.sleep(61)
    origin.objects[KEY] = OTHER_10K
    assert (await pair.a.ask(KEY)).header("x-cache") == "STALE"
    await trio.sleep(5)
    client = await pair.a.ask(KEY)
    assert client.body == OTHER_10K
    assert len(origin.requests) == 2


async def test_no_cache_reaches_the_origin_through_the_owner(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    await both_herds(pair, 1)
    origin.objects[KEY] = OTHER_10K
    assert (await pair.a.ask(KEY, cache_control="no-cache")).body == OTHER_10K
    assert (await pair.b.ask(KEY)).body == OTHER_10K
    assert len(origin.requests) == 2


async def test_a_clients_condition_is_answered_by_the_worker_it_asked(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    assert (await pair.a.ask(KEY, if_none_match=etag_of(DATA_10K))).status == 304
    assert (await pair.a.ask(KEY, if_match='"other"')).status == 412
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        (f"bytes={2 * MB + 5}-{2 * MB + 9}", 2 * MB + 5, 2 * MB + 10),
        (f"bytes={MB - 5}-{MB + 4}", MB - 5, MB + 5),
        (f"bytes={8 * MB}-", 8 * MB, len(DATA_9M)),
        ("bytes=-100", len(DATA_9M) - 100, len(DATA_9M)),
        (f"bytes=-{2 * MB}", len(DATA_9M) - 2 * MB, len(DATA_9M)),
    ],
)
async def test_ranges_of_both_workers_cost_their_bytes_once(autojump_clock, make_pair, origin, asked, start, stop):
    origin.objects[KEY] = DATA_9M
    pair = make_pair(settings=FlightSettings(readahead=0))
    clients = await both_herds(pair, 5, range=asked)
    for client in clients:
        assert client.status == 206
        assert client.header("content-range") == f"bytes {start}-{stop - 1}/{len(DATA_9M)}"
        assert client.body == DATA_9M[start:stop]
    assert len(origin.requests) <= 2
    assert origin.sent_bytes <= stop - start + 2 * MB
    await pair.settle()


async def test_several_ranges_are_put_together_by_the_worker_that_was_asked(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_9M
    pair = make_pair()
    client = await pair.a.ask(KEY, range=f"bytes=0-9,{4 * MB}-{4 * MB + 9}")
    assert client.status == 206
    assert client.header("content-type").startswith("multipart/byteranges")
    assert DATA_9M[:10] in client.body
    assert DATA_9M[4 * MB : 4 * MB + 10] in client.body


async def test_a_range_behind_the_end_is_refused_with_the_size(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    client = await pair.a.ask(KEY, range=f"bytes={2 * MB}-")
    assert (client.status, client.header("content-range")) == (416, f"bytes */{len(DATA_10K)}")


async def test_a_range_of_an_entry_that_the_owner_holds_costs_nothing(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(headers=[("x-amz-checksum-crc32", "AAAAAA==")])
    pair = make_pair()
    await pair.b.ask(KEY)
    assert (await pair.a.ask(KEY, range="bytes=5-9")).body == DATA_10K[5:10]
    whole = await pair.a.ask(KEY)
    assert (whole.body, whole.header("x-amz-checksum-crc32")) == (DATA_10K, "AAAAAA==")
    assert len(origin.requests) == 1


async def test_an_object_of_unknown_size_streams_through(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_4M
    origin.default = Play(without=("content-length",), chunk_seconds=0.01)
    pair = make_pair()
    clients = await both_herds(pair, 5)
    for client in clients:
        assert client.header("transfer-encoding") == "chunked"
        assert client.body.endswith(b"0\r\n\r\n")
    assert len(origin.requests) == 1
    await pair.settle()


async def test_an_object_of_unknown_size_that_breaks_never_looks_whole(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_4M
    origin.default = Play(without=("content-length", "etag"), cut_after=MB)
    pair = make_pair()
    client = await pair.a.ask(KEY)
    assert not client.result.is_clean or client.status == 502


@pytest.mark.parametrize(
    "pairs",
    [[("cache-control", "private")], [("set-cookie", "a=1"), ("set-cookie", "b=2")], [("vary", "*")]],
    ids=["private", "cookie", "vary"],
)
async def test_a_private_answer_is_for_one_client(autojump_clock, make_pair, origin, pairs):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(latency=0.1, headers=pairs)
    pair = make_pair()
    clients = await pair.a.herd(10, KEY)
    assert all(client.is_whole and client.body == DATA_10K for client in clients)
    assert {client.header("x-cache") for client in clients} == {"PASS"}
    assert len(origin.requests) == 10
    if pairs[0][0] == "set-cookie":
        assert all(client.head.count(b"set-cookie: ") == 2 for client in clients)
    # The first came through the owner; who knows the key goes to the origin.
    assert pair.b.handler.requests == 1
    assert (await pair.a.ask(KEY)).body == DATA_10K
    assert pair.b.handler.requests == 1
    assert pair.a.tiers.get(ROUTE_PRIMARY.format(KEY)) is None
    await pair.settle()


async def test_a_private_answer_to_a_range_is_for_one_client(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_4M
    origin.default = Play(headers=[("cache-control", "private")])
    pair = make_pair()
    client = await pair.a.ask(KEY, range=f"bytes={MB}-{MB + 9}")
    assert (client.status, client.body) == (206, DATA_4M[MB : MB + 10])
    await pair.settle()


async def test_no_store_goes_past_the_owner(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    assert (await pair.a.ask(KEY, cache_control="no-store")).body == DATA_10K
    assert pair.b.handler.requests == 0


async def test_variants_are_those_of_the_client(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    origin.default = Play(headers=[("vary", "accept-language")])
    pair = make_pair(forwarded=frozenset(("accept-language",)))
    for worker in (pair.a, pair.b, pair.a, pair.b):
        for language in ("de", "en"):
            await worker.ask(KEY, accept_language=language)
    assert [dict(request.headers)["accept-language"] for request in origin.requests] == ["de", "en"]


async def test_keyed_fields_reach_the_owner(autojump_clock, make_pair, origin):
    origin.objects["k"] = DATA_10K
    pair = make_pair(keyed=("x-tenant",))
    for number in range(16):
        for worker in (pair.a, pair.b):
            assert (await worker.ask("k", x_tenant=str(number))).body == DATA_10K
    assert len(origin.requests) == 16
    assert pair.a.handler.requests + pair.b.handler.requests == 16
    assert pair.a.peers.fallbacks == pair.b.peers.fallbacks == 0


async def test_a_leaving_client_ends_the_fetch_on_both_workers(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_9M
    origin.default = Play(chunk_seconds=1.0)
    pair = make_pair()
    client = RecordingClient(leaves_after=MB)
    await pair.a.ask(KEY, client=client)
    await trio.sleep(10)
    assert origin.open_responses == 0
    assert origin.sent_bytes < 3 * MB
    await pair.settle()


# What the handler says to requests as they stand on the wire.


async def raw(worker: Worker, path: str, *fields: str, method: str = "GET") -> tuple[int, Headers, bytes]:
    pairs = [("host", "x"), *((name, value) for name, _, value in (line.partition(": ") for line in fields))]
    response = await worker.peers.send(1, method, path, pairs)
    body = b""
    while data := await response.receive_some():
        body += data
    await response.aclose()
    return response.status, response.headers, body


def meant(key: str) -> str:
    return f"x-yatagarasu-key: {key_digest(ROUTE_PRIMARY.format(key))}"


async def test_the_head_is_for_a_cache(autojump_clock, make_pair, origin):
    origin.objects[KEY] = DATA_10K
    pair = make_pair()
    status, headers, body = await raw(pair.a, f"/o/b/{KEY}", meant(KEY), "origin: https://app.example")
    assert (status, body) == (200, DATA_10K)
    names = [name for name, _ in headers]
    assert sorted(names) == ["age", "content-length", "date", "etag", "last-modified"]
    assert pair.b.access == []
    assert pair.b.metrics.requests == {}


@pytest.mark.parametrize(
    ("path", "fields", "method"),
    [
        (f"/o/b/{KEY}", [], "GET"),
        (f"/o/b/{KEY}", [meant("another")], "GET"),
        (f"/o/b/{OWN}", [meant(OWN)], "GET"),
        (f"/o/other/{KEY}", [meant(KEY)], "GET"),
        ("/o/b/", [meant("")], "GET"),
        (f"/o/b/{KEY}%zz", [meant(KEY)], "GET"),
        (f"/o/b/{KEY}", [meant(KEY)], "OPTIONS"),
        (f"/o/b/{KEY}", [meant(KEY), "content-length: 5"], "GET"),
        (f"/b/{KEY}", [meant(KEY)], "GET"),
        ("/o/health", [], "GET"),
        ("/o/" + "x" * 40_000, [], "GET"),
    ],
    ids=[
        "no key",
        "another key",
        "not the owner",
        "no route",
        "bucket",
        "bad path",
        "method",
        "body",
        "no prefix",
        "probe",
        "too long",
    ],
)
async def test_what_is_not_ours_is_misdirected(autojump_clock, make_pair, origin, path, fields, method):
    pair = make_pair()
    assert (await raw(pair.a, path, *fields, method=method))[0] == 421
    assert origin.requests == []


async def test_an_object_whose_name_is_that_of_a_control_is_an_object(autojump_clock, make_pair, origin):
    key = key_of(1, "-/metrics")
    origin.objects[key] = DATA_10K
    pair = make_pair()
    assert (await raw(pair.a, f"/o/b/{key}", meant(key)))[2] == DATA_10K
    assert (await raw(pair.a, "/o/-/metrics", meant(key)))[0] == 421
    assert pair.b.controls == []


async def test_controls_are_handed_on(autojump_clock, make_pair):
    pair = make_pair()
    assert await pair.a.peers.ask(1, "/-/metrics?x=1") == (200, b'{"n": 1}')
    assert await pair.a.peers.ask(1, "/-/purge", method="POST") == (200, b'{"n": 1}')
    assert pair.b.controls == [("GET", "/-/metrics?x=1"), ("POST", "/-/purge")]
