"""Listings on bad days: a row a fault, once and for ever; pages are whole or an error document, for few requests."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest
import trio

from tests.chaos.test_matrix import CONTEXT
from tests.security.conftest import Pair, open_pair
from yatagarasu.warm.sources import Listing


def page(*keys: str, token: str = "") -> bytes:
    inner = "".join(f"<Contents><Key>prefix/{key}</Key><Size>1</Size></Contents>" for key in keys)
    inner += f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f"<ListBucketResult><Name>bkt</Name><KeyCount>{len(keys)}</KeyCount>{inner}</ListBucketResult>".encode()


def answer(body: bytes, status: str = "200 OK", *fields: str, lie: int = 0) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) + lie}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def refusal(status: str, code: str, *fields: str) -> bytes:
    return answer(f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), status, *fields)


GOOD = answer(page("a", "b"))
# What the origin says, what a client is told where it always says that, and whether it is asked again.
FAULTS: dict[str, tuple[bytes, int, bool]] = {
    "closed before the head": (b"", 502, True),
    "closed in the head": (b"HTTP/1.1 200 OK\r\ncontent-le", 502, True),
    "garbage": (b"\x00\x01 this is not HTTP\r\n\r\n", 502, True),
    "head too large": (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n", 502, True),
    "500": (refusal("500 No", "InternalError"), 502, True),
    "503, Retry-After": (refusal("503 No", "SlowDown", "retry-after: 1"), 503, True),
    "429": (refusal("429 No", "TooManyRequests"), 503, True),
    "cut": (answer(page("a", "b"), lie=1000), 502, True),
    "cut in chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n<List", 502, True),
    "no XML": (answer(b"<html>welcome"), 502, True),
    "another document": (answer(b"<html>welcome</html>"), 502, True),
    "nested without end": (answer(b"<ListBucketResult>" + b"<a>" * 50_000), 502, True),
    "a key outside the prefix": (answer(page("a").replace(b"prefix/a", b"secret/a")), 502, True),
    "too long": (answer(b" " * (9 << 20)), 502, True),
    "credentials expired": (refusal("403 No", "ExpiredToken"), 502, False),
    "access denied": (refusal("403 No", "AccessDenied"), 403, False),
    "no such bucket": (refusal("404 No", "NoSuchBucket"), 502, False),
    "moved": (refusal("301 No", "PermanentRedirect", "location: http://169.254.169.254/"), 502, False),
}
TARGET = "/b?list-type=2"
RETRY = {"retry": {"attempts": 3, "backoff": "2ms", "max_backoff": "5ms"}}


def play(pair: Pair, *answers: bytes) -> None:
    """The origin's answers in turn, the last one for all that follow; each ends its connection."""
    left = list(answers)
    pair.origin.answer = lambda head: left.pop(0) if len(left) > 1 else left[0]
    pair.origin.closes = True


@pytest.mark.parametrize("name", [name for name, (_, _, is_tried_again) in FAULTS.items() if is_tried_again])
async def test_one_fault_is_nobodys_problem(name: str):
    async with open_pair(origin=RETRY) as pair:
        play(pair, FAULTS[name][0], GOOD)
        told = await pair.get(TARGET)
        assert told.startswith(b"HTTP/1.1 200 OK\r\n"), told
        body = told.partition(b"\r\n\r\n")[2]
        assert [found.text for found in ElementTree.fromstring(body).iter("Key")] == ["a", "b"]
        assert len(pair.origin.heads) == 2


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_stays_is_an_error_document_and_a_line_in_the_log(name: str):
    said, status, is_tried_again = FAULTS[name]
    async with open_pair(origin=RETRY) as pair:
        play(pair, said)
        told = await pair.get(TARGET, "X-Request-Id: find-me")
        assert told.startswith(b"HTTP/1.1 %d " % status), told
        assert b"<Error><Code>" in told
        assert b"secret" not in told
        assert len(pair.origin.heads) == (3 if is_tried_again else 1)
        lines: list[dict[str, Any]] = [json.loads(line) for line in pair.log.text.splitlines()]
        failed = [line for line in lines if line["event"] in ("request_failed", "origin_retry")]
        assert len(failed) == (3 if is_tried_again else status >= 500)
        for line in failed:
            assert set(line) >= CONTEXT, line
            assert line["request_id"] == "find-me"


async def test_a_client_that_leaves_takes_its_listing_along():
    async with open_pair(origin=RETRY) as pair:
        play(pair, b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n<List")
        pair.origin.closes = False
        stream = await trio.open_tcp_stream("127.0.0.1", pair.port)
        await stream.send_all(f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not pair.origin.heads:
            await trio.sleep(0.01)
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await stream.aclose()
        with trio.fail_after(5):
            while pair.system.reactor.connections:
                await trio.sleep(0.01)
        statistics = pair.system._transport.statistics()
        assert [found.in_use for found in statistics.values()] == [0]


async def test_a_warming_job_gets_over_faults_of_its_listing():
    """A bucket of many pages: on one of them S3 says 503, on another the connection breaks."""
    async with open_pair(origin=RETRY) as pair:
        slow, cut = FAULTS["503, Retry-After"][0], FAULTS["cut"][0]
        play(pair, answer(page("a", token="1")), slow, answer(page("b", token="2")), cut, slow, answer(page("c")))
        listing, keys = Listing(pair.system.routes[0], ""), []
        while batch := await listing.next_batch():
            keys += [item.key for item in batch]  # type: ignore[union-attr]
        assert keys == ["a", "b", "c"]
        assert len(pair.origin.heads) == 6


async def test_what_a_listing_asks_of_the_origin_is_counted():
    async with open_pair(origin=RETRY) as pair:
        play(pair, FAULTS["500"][0], b"", GOOD)
        await pair.get(TARGET)
        assert pair.system.metrics.origin_requests == {("b", "500"): 1, ("b", "OriginBroken"): 1, ("b", "200"): 1}
        assert pair.system.metrics.origin_retries == {"b": 2}
