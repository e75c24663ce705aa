"""Cache poisoning: what one client asks, and how, changes nothing for the next one."""

import random
from typing import Any

import pytest

from tests.security.conftest import OK, Pair, open_pair
from yatagarasu.http.headers import Headers

DATA = random.Random(3).randbytes(50_000)


def reflecting(head: bytes) -> bytes:
    """The origin that attackers dream of: every field of the request is in the answer."""
    body = b"|".join(
        line
        for line in head.split(b"\r\n")[1:]
        if not line.lower().startswith((b"host", b"user-agent", b"accept-encoding"))
    )
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


FIELDS = [
    "X-Forwarded-Host: evil", "X-Forwarded-Scheme: http", "X-Forwarded-Proto: http", "X-Host: evil", "X-Original-URL: /evil", "X-Rewrite-URL: /evil",
    "Forwarded: host=evil", "X-HTTP-Method-Override: DELETE", "X-Amz-Website-Redirect-Location: /evil", "Cookie: a=b", "Accept: text/evil",
    "Accept-Language: ev", "Accept-Encoding: gzip", "User-Agent: evil", "Referer: http://evil", "Origin: http://evil", "Authorization: Bearer evil",
    "x-amz-server-side-encryption-customer-key: evil", "x-amz-expected-bucket-owner: evil", "X-Amz-Date: 20200101T000000Z", "Pragma: evil", "Via: 1.1 evil",
    "If-None-Match: *", "If-Match: \"nothing\"", "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
    "If-Range: \"e\"", "TE: trailers", "Prefer: return=minimal", "Cache-Control: max-age=999999", "Cache-Control: only-if-cached",
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
async def test_no_unkeyed_field_reaches_an_answer(pair: Pair, field: str):
    pair.origin.answer = reflecting
    await pair.get("/b/k", field)
    answer = await pair.get("/b/k")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert answer.endswith(b"\r\n\r\n"), answer  # Nothing of any request is in it.


async def test_fields_that_are_forwarded_and_keyed_keep_answers_apart():
    bucket = {"forward_request_headers": ["X-Tenant"], "cache_key_headers": ["X-Tenant"], "cache": {"ttl": "1h"}}
    async with open_pair(bucket=bucket) as pair:
        pair.origin.answer = reflecting
        for _ in range(2):
            # Values that would be the same if names and values were joined carelessly.
            for value in ("a", "b", "a, b", "", "x-tenant:a", "a|b"):
                answer = await pair.get("/b/k", f"X-Tenant: {value}")
                assert answer.partition(b"\r\n\r\n")[2].lower() == f"x-tenant: {value}".encode()
            assert (await pair.get("/b/k")).partition(b"\r\n\r\n")[2] == b""
        assert len(pair.origin.heads) <= 7


async def test_authorization_that_is_forwarded_is_one_clients_own():
    async with open_pair(bucket={"forward_request_headers": ["Authorization"], "cache": {"ttl": "1h"}}) as pair:
        pair.origin.answer = reflecting
        for who in ("alice", "bob", "alice"):
            answer = await pair.get("/b/k", f"Authorization: Bearer {who}")
            assert answer.partition(b"\r\n\r\n")[2] == f"authorization: Bearer {who}".encode()
        assert (await pair.get("/b/k")).partition(b"\r\n\r\n")[2] == b""


def s3(head: bytes) -> bytes:
    """S3 with one object of DATA: ranges, conditions, HEAD."""
    line, _, block = head.partition(b"\r\n")
    fields = Headers(tuple(pair.split(": ", 1)) for pair in block.decode().split("\r\n") if ": " in pair)  # type: ignore[misc]
    etag = '"whole"'
    status, body, extra = "200 OK", DATA, ""
    if fields.get("if-none-match") == etag:
        return f"HTTP/1.1 304 Not Modified\r\netag: {etag}\r\n\r\n".encode()
    asked = fields.get("range")
    if asked is not None:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(DATA) - int(last))
        stop = min(len(DATA), int(last) + 1) if first and last else len(DATA)
        if start >= len(DATA):
            return f"HTTP/1.1 416 No\r\ncontent-range: bytes */{len(DATA)}\r\ncontent-length: 0\r\n\r\n".encode()
        status, body, extra = (
            "206 Partial Content",
            DATA[start:stop],
            f"content-range: bytes {start}-{stop - 1}/{len(DATA)}\r\n",
        )
    answer = f"HTTP/1.1 {status}\r\netag: {etag}\r\n{extra}content-length: {len(body)}\r\n\r\n".encode()
    return answer if line.startswith(b"HEAD") else answer + body


BEFORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "a part": ("GET", ("Range: bytes=10-19",)),
    "the end": ("GET", ("Range: bytes=-10",)),
    "one byte": ("GET", ("Range: bytes=0-0",)),
    "many parts": ("GET", ("Range: " + "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2)),)),
    "overlapping parts": ("GET", ("Range: bytes=" + ",".join(["0-"] * 1000),)),
    "beyond the end": ("GET", ("Range: bytes=999999-",)),
    "nonsense": ("GET", ("Range: bytes=5-2",)),
    "another unit": ("GET", ("Range: items=0-1",)),
    "two ranges": ("GET", ("Range: bytes=0-1", "Range: bytes=5-6")),
    "a range under another ETag": ("GET", ("Range: bytes=0-9", 'If-Range: "other"')),
    "a head": ("HEAD", ()),
    "a head with a range": ("HEAD", ("Range: bytes=0-9",)),
    "a condition that holds": ("GET", ('If-None-Match: "whole"',)),
    "a condition that fails": ("GET", ('If-Match: "other"',)),
    "a version": ("GET", ()),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("after", ["GET", "HEAD", "part"])
async def test_the_next_client_gets_the_object(pair: Pair, name: str, after: str):
    pair.origin.answer = s3
    method, fields = BEFORE[name]
    await pair.get("/b/k", *fields, method=method)
    answer = await pair.get(
        "/b/k", *(["Range: bytes=100-199"] if after == "part" else []), method="HEAD" if after == "HEAD" else "GET"
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    if after == "part":
        assert head.startswith(b"HTTP/1.1 206 ")
        assert body == DATA[100:200]
    else:
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"content-length: 50000" in head
        assert body == (b"" if after == "HEAD" else DATA)


async def test_thousands_of_ranges_are_not_thousands_of_answers(pair: Pair):
    """CVE-2011-3192: overlapping parts of a large object, multiplied."""
    pair.origin.answer = s3
    answer = await pair.get("/b/k", "Range: bytes=" + ",".join(["0-"] * 1500))
    assert len(answer) < 2 * len(DATA)


async def test_vary_cannot_be_made_to_eat_the_cache(pair: Pair):
    """A hundred thousand variants of one key, from a client with a random field: bounded, and the plain one stays right."""
    pair.origin.answer = lambda head: OK.replace(b"etag", b"vary: x-any\r\netag")
    for number in range(300):
        await pair.get("/b/k", f"X-Any: {number}")
    tiers = pair.system.tiers
    assert tiers.memory.statistics().bytes <= tiers.memory.statistics().max_bytes
    pair.origin.answer = lambda head: OK.replace(b"etag", b"vary: *\r\netag").replace(b"data", b"none")
    assert (await pair.get("/b/star")).endswith(b"none")
    pair.origin.answer = lambda head: OK
    assert (await pair.get("/b/star")).endswith(b"data")  # Vary: * was nobody else's.


async def test_an_error_is_not_kept_for_long(pair: Pair):
    """CPDoS: what makes the origin refuse one request must not refuse the object to everybody."""

    def picky(head: bytes) -> bytes:
        if b"versionid" in head.lower() or b"range" in head.lower():
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ncache-control: max-age=3600\r\n\r\n"
        return OK

    pair.origin.answer = picky
    await pair.get("/b/k?versionId=x")
    await pair.get("/b/k", "Range: bytes=0-1")
    assert (await pair.get("/b/k")).endswith(b"data")


async def test_what_is_kept_for_a_name_is_kept_for_its_exact_name_only(pair: Pair):
    answers: dict[str, Any] = {}
    pair.origin.answer = lambda head: OK.replace(
        b"data", b"%04d" % answers.setdefault(head.split(b" ")[1].decode(), len(answers))
    )
    targets = [
        "/b/a",
        "/b/A",
        "/b/a/",
        "/b//a",
        "/b/a%20",
        "/b/a+",
        "/b/%61x",
        "/b/a%2Fb",
        "/b/a%252Fb",
        "/b/a?versionId=1",
        "/b/a?versionId=2",
        "/b/a?versionId=1&partNumber=1",
    ]
    bodies = [(await pair.get(target))[-4:] for target in targets]
    assert len(set(bodies)) == len(targets)
    assert [(await pair.get(target))[-4:] for target in targets] == bodies
    # One name in several spellings is one object.
    assert (await pair.get("/b/%61"))[-4:] == bodies[0]
    assert (await pair.get("/b/a?utm_source=x"))[-4:] == bodies[0]
