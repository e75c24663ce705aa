"""Response splitting and header injection: what comes from a key, a query, a field or an origin ends no line."""

import json
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from tests.security.conftest import OK, Pair, open_pair

EVIL = "Set-Cookie: stolen=1"


def lines_of(answer: bytes) -> list[bytes]:
    head, _, _ = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")


@pytest.mark.parametrize(
    "target",
    [
        "/b/k%0d%0aSet-Cookie:%20stolen=1", "/b/k%0aSet-Cookie:%20stolen=1", "/b/k%0dSet-Cookie:%20stolen=1", "/b/k%E5%98%8A%E5%98%8DSet-Cookie:%20stolen=1",
        "/b/k?response-content-type=x%0d%0aSet-Cookie:%20stolen=1", "/b/k?versionId=x%0d%0aSet-Cookie:%20stolen=1",
        "/%0d%0aSet-Cookie:%20stolen=1", "/health%0d%0aSet-Cookie:%20stolen=1", "/b?prefix=%0d%0aSet-Cookie:%20stolen=1&list-type=2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("fields", [(), ("Accept: application/json",), ("Origin: https://app.example",)])
async def test_through_a_target(pair: Pair, target: str, fields: tuple[str, ...]):
    answer = await pair.get(target, *fields)
    assert not any(line.lower().startswith(b"set-cookie") for line in lines_of(answer))
    for head in pair.origin.heads:
        assert not any(line.lower().startswith(b"set-cookie") for line in head.split(b"\r\n"))
    for line in pair.log.text.splitlines():
        json.loads(line)  # One event, one line, whatever is in it.


@pytest.mark.parametrize(
    "field",
    [
        "X-Request-Id: a\rSet-Cookie: stolen=1", "X-Request-Id: a\tb", "X-Request-Id: <script>", "X-Request-Id: " + "a" * 500,
        "Origin: https://app.example\x00", "Origin: https://app.example,https://evil", "Origin: null", "Origin: https://evil.example",
        "Origin: https://app.example.evil.example", "Origin: https://evil.example/https://app.example",
    ],
)  # fmt: skip
async def test_through_a_field(field: str):
    cors = {"allow_origins": ["https://app.example"], "allow_credentials": True}
    async with open_pair(bucket={"cors": cors}) as pair:
        answer = await pair.get("/b/k", field)
        value = field.partition(": ")[2]
        if answer.startswith(b"HTTP/1.1 200"):
            said = [line for line in lines_of(answer) if value.encode("latin-1") in line]
            assert said == [], said
            assert not any(line.startswith(b"access-control-allow-origin") for line in lines_of(answer))
        else:
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert value.encode("latin-1") not in answer


# Fields as an object's owner can set them, or somebody between us and S3.
@pytest.mark.parametrize(
    "block",
    [
        b"x-amz-meta-a: b\r\n Set-Cookie: stolen=1\r\n", b"x-amz-meta-a: b\rSet-Cookie: stolen=1\r\n", b"x-amz-meta-a: b\nSet-Cookie: stolen=1\r\n",
        b"x-amz-meta-a: b\0c\r\n", b"x-amz-meta-a : b\r\n", b": nameless\r\n", b"no colon\r\n", b"x-amz-meta-\r\na: b\r\n",
    ],
)  # fmt: skip
async def test_through_an_objects_metadata(pair: Pair, block: bytes):
    pair.origin.answer = lambda head: OK.replace(b"etag", block + b"etag")
    for _ in range(2):
        answer = await pair.get("/b/k")
        assert not any(line.lower().startswith((b"set-cookie", b"stolen", b"a:")) for line in lines_of(answer)), answer
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 502"))
        assert b"\n" not in b"".join(lines_of(answer))
        assert b"\r" not in b"".join(lines_of(answer))


async def test_what_is_hop_by_hop_at_the_origin_ends_there(pair: Pair):
    fields = b"connection: x-internal, keep-alive\r\nx-internal: 10.0.0.7\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\ntrailer: x\r\nupgrade: h2c\r\n"
    pair.origin.answer = lambda head: OK.replace(b"etag", fields + b"etag")
    for _ in range(2):
        names = {line.partition(b":")[0].lower() for line in lines_of(await pair.get("/b/k"))}
        assert not names & {b"x-internal", b"keep-alive", b"proxy-authenticate", b"trailer", b"upgrade"}


@pytest.mark.parametrize(
    "fields",
    [b"x-cache: HIT\r\n", b"cache-status: evil; hit\r\n", b"age: 99999999999999999999\r\n", b"age: -5\r\n", b"via: 1.1 evil\r\n", b"x-request-id: theirs\r\n",
     b"accept-ranges: none\r\n", b"date: not a date\r\n", b"expires: " + b"9" * 300 + b"\r\n", b"cache-control: max-age=" + b"9" * 300 + b"\r\n",
     b"last-modified: Mon, 99 Foo 2099\r\n", b"content-range: bytes 0-3/4\r\n", b"vary: " + b"a," * 2000 + b"\r\n", b"etag: \"\xff\xfe\"\r\n"],
)  # fmt: skip
async def test_an_origin_cannot_speak_for_us(pair: Pair, fields: bytes):
    pair.origin.answer = lambda head: OK.replace(b"etag", fields + b"etag")
    for _ in range(2):
        answer = await pair.get("/b/k", "X-Request-Id: mine")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\ndata")
        said = [line.partition(b": ") for line in lines_of(answer)[1:]]
        for name in (b"x-request-id", b"x-cache", b"cache-status", b"age", b"accept-ranges", b"content-length"):
            assert sum(found == name for found, _, _ in said) == 1, (name, answer)
        assert dict((name, value) for name, _, value in said)[b"x-request-id"] == b"mine"
    assert '"level": "error"' not in pair.log.text


@pytest.mark.parametrize("key", ["<script>alert(1)</script>", "]]>&<a>", "'\"><img src=x>", "\u202e\u0000"[:1], "a&b"])
async def test_an_error_document_is_a_document_whatever_the_key_is(pair: Pair, key: str):
    pair.origin.answer = lambda head: b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    answer = await pair.get(f"/b/{quote(key)}")
    assert b"content-type: application/xml" in answer
    assert ElementTree.fromstring(answer.partition(b"\r\n\r\n")[2]).findtext("Code") == "NoSuchKey"
    answer = await pair.get(f"/b/{quote(key)}", "Accept: application/json")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "NoSuchKey"
