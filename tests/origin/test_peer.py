"""What goes to another worker and what comes back: fields, verdicts, and when the origin is asked instead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.fakes import ScriptedOrigin
from tests.origin.test_transport import Script
from yatagarasu.errors import (
    AccessDenied,
    ConnectionDied,
    InternalError,
    OriginBroken,
    OriginError,
    OriginLate,
    OriginStatus,
    OriginUnreachable,
    OverloadError,
    StoreError,
    WaitTimeout,
    YatagarasuError,
)
from yatagarasu.http.headers import Headers
from yatagarasu.origin.client import OriginRequest
from yatagarasu.origin.peer import Peers, decode_verdict, encode_verdict, is_from_peer, key_digest
from yatagarasu.origin.retry import is_retryable
from yatagarasu.origin.transport import OriginTransport

PRIMARY = "b\0k ü\0versionId=1"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
EMPTY = b"content-length: 0\r\n\r\n"


@asynccontextmanager
async def owner(path: Path, *answers: bytes | list[bytes] | None) -> AsyncIterator[Script]:
    """A scripted server on a unix socket."""
    script = Script(list(answers))
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, script.handle, [trio.SocketListener(listening)])
        yield script
        nursery.cancel_scope.cancel()


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    found = Peers(
        [str(tmp_path / "0"), str(tmp_path / "1")],
        peer_for=lambda key: 1,
        transport=OriginTransport(connect_timeout=1.0, first_byte_timeout=5.0),
    )
    yield found
    await found.aclose()


async def read(response) -> bytes:
    body = b""
    while data := await response.receive_some():
        body += data
    await response.aclose()
    return body


def fields(request: bytes) -> Headers:
    lines = request.decode().split("\r\n")[1:]
    return Headers((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))


def origin_for(peers: Peers, origin: ScriptedOrigin, *pairs: tuple[str, str]):
    return peers.origin_for(origin, "/b", PRIMARY, Headers(pairs), "id-1")


GET = OriginRequest("GET", "k ü", "versionId=1")


async def test_the_owner_sees_the_clients_request_with_the_flights_range(peers, origin, tmp_path):
    asked = OriginRequest("GET", "k ü", "versionId=1", (("range", "bytes=5-"), ("x-forwarded", "by the flight")))
    client = [
        ("host", "cdn.test"),
        ("accept-language", "de"),
        ("range", "bytes=7-9"),
        ("if-none-match", '"theirs"'),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("x-request-id", "other"),
        ("content-length", "0"),
        ("expect", "100-continue"),
    ]
    async with owner(tmp_path / "1", OK) as script:
        response = await origin_for(peers, origin, *client).open(asked)
        assert await read(response) == b"abc"
        assert is_from_peer(response)
    assert script.requests[0].startswith(b"GET /o/b/k%20%C3%BC?versionId=1 HTTP/1.1\r\n")
    assert dict(fields(script.requests[0])) == {
        "host": "cdn.test",
        "accept-language": "de",
        "range": "bytes=5-",
        "x-request-id": "id-1",
        "x-yatagarasu-key": key_digest(PRIMARY),
    }
    assert origin.requests == []


@pytest.mark.parametrize(
    ("client", "flight", "sent"),
    [
        ({}, {}, None),
        ({"cache-control": "no-cache"}, {}, "no-cache"),
        ({"pragma": "no-cache"}, {}, "no-cache"),
        ({"cache-control": "max-age=5, min-fresh=2"}, {}, "max-age=5, min-fresh=2"),
        ({"cache-control": "max-stale, only-if-cached, stale-if-error=60"}, {}, None),
        ({"cache-control": "max-age=99999999999"}, {}, "max-age=2147483648"),
        ({}, {"if-none-match": '"e"'}, "min-fresh=0"),
        ({"cache-control": "no-cache"}, {"if-none-match": '"e"'}, "no-cache"),
        ({"cache-control": "no-cache"}, {"if-match": '"e"', "range": "bytes=1-"}, None),
    ],
)
async def test_demands_of_freshness_go_along_and_indulgence_does_not(peers, origin, tmp_path, client, flight, sent):
    asked = OriginRequest("GET", "k ü", "versionId=1", tuple(flight.items()))
    async with owner(tmp_path / "1", OK) as script:
        await read(await origin_for(peers, origin, *client.items()).open(asked))
    found = fields(script.requests[0])
    assert found.get("cache-control") == sent
    assert {name: found.get(name) for name in flight} == flight
    assert "pragma" not in found


async def test_an_owner_that_is_stuck_is_not_asked(origin, tmp_path):
    origin.objects["k ü"] = b"real"
    peers = Peers(
        [str(tmp_path / "0"), str(tmp_path / "1")],
        peer_for=lambda key: 1,
        transport=OriginTransport(),
        is_stuck=lambda index: index == 1,
    )
    async with owner(tmp_path / "1", OK) as script:
        response = await origin_for(peers, origin).open(GET)
        assert await read(response) == b"real"
        with pytest.raises(OriginLate):
            await peers.ask(1, "/-/cache")
    assert script.requests == []
    assert peers.fallbacks == 1


async def test_nobody_waits_any_longer_for_an_owner_that_gets_stuck(origin, tmp_path, nursery):
    origin.objects["k ü"] = b"real"
    stuck: set[int] = set()
    peers = Peers(
        [str(tmp_path / "0"), str(tmp_path / "1")],
        peer_for=lambda key: 1,
        transport=OriginTransport(first_byte_timeout=60.0),
        is_stuck=stuck.__contains__,
    )
    async with owner(tmp_path / "1", None) as script:

        async def get_stuck() -> None:
            while not script.requests:
                await trio.sleep(0.01)
            peers.stop_waiting()  # It may take its time as long as it does anything.
            await trio.sleep(0.05)
            stuck.add(1)
            peers.stop_waiting()

        nursery.start_soon(get_stuck)
        with trio.fail_after(5):
            assert await read(await origin_for(peers, origin).open(GET)) == b"real"
    assert peers.fallbacks == 1
    await peers.aclose()


async def test_a_key_of_this_worker_goes_to_the_origin(origin, tmp_path):
    origin.objects["k ü"] = b"real"
    peers = Peers([], peer_for=lambda key: None, transport=OriginTransport())
    response = await origin_for(peers, origin).open(GET)
    assert await read(response) == b"real"
    assert not is_from_peer(response)
    assert peers.fallbacks == 0


@pytest.mark.parametrize("is_stale", [False, True], ids=["no socket", "nobody listens"])
async def test_an_owner_that_is_gone_costs_no_attempt(peers, origin, tmp_path, is_stale):
    if is_stale:
        left = trio.socket.socket(trio.socket.AF_UNIX)
        await left.bind(str(tmp_path / "1"))
        left.close()
    origin.objects["k ü"] = b"real"
    assert await read(await origin_for(peers, origin).open(GET)) == b"real"
    assert peers.fallbacks == 1


async def test_an_owner_with_a_full_queue_is_given_up_in_the_end(autojump_clock, peers, origin, tmp_path):
    origin.objects["k ü"] = b"real"
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(tmp_path / "1"))
    listening.listen(0)
    first = trio.socket.socket(trio.socket.AF_UNIX)
    await first.connect(str(tmp_path / "1"))
    began = trio.current_time()
    assert await read(await origin_for(peers, origin).open(GET)) == b"real"
    assert trio.current_time() - began == pytest.approx(1.0)
    first.close()
    listening.close()


async def test_an_owner_that_says_nothing_is_passed_over(autojump_clock, peers, origin, tmp_path):
    origin.objects["k ü"] = b"real"
    async with owner(tmp_path / "1", None):
        assert await read(await origin_for(peers, origin).open(GET)) == b"real"
    assert peers.fallbacks == 1


async def test_a_request_that_the_owner_will_not_take_goes_to_the_origin(peers, origin, tmp_path):
    origin.objects["k ü"] = b"real"
    async with owner(tmp_path / "1", b"HTTP/1.1 421 \r\n" + EMPTY):
        assert await read(await origin_for(peers, origin).open(GET)) == b"real"
    assert peers.fallbacks == 1


async def test_a_connection_that_breaks_before_the_head_is_worth_another_try(peers, origin, tmp_path):
    async with owner(tmp_path / "1", b""):
        with pytest.raises(OriginBroken) as caught:
            await origin_for(peers, origin).open(GET)
    assert is_retryable(caught.value)
    assert is_from_peer(caught.value)
    assert origin.requests == []


async def test_the_owner_changes_between_two_attempts(origin, tmp_path):
    owners = [0, 1]
    peers = Peers(
        [str(tmp_path / "0"), str(tmp_path / "1")], peer_for=lambda key: owners.pop(0), transport=OriginTransport()
    )
    wanted = origin_for(peers, origin)
    async with owner(tmp_path / "0", b""), owner(tmp_path / "1", OK):
        with pytest.raises(OriginBroken):
            await wanted.open(GET)
        assert await read(await wanted.open(GET)) == b"abc"
    await peers.aclose()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OriginUnreachable("cannot connect"), OriginUnreachable),
        (OriginBroken("reset"), OriginBroken),
        (ConnectionDied("dead"), ConnectionDied),
        (OriginStatus("origin answered 503", status=503, retry_after=7), OriginStatus),
        (OriginStatus("origin answered 500", status=500), OriginStatus),
        (OverloadError("too many"), OverloadError),
        (WaitTimeout("waited 30 s"), WaitTimeout),
        (AccessDenied("origin answered 403"), AccessDenied),
        (InternalError("flight failed"), InternalError),
        (StoreError("disk full"), OriginError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, YatagarasuError) else "",
)
async def test_a_verdict_comes_back_as_it_was_and_is_final(peers, origin, tmp_path, error, kind):
    error.add(key="schlüssel\r\nx: y", endpoint="http://origin.test", attempt="3/3", elapsed_seconds=1.5)
    answer = f"HTTP/1.1 {error.http_status} \r\nx-yatagarasu-error: {encode_verdict(error)}\r\n".encode() + EMPTY
    async with owner(tmp_path / "1", answer):
        with pytest.raises(YatagarasuError) as caught:
            await origin_for(peers, origin).open(GET)
    found = caught.value
    assert type(found) is kind
    assert str(found) == str(error)
    assert {**found.context, "owner": 1} == found.context
    assert error.context.items() <= found.context.items()
    assert is_from_peer(found)
    if isinstance(found, OriginError):
        assert not is_retryable(found)
        assert not is_retryable(found.for_waiter())
    if isinstance(error, OriginStatus):
        assert (found.http_status, found.retry_after_seconds) == (error.http_status, error.retry_after_seconds)
    assert origin.requests == []


def test_a_verdict_of_great_length_fits_a_head():
    error = OriginBroken("ü" * 5000, key="ü" * 50_000, thing=object())
    text = encode_verdict(error)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 48 * 1024
    assert str(decode_verdict(text)).startswith("ü")


@pytest.mark.parametrize("status", [404, 410, 412, 416])
async def test_what_flights_read_as_a_status_comes_as_one(peers, origin, tmp_path, status):
    verdict = encode_verdict(OriginError())
    answer = f"HTTP/1.1 {status} \r\nx-yatagarasu-error: {verdict}\r\n".encode() + EMPTY
    async with owner(tmp_path / "1", answer):
        response = await origin_for(peers, origin).open(GET)
        assert response.status == status
        await response.aclose()


async def test_a_worker_is_asked_about_itself(peers, tmp_path):
    async with owner(tmp_path / "1", OK) as script:
        assert await peers.ask(1, "/-/metrics") == (200, b"abc")
    assert script.requests[0].startswith(b"GET /-/metrics HTTP/1.1\r\n")
    with pytest.raises(OriginUnreachable):
        await peers.ask(0, "/-/metrics")


async def test_listings_and_checks_are_the_origins(peers, origin):
    wanted = origin_for(peers, origin)
    await wanted.check()
    with pytest.raises(AssertionError, match="nobody lists"):
        await wanted.list("")
    assert (wanted.endpoint, wanted.key_prefix) == (origin.endpoint, origin.key_prefix)
