"""What is fuzzed: a target takes bytes and raises where something is wrong.

Wherever a second reader exists that others trust (h11), what both accept must mean the same to both.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import h11
import trio

from tests.fakes import ScriptedOrigin
from tests.fuzz.admin import admin
from tests.fuzz.connection import connection
from tests.fuzz.hold import Wrong, hold
from tests.simulation.streams import MemoryConnection
from yatagarasu.config.load import load
from yatagarasu.errors import BadRequest, ConfigError, OriginBroken, OriginError, YatagarasuError
from yatagarasu.http.cache_control import parse_request_directives, parse_response_directives, targeted_directives
from yatagarasu.http.conditional import evaluate, parse_etags
from yatagarasu.http.headers import Headers
from yatagarasu.http.ranges import parse_content_range, parse_range, resolve
from yatagarasu.http.vary import varying_names
from yatagarasu.http.wire import HeaderBlocks, encode_request, parse_request_line, split_range
from yatagarasu.origin import transport
from yatagarasu.proxy.router import Route, Router
from yatagarasu.s3.errors import parse_error
from yatagarasu.s3.keys import decode_path, encode_key
from yatagarasu.s3.listing import parse_list_v2, scoped_list_query, unscope_listing
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.lists import FORMATS, read_list

CORPUS = Path(__file__).parent / "corpus"


def request(data: bytes) -> None:
    """A request head: what we accept h11 accepts too, and it means the same; a known block is the block it was."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return
    line, _, block = data[: end + 2].partition(b"\r\n")
    blocks = HeaderBlocks()
    try:
        method, target, minor = parse_request_line(line)
        parsed = blocks.parse(block)
    except BadRequest:
        return
    hold(blocks.parse(block).headers.pairs == parsed.headers.pairs, "two meanings of the same bytes")
    if parsed.error is not None or (minor and not parsed.hosts):
        return
    hold("transfer-encoding" not in parsed.headers, "a body was accepted")
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data[: end + 4])
    try:
        event = peer.next_event()
    except h11.RemoteProtocolError as exc:
        # Both are right about an HTTP/1.0 request with two Connection fields and the like; h11 knows fewer methods' forms.
        raise Wrong(f"h11 refuses it: {exc}") from exc
    assert isinstance(event, h11.Request)
    hold(event.method.decode() == method, "another method")
    hold(event.target.decode() == target, "another target")
    theirs = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
    hold(theirs == list(parsed.headers), f"other fields: {theirs} {list(parsed.headers)}")
    split = split_range(block)
    if split is not None:
        rest, first, last = split
        try:
            blocks.parse(rest)
        except BadRequest:
            raise Wrong("a good block is bad without its range") from None
        if parsed.headers.get_all("range") and len(parsed.headers.get_all("range")) == 1:
            specs = parse_range(parsed.headers.get("range"))
            if specs is not None:
                hold((specs[0].first, specs[0].last) == (first, last), "another range")


_ROUTER = Router(
    [
        Route(bucket="b", path_prefix="/b", origin=ScriptedOrigin()),
        Route(bucket="deep", path_prefix="/b/deep", origin=ScriptedOrigin(), query_mode="all"),
        Route(bucket="root", path_prefix="", origin=ScriptedOrigin(), is_signed=False, query_mode="all"),
    ]
)
_SEEN: dict[str, tuple[str, str, str]] = {}


