"""Malformed and smuggling-shaped requests: one answer, a closed connection, never a second interpretation."""

import pytest

from tests.server.conftest import Proxy

# Would be answered with 200 if what comes before it were read in another way.
SMUGGLED = b"GET /b/k?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
H = b"Host: x\r\n"

TABLE = {
    "CL and TE": (
        b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "TE and CL": (
        b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    "bad chunk size": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
    "signed chunk size": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n", 400),
    "chunked body": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
    "unknown coding": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "two codings": (b"GET /b/k HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
    "chunked in 1.0": (b"GET /b/k HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    "duplicate CL": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
    "same CL twice": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    "CL list": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 5, 5\r\n\r\n", 400),
    "negative CL": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: -1\r\n\r\n", 400),
    "CL with plus": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: +5\r\n\r\n", 400),
    "CL hex": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 0x5\r\n\r\n", 400),
    "body": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello", 413),
    "put": (b"PUT /b/k HTTP/1.1\r\n" + H + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413),
    "bare LF line": (b"GET /b/k HTTP/1.1\n" + H + b"\r\n", 400),
    "bare LF header": (b"GET /b/k HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "bare LF all": (b"GET /b/k HTTP/1.1\nHost: x\n\n", 400),
    "bare CR in value": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400),
    "bare CR in line": (b"GET /b/k\r HTTP/1.1\r\n" + H + b"\r\n", 400),
    "obs-fold": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n", 400),
    "space before colon": (b"GET /b/k HTTP/1.1\r\n" + H + b"Content-Length : 5\r\n\r\n", 400),
    "space before first": (b"GET /b/k HTTP/1.1\r\n X: y\r\n" + H + b"\r\n", 400),
    "empty name": (b"GET /b/k HTTP/1.1\r\n" + H + b": y\r\n\r\n", 400),
    "no colon": (b"GET /b/k HTTP/1.1\r\n" + H + b"nonsense\r\n\r\n", 400),
    "NUL in value": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n", 400),
    "NUL in target": (b"GET /b/k\0 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "absolute form": (b"GET http://x/b/k HTTP/1.1\r\n" + H + b"\r\n", 400),
    "authority form": (b"CONNECT x:443 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "star": (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "fragment": (b"GET /b/k#x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "non-ASCII target": (b"GET /b/\xe7\x83\x8f HTTP/1.1\r\n" + H + b"\r\n", 400),
    "space in target": (b"GET /b/a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "tab separator": (b"GET\t/b/k HTTP/1.1\r\n" + H + b"\r\n", 400),
    "two spaces": (b"GET  /b/k HTTP/1.1\r\n" + H + b"\r\n", 400),
    "trailing space": (b"GET /b/k HTTP/1.1 \r\n" + H + b"\r\n", 400),
    "HTTP/0.9": (b"GET /b/k\r\n", 400),
    "HTTP/2.0": (b"GET /b/k HTTP/2.0\r\n" + H + b"\r\n", 400),
    "HTTP/1.2": (b"GET /b/k HTTP/1.2\r\n" + H + b"\r\n", 400),
    "h2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "no Host": (b"GET /b/k HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /b/k HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "bad Host": (b"GET /b/k HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
    "large head": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
    "endless head": (b"GET /b/k HTTP/1.1\r\n" + H + b"X: y\r\n" * 9_000, 431),
    "long target": (b"GET /b/" + b"k" * 9_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    "endless target": (b"GET /b/" + b"k" * 12_000, 414),
}


@pytest.mark.parametrize("name", TABLE)
async def test_malformed(proxy: Proxy, name):
    request, status = TABLE[name]
    answer = await proxy.raw(request + (SMUGGLED if request.endswith(b"\r\n\r\n") else b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert proxy.origin.request_count() == 0
