"""Request smuggling, run against the pair: the origin never sees a request that the proxy has not answered as one.

`tests/server/test_malformed.py` has what is refused; here the count and the bytes on the origin's side are what matters.
"""

import pytest
import trio

from tests.security.conftest import OK, Pair, open_pair

H = b"Host: x\r\n"
NEXT = b"GET /b/smuggled HTTP/1.1\r\n" + H + b"\r\n"

# Bytes of one connection, then how many requests they may be. More would be a request out of another's body.
TABLE = {
    "CL.TE": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0),
    "TE.CL": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 0),
    "TE.TE": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 0),
    "TE with a tab": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", 0),
    "TE with a vertical tab": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 0),
    "TE before a space": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0),
    "TE on a second line": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0),
    "TE quoted": (b'GET /b/k HTTP/1.1\r\n' + H + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 0),
    "CL.0": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % len(NEXT), 0),
    "0.CL": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 00000000000000000005\r\n\r\nhello", 0),
    "CL over 64 bits": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 18446744073709551616\r\n\r\n", 0),
    "CL with a blank": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 5 0\r\n\r\nhello", 0),
    "CL underscore": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content_Length: 50\r\n\r\n", 2),
    "chunk extension with LF": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n", 0),
    "LF LF": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: y\n\n", 0),
    "CR alone": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: y\r\r\n", 0),
    "CRLF in a target": (b"GET /b/k%0d%0aX:%20y HTTP/1.1\r\n" + H + b"\r\n", 0),
    "a request in a target": (b"GET /b/k%20HTTP/1.1%0d%0a%0d%0aGET%20/b/smuggled HTTP/1.1\r\n" + H + b"\r\n", 0),
    "a request in a query": (b"GET /b/k?versionId=1%20HTTP/1.1%0d%0a%0d%0aGET%20/b/s HTTP/1.1\r\n" + H + b"\r\n", 2),
    "two hosts": (b"GET /b/k HTTP/1.1\r\n" + H + b"Host: evil\r\n\r\n", 0),
    "absolute form": (b"GET http://evil/b/k HTTP/1.1\r\n" + H + b"\r\n", 0),
    "an upgrade": (b"GET /b/k HTTP/1.1\r\n" + H + b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 2),
    "zero length": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n", 2),
    "expects": (b"GET /b/k HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\n\r\n", 2),
    "good": (b"GET /b/k HTTP/1.1\r\n" + H + b"\r\n", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
async def test_what_reaches_the_origin(name: str):
    request, allowed = TABLE[name]
    # Every field is sent on that may be: the widest door there is.
    async with open_pair(bucket={"forward_request_headers": ["*"], "cache": {"enabled": False}}) as pair:
        answer = await pair.raw(request + NEXT, half_closes=True)
        assert answer.count(b"HTTP/1.1 ") == max(allowed, 1), answer
        assert len(pair.origin.heads) == allowed
        assert pair.origin.rest == []
        assert all(target.startswith("/bkt/prefix/") for target in pair.origin.targets)
        for head in pair.origin.heads:
            lines = head.split(b"\r\n")
            assert lines[0].startswith(b"GET /bkt/prefix/")
            assert lines[0].endswith(b" HTTP/1.1")
            names = [line.partition(b":")[0].lower() for line in lines[1:] if line]
            assert names.count(b"host") == 1
            # Hop by hop, and framing: the client's never go on.
            assert not {b"transfer-encoding", b"content-length", b"connection", b"upgrade", b"te", b"expect"} & set(
                names
            )
        if allowed == 0:
            assert b"connection: close" in answer


async def test_whatever_the_client_calls_hop_by_hop_is_not_sent_and_ours_is():
    async with open_pair(
        bucket={"forward_request_headers": ["*"]}, s3={"anonymous": False, "access_key": "a", "secret_key": "s"}
    ) as pair:
        await pair.get(
            "/b/k", "Connection: X-Secret, Authorization, Host, X-Amz-Date", "X-Secret: 1", "X-Kept: 2", "Proxy-Authorization: p", "TE: trailers",
            "X-Amz-Date: 19700101T000000Z", "X-Amz-Security-Token: t",
        )  # fmt: skip
        [head] = pair.origin.heads
        low = head.lower()
        assert b"x-kept: 2" in low
        assert b"x-secret" not in low
        assert b"proxy-authorization" not in low
        # What we sign with is ours alone, and there once.
        assert low.count(b"authorization:") == low.count(b"x-amz-date:") == low.count(b"host:") == 1
        assert b"19700101" not in low
        assert b"security-token" not in low


RESPONSES = {
    "two answers in one": OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\netag: \"x\"\r\n\r\npoison",
    "more than its length": OK + b"poison poison poison",
    "an empty line and an answer": OK + b"\r\n" + OK.replace(b"data", b"evil"),
    "chunks, then more": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    "a body after 304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison",
    "a body after HEAD": b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSES)
async def test_what_comes_behind_an_answer_is_nobodys(pair: Pair, name: str):
    """The queue of a kept-alive origin connection cannot be poisoned."""
    pair.origin.answer = lambda head: RESPONSES[name]
    await pair.get("/b/first", method="HEAD" if name == "a body after HEAD" else "GET")
    await trio.sleep(0.01)
    pair.origin.answer = lambda head: OK
    for number in range(3):
        answer = await pair.get(f"/b/next{number}")
        assert answer.endswith(b"\r\n\r\ndata")
        assert b"poison" not in answer


AMBIGUOUS = {
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 400\r\n\r\ndata",
    "a list of lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 4, 5\r\n\r\ndata",
    "a signed length": b"HTTP/1.1 200 OK\r\ncontent-length: +4\r\n\r\ndata",
    "a hex length": b"HTTP/1.1 200 OK\r\ncontent-length: 0x4\r\n\r\ndata",
    "another coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n",
    "chunks twice": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n",
    "a NUL in a field": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 4\r\n\r\ndata",
    "HTTP/2": b"HTTP/2 200 OK\r\ncontent-length: 4\r\n\r\ndata",
    "no status": b"HTTP/1.1 OK\r\ncontent-length: 4\r\n\r\ndata",
    "status 99": b"HTTP/1.1 99 No\r\ncontent-length: 4\r\n\r\ndata",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\ndata",
    "nothing but 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_an_answer_that_could_be_read_in_two_ways_is_502(pair: Pair, name: str):
    pair.origin.answer, pair.origin.closes = lambda head: AMBIGUOUS[name], True
    answer = await pair.get("/b/k")
    assert answer.startswith(b"HTTP/1.1 502 "), answer
    assert b"data" not in answer.replace(b"application", b"")