def router(data: bytes) -> None:
    """A target: one key or a refusal, never out of its bucket; two keys never share a cache key; what goes on is a line."""
    raw = b"GET " + data.partition(b"\n")[0] + b" HTTP/1.1"
    try:
        _, target, _ = parse_request_line(raw)
        line = _ROUTER.line(raw)
    except BadRequest:
        return
    hold(_ROUTER.line(raw).primary == line.primary, "two meanings of the same bytes")
    if line.error is not None or line.route is None:
        return
    decoded = decode_path(target.partition("?")[0])
    hold(decoded.startswith(line.route.path_prefix), "another route's path")
    key = line.object_key
    if not line.is_bucket:
        hold(f"{line.route.path_prefix}/{key}" == decoded, f"the key {key!r} is not the rest of the path")
    hold(not any(part in (".", "..") for part in key.split("/")), "a dot segment")
    hold(key.isprintable() or not any(ord(character) < 32 for character in key), "a control character")
    sent = encode_request(
        "GET", f"/bkt/{encode_key('p/' + key)}" + (f"?{line.query}" if line.query else ""), [("host", "h")]
    )
    hold(sent.count(b"\r\n") == 3, "more than one line goes on")
    hold(sent.split(b" ")[1].startswith(b"/bkt/p/"), "out of the prefix")
    hold(len(sent.split(b"\r\n")[0].split(b" ")) == 3, "a target with a space")
    if not line.is_bucket:
        meaning = (line.route.bucket, key, line.query)
        if len(_SEEN) > 100_000:
            _SEEN.clear()
        hold(_SEEN.setdefault(line.primary, meaning) == meaning, f"{line.primary!r} is the key of two objects")
    if line.is_bucket:
        try:
            scoped = scoped_list_query(line.raw_query, "p/")
        except BadRequest:
            return
        hold(any(part.startswith("prefix=p%2F") for part in scoped.split("&")), "a listing outside")


async def _receive(data: bytes, pieces: int) -> tuple[int, bytes] | None:
    """Status and body of the first answer in `data`, None where it is refused or cut."""
    connection = MemoryConnection()

    async def connect(*_: object, **__: object) -> MemoryConnection:
        return connection

    kept, transport.open_connection = transport.open_connection, connect  # type: ignore[assignment]
    try:
        step = max(1, len(data) // pieces)
        for start in range(0, len(data), step):
            connection.down.put(data[start : start + step])
        connection.down.close()
        ours = transport.OriginTransport()
        response = await ours.fetch("http", "h", 80, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", method="GET")
        body = b""
        try:
            while more := response.take_buffered() or await response.receive_some():
                body += more
        finally:
            await response.aclose()
        hold(
            all(statistics.in_use == 0 for statistics in ours.statistics().values()), "a connection was not given back"
        )
        return response.status, body
    except OriginError:
        return None
    finally:
        transport.open_connection = kept


def response(data: bytes) -> None:
    """An origin's answer: whole in one way only, whatever pieces it comes in; what h11 reads is what we read."""

    async def both() -> tuple[object, object]:
        return await _receive(data, 1), await _receive(data, 40)

    found, again = trio.run(both)
    hold(found == again, f"other pieces, another answer: {found!r} {again!r}"[:300])
    if found is None:
        return
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    peer.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or event in (h11.NEED_DATA, h11.PAUSED):
                break
    except h11.RemoteProtocolError:
        return  # Stricter than llhttp about fields; what matters is that no two readings differ.
    hold((status, body) == found, f"h11 reads {status} {body[:60]!r}, we read {found[0]} {found[1][:60]!r}")


def config(data: bytes) -> None:
    """A config file: loaded, or told what is wrong with it and where."""
    loaded = load(
        "fuzz.toml", data, {"HOME": "/root", "CANARY": "canary-of-the-environment"}, base=Path("/nonexistent")
    )
    hold(loaded.config is not None or bool(loaded.problems), "neither a config nor a problem")
    lines = data.count(b"\n") + data.count(b"\r") + 2
    for problem in loaded.problems:
        hold(1 <= problem.line <= lines, f"line {problem.line} of {lines}")
        hold(problem.column >= 1, "no column")
        hold(bool(problem.message.strip()), "no message")


def range_field(data: bytes) -> None:
    """A Range field: within the object, in its order, no byte that was not asked for."""
    text = data.decode("latin-1")
    specs = parse_range(text)
    found = parse_content_range(text)
    if found is not None and found.start is not None and found.stop is not None:
        hold(0 <= found.start < found.stop, "an empty or negative content range")
        hold(found.size is None or found.stop <= found.size, "beyond the size")
    if specs is None:
        return
    hold(text.strip().lower().startswith("bytes"), "another unit was taken for bytes")
    for size in (0, 1, 10, 1_000_000, 1 << 50):
        total = 0
        for start, stop in resolve(specs, size):
            hold(0 <= start < stop <= size, f"{start}-{stop} of {size}")
            total += stop - start
        hold(total <= size, "more than the object")


def fields_of(data: bytes) -> None:
    """Fields that steer the cache: no number below zero, and saying it twice changes nothing."""
    text = data.decode("latin-1").replace("\r", " ").replace("\n", " ")
    for parse in (parse_request_directives, parse_response_directives):
        parsed = parse(Headers([("cache-control", text)]))
        twice = parse(Headers([("cache-control", text), ("cache-control", text)]))
        for part in fields(parsed):
            value, again = getattr(parsed, part.name), getattr(twice, part.name)
            if isinstance(value, tuple):
                value, again = set(value), set(again)
            if '"' not in text:  # An open quote reaches into what is said next.
                hold(value == again, f"{part.name} is {value}, said twice {again}")
            is_finite = not isinstance(value, float) or 0 <= value < float("inf")
            # RFC 9111, section 5.2.1.2: without a value it is any age.
            hold(is_finite or part.name == "max_stale", f"{part.name} is {value}")
    targeted_directives(Headers([("cdn-cache-control", text)]))
    varying_names(Headers([("vary", text)]))
    tags = parse_etags(text)
    for tag in tags or ():
        hold(tag == "*" or tag.removeprefix("W/")[:1] + tag[-1:] == '""', f"the tag {tag!r}")
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        evaluate("GET", Headers([(name, text)]), etag='"e"', last_modified="Sun, 06 Nov 1994 08:49:37 GMT")


def object_list(data: bytes) -> None:
    """An object list in any format: items and malformed lines, in order, with their places."""
    for name in (None, *FORMATS):
        if name in ("inventory", "parquet"):
            continue  # Those are files beside files; a stream is refused by name.
        last = 0
        try:
            for found in read_list("-", format=name, stdin=io.BytesIO(data)):  # type: ignore[arg-type]
                hold(isinstance(found, (Item, Malformed)), "neither item nor malformed")
                hold(found.line >= last, "lines out of order")
                last = found.line
                if isinstance(found, Item):
                    hold(bool(found.key), "an item without a key")
                    hold(found.size is None or found.size >= 0, "a negative size")
        except ConfigError as exc:
            hold("<stdin>" in str(exc), f"does not name the list: {exc}")


def documents(data: bytes) -> None:
    """S3's XML: an error document, a listing page; what is outside of the prefix does not come through."""
    parse_error(data)
    try:
        shown = unscope_listing(data, "b", "prefix/")
    except YatagarasuError:
        return
    hold(b"<!ENTITY" not in shown, "an entity came through")
    try:
        page, ours = parse_list_v2(data), parse_list_v2(shown)
    except OriginBroken:
        return
    hold(
        [listed.key for listed in page.keys if listed.key != "prefix/"]
        == [f"prefix/{listed.key}" for listed in ours.keys],
        "another key",
    )


@dataclass(frozen=True)
class Target:
    """A function, and the tokens of what it reads; an input takes `cost` times as long as one of another target."""

    run: Callable[[bytes], None]
    dictionary: Sequence[bytes]
    cost: int = 1

    def corpus(self, name: str) -> list[tuple[str, bytes]]:
        """Inputs by file name."""
        return [(path.name, path.read_bytes()) for path in sorted((CORPUS / name).iterdir()) if path.is_file()]


TARGETS: Mapping[str, Target] = {
    "connection": Target(
        connection,
        [b"GET /b/k HTTP/1.1\r\n", b"HEAD /b/mid HTTP/1.1\r\n", b"GET /b/file HTTP/1.1\r\n", b"GET /q/k?x=1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
         b"/b/empty", b"/b/old", b"/b/private", b"/b/vary", b"/b/chunked", b"/b/far", b"/b/none", b" HTTP/1.0\r\n", b"Host: x\r\n", b"\r\n\r\n", b"\r\n",
         b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Range: bytes=0-9\r\n", b"Range: bytes=-5\r\n", b"Range: bytes=7-\r\n", b"Range: bytes=0-1,5-6\r\n",
         b"If-None-Match: *\r\n", b"If-Match: \"x\"\r\n", b"If-Range: \"x\"\r\n", b"Cache-Control: no-cache\r\n", b"Cache-Control: no-store\r\n", b"Cache-Control: only-if-cached\r\n",
         b"Origin: https://app.example\r\n", b"Accept-Language: de\r\n", b"Accept: application/json\r\n", b"X-Request-Id: abc\r\n", b"X-Tenant: t\r\n", b"X-Forwarded-For: 1.2.3.4\r\n",
         b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"5\r\nhello\r\n0\r\n\r\n"],
        cost=4,
    ),
    "request": Target(
        request,
        [b"GET ", b"HEAD ", b" HTTP/1.1", b" HTTP/1.0", b"Host: x\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
         b"Connection: close\r\n", b"Range: bytes=0-1\r\n", b"range:bytes=-5\r\n", b"Expect: 100-continue\r\n", b": ", b":", b"X: y\r\n", b" \r\n"],
    ),
    "admin": Target(
        admin,
        [b"GET /", b"HEAD /", b"POST /", b"DELETE /", b" HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n\r\n", b"health", b"ready", b"metrics", b"cache", b"cache/entries", b"cache/entry",
         b"cache/purge", b"cache/warm", b"cache/warm/JOB", b"/pause", b"/resume", b"/cancel", b"?", b"&", b"bucket=b", b"key=a%2F1", b"prefix=a", b"tag=red", b"all=1", b"soft=1",
         b"after=", b"limit=10", b"%00", b"%ff", b"list=/x", b"format=csv", b"include=*", b"exclude=", b"newer_than=7d", b"newer_than=2026-01-31", b"max_bytes=1MiB", b"head_only=1",
         b"ranges=first=1KiB,last=1KiB", b"concurrency=4", b"rate=1e3", b"bandwidth=1MiB", b"Authorization: Bearer canary-of-the-tok\xc3\xa9n\r\n", b"Authorization: Basic x\r\n",
         b"Sec-Fetch-Site: cross-site\r\n", b"Sec-Fetch-Site: same-origin\r\n", b"Accept: application/openmetrics-text; version=1.0.0; escaping=dots\r\n", b"Accept: text/plain; version=1.0.0\r\n",
         b"Accept: application/json\r\n", b"Content-Length: 5\r\n"],
        cost=2,
    ),
    "router": Target(
        router,
        [b"/b/", b"/b", b"/b/deep/", b"%2e", b"%2E%2e", b"..", b"/./", b"%2F", b"%25", b"%00", b"%0d%0a", b"?", b"&", b"=", b"versionId=1",
         b"partNumber=2", b"acl", b"X-Amz-Signature=", b"response-content-type=", b"list-type=2", b"prefix=", b"%e7%83%8f", b"+", b"//"],
    ),
    "response": Target(
        response,
        [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 206 Partial Content\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.0 200 OK\r\n",
         b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b";ext=1"],
    ),
    "config": Target(
        config,
        [b"[server]\n", b"[[buckets]]\n", b"[buckets.s3]\n", b"${HOME}", b"${CANARY", b"${X:-y}", b"${file:/etc/hostname}", b"$$", b"= ", b'"', b"'''", b'"""',
         b"\\u0000", b"\\", b"{", b"}", b"[", b"]", b"#", b"1e999", b"nan", b"inf", b"0x", b"1979-05-27", b'"64KiB"', b'"1h"', b"true", b"."],
    ),
    "range": Target(range_field, [b"bytes=", b"bytes ", b"-", b",", b"0-0", b"-1", b"5-", b"*/", b"/10", b"items=", b"99999999999999999999"]),
    "fields": Target(
        fields_of,
        [b"max-age=", b"s-maxage=", b"no-cache", b"no-store", b'private="x"', b"stale-if-error=", b"must-revalidate", b",", b";", b"=", b'"', b"W/", b"*", b'"e"',
         b"Sun, 06 Nov 1994 08:49:37 GMT", b"accept-language"],
    ),
    "list": Target(
        object_list,
        [b"s3://bucket/", b"key,size\n", b'{"key": "', b'"}\n', b"[", b"]", b'{"Contents": [', b"\x1f\x8b\x08", b"\xef\xbb\xbf", b"2026-01-01 00:00:00 ", b",", b'"', b"#"],
    ),
    "documents": Target(
        documents,
        [b"<ListBucketResult>", b"</ListBucketResult>", b"<Contents><Key>prefix/", b"</Key></Contents>", b"<Error><Code>", b"</Code></Error>", b"<!DOCTYPE x [",
         b'<!ENTITY e "x">', b"&e;", b"&#0;", b"<![CDATA[", b"]]>", b"<?xml version='1.0' encoding='utf-16'?>", b"<CommonPrefixes><Prefix>", b"<Size>-1</Size>"],
    ),
}  # fmt: skip
