import pytest

from yatagarasu.errors import BadRequest, BodyRefused, ExpectationFailed
from yatagarasu.http.cache_control import RequestDirectives
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import (
    HeaderBlock,
    HeaderBlocks,
    encode_head,
    encode_request,
    is_bad_chunk,
    parse_request_line,
)

# Request lines.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(b"GET / HTTP/1.1", ("GET", "/", 1), id="3.2.1-origin-form"),
        pytest.param(b"GET /a?b=c HTTP/1.0", ("GET", "/a?b=c", 0), id="2.3-http-1.0"),
        pytest.param(b"GET //a//b HTTP/1.1", ("GET", "//a//b", 1), id="3.2.1-slashes-are-kept"),
        pytest.param(b"GET /%2F%zz HTTP/1.1", ("GET", "/%2F%zz", 1), id="3.2.1-escapes-are-kept"),
        pytest.param(
            b'GET /"<>[]{}|^` HTTP/1.1', ("GET", '/"<>[]{}|^`', 1), id="taken-literally-as-s3-clients-mean-it"
        ),
        pytest.param(b"OPTIONS * HTTP/1.1", ("OPTIONS", "*", 1), id="3.2.4-asterisk-form"),
        pytest.param(b"get / HTTP/1.1", ("get", "/", 1), id="3.1-methods-are-case-sensitive"),
        pytest.param(b"X-Y / HTTP/1.1", ("X-Y", "/", 1), id="3.1-any-token"),
    ],
)
def test_request_line(line: bytes, expected: tuple[str, str, int]) -> None:
    assert parse_request_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GET", id="3-method-only"),
        pytest.param(b"GET /", id="3-http-0.9"),
        pytest.param(b"GET  / HTTP/1.1", id="3-two-spaces"),
        pytest.param(b"GET /  HTTP/1.1", id="3-two-spaces-before-the-version"),
        pytest.param(b"GET\t/ HTTP/1.1", id="3-tab"),
        pytest.param(b" GET / HTTP/1.1", id="3-leading-space"),
        pytest.param(b"GET / HTTP/1.1 ", id="3-trailing-space"),
        pytest.param(b"GET / HTTP/1.1\n", id="2.2-bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r", id="2.2-bare-cr"),
        pytest.param(b"GET / HTTP/2.0", id="2.3-another-major-version"),
        pytest.param(b"GET / HTTP/1.2", id="2.3-another-minor-version"),
        pytest.param(b"GET / http/1.1", id="2.3-name-in-upper-case"),
        pytest.param(b"GET / HTTP/1.10", id="2.3-one-digit"),
        pytest.param(b"GET / HTTP/11", id="2.3-a-dot"),
        pytest.param(b"G@T / HTTP/1.1", id="3.1-no-token"),
        pytest.param(b"A" * 33 + b" / HTTP/1.1", id="3.1-no-such-long-method"),
        pytest.param(b"GET /a b HTTP/1.1", id="3.2-space-in-the-target"),
        pytest.param(b"GET /\x00 HTTP/1.1", id="3.2-nul"),
        pytest.param(b"GET /\x7f HTTP/1.1", id="3.2-del"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1", id="3.2-not-ascii"),
        pytest.param(b"GET /#a HTTP/1.1", id="3.2-fragment"),
        pytest.param(b"GET http://h/ HTTP/1.1", id="3.2.2-absolute-form"),
        pytest.param(b"CONNECT h:443 HTTP/1.1", id="3.2.3-authority-form"),
        pytest.param(b"GET * HTTP/1.1", id="3.2.4-asterisk-for-options-only"),
        pytest.param(b"GET a HTTP/1.1", id="3.2.1-no-slash"),
        pytest.param(b"GET ?a HTTP/1.1", id="3.2.1-no-path"),
    ],
)
def test_a_bad_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request_line(line)


# Header sections.


def parse(*lines: bytes) -> HeaderBlock:
    return HeaderBlocks().parse(b"".join(line + b"\r\n" for line in lines))


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        pytest.param(b"Host: example", ("host", "example"), id="5.1-names-become-lower-case"),
        pytest.param(b"host:example", ("host", "example"), id="5.1-no-space-needed"),
        pytest.param(b"x-a: \t b \t", ("x-a", "b"), id="5.1-white-space-around"),
        pytest.param(b"x-a:", ("x-a", ""), id="5.5-empty"),
        pytest.param(b"x-a: b\tc", ("x-a", "b\tc"), id="5.5-tab-inside"),
        pytest.param(b"x-a: b:c", ("x-a", "b:c"), id="5.1-colon-inside"),
        pytest.param(b"x-a: \xc3\xa9", ("x-a", "\xc3\xa9"), id="5.5-obs-text"),
    ],
)
def test_field_line(line: bytes, pair: Pair) -> None:
    assert list(parse(line).headers) == [pair]


def test_field_lines_keep_their_order() -> None:
    assert list(parse(b"b: 1", b"a: 2", b"b: 3").headers) == [("b", "1"), ("a", "2"), ("b", "3")]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"host : a\r\n", id="5.1-space-before-the-colon"),
        pytest.param(b" host: a\r\n", id="2.2-space-before-the-first-field"),
        pytest.param(b"x-a: b\r\n c\r\n", id="5.2-folded"),
        pytest.param(b"x-a: b\r\n\tc\r\n", id="5.2-folded-with-tab"),
        pytest.param(b"x-a\r\n", id="5-no-colon"),
        pytest.param(b": a\r\n", id="5.1-no-name"),
        pytest.param(b"x@a: b\r\n", id="5.1-name-is-a-token"),
        pytest.param(b"x-\xc3\xa9: b\r\n", id="5.1-name-is-ascii"),
        pytest.param(b"x-a: b\x00\r\n", id="5.5-nul"),
        pytest.param(b"x-a: b\x01\r\n", id="5.5-control-character"),
        pytest.param(b"x-a: b\x7f\r\n", id="5.5-del"),
        pytest.param(b"x-a: b\rx-c: d\r\n", id="2.2-bare-cr"),
        pytest.param(b"x-a: b\nx-c: d\r\n", id="2.2-bare-lf"),
        pytest.param(b"x-a: b\r\n\r\n", id="2.1-an-empty-line-ends-it"),
        pytest.param(b"x-a: b", id="5-no-line-end"),
        pytest.param(b"host: a\r\nhost: a\r\n", id="3.2-two-hosts"),
        pytest.param(b"host: a/b\r\n", id="3.2-no-host"),
        pytest.param(b"host: a b\r\n", id="3.2-space-in-a-host"),
        pytest.param(b"host: a@b\r\n", id="3.2-userinfo"),
        pytest.param(b"host: a:b\r\n", id="3.2-port-is-a-number"),
        pytest.param(b"content-length: x\r\n", id="6.3-length-is-a-number"),
        pytest.param(b"content-length: -1\r\n", id="6.3-length-is-not-negative"),
    ],
)
def test_a_bad_header_section_is_refused(block: bytes) -> None:
    with pytest.raises(BadRequest):
        HeaderBlocks().parse(block)


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"127.0.0.1:9000", b"[::1]", b"[::1]:9000", b"a_b", b"", b"a:"])
def test_section_3_2_hosts(host: bytes) -> None:
    assert parse(b"host: " + host).hosts == (host.decode(),)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param([b"content-length: 5"], BodyRefused, id="6.3-a-body"),
        pytest.param([b"transfer-encoding: chunked"], BodyRefused, id="6.1-a-chunked-body"),
        pytest.param([b"transfer-encoding: Chunked"], BodyRefused, id="7-codings-in-any-case"),
        pytest.param([b"expect: 100-continue", b"content-length: 5"], BodyRefused, id="10.1.1-a-body-announced"),
        pytest.param([b"expect: something"], ExpectationFailed, id="rfc9110-10.1.1-another-expectation"),
    ],
)
def test_what_a_request_is_answered_with(lines: list[bytes], error: type[Exception]) -> None:
    block = parse(*lines)
    assert isinstance(block.error, error)
    assert not block.is_plain


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"content-length: 5", b"transfer-encoding: chunked"], id="6.1-both"),
        pytest.param([b"transfer-encoding: chunked", b"content-length: 0"], id="6.1-both-the-other-way"),
        pytest.param([b"content-length: 5", b"content-length: 6"], id="6.3-two-lengths"),
        pytest.param([b"content-length: 0", b"content-length: 0"], id="6.3-the-same-length-twice"),
        pytest.param([b"content-length: 5, 5"], id="6.3-a-list-of-lengths"),
        pytest.param([b"transfer-encoding: gzip"], id="6.1-another-coding"),
        pytest.param([b"transfer-encoding: xchunked"], id="6.1-nearly-chunked"),
        pytest.param([b"transfer-encoding: chunked, gzip"], id="6.1-chunked-not-last"),
        pytest.param([b"transfer-encoding: identity"], id="6.1-no-longer-a-coding"),
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(lines: list[bytes]) -> None:
    try:
        error = parse(*lines).error
    except BadRequest as exc:
        error = exc
    assert isinstance(error, BadRequest)


@pytest.mark.parametrize("lines", [[b"content-length: 0"], [b"content-length: 00"], [b"expect: 100-continue"], []])
def test_a_request_without_a_body_is_no_error(lines: list[bytes]) -> None:
    assert parse(*lines).error is None


def test_rfc9110_7_8_an_offer_to_upgrade_is_ignored() -> None:
    block = parse(b"host: a", b"connection: upgrade", b"upgrade: h2c")
    assert block.error is None


def test_section_3_2_http_1_1_needs_a_host() -> None:
    with pytest.raises(BadRequest):
        parse().check_version(1)


@pytest.mark.parametrize(("lines", "minor"), [([], 0), ([b"host: a"], 0), ([b"host: a"], 1)])
def test_section_3_2_a_host_or_http_1_0(lines: list[bytes], minor: int) -> None:
    parse(*lines).check_version(minor)


@pytest.mark.parametrize(
    ("lines", "closes", "keeps_alive"),
    [
        pytest.param([], False, False, id="9.3-nothing-said"),
        pytest.param([b"connection: close"], True, False, id="9.6-close"),
        pytest.param([b"connection: x, CLOSE"], True, False, id="9.6-in-a-list-in-any-case"),
        pytest.param([b"connection: Keep-Alive"], False, True, id="9.3-keep-alive"),
        pytest.param([b"connection: keep-alive", b"connection: close"], True, True, id="9.3-both"),
        pytest.param([b"connection: closed"], False, False, id="9.6-whole-options-only"),
    ],
)
def test_connection_options(lines: list[bytes], closes: bool, keeps_alive: bool) -> None:
    block = parse(*lines)
    assert (block.closes, block.keeps_alive) == (closes, keeps_alive)


def test_a_block_without_anything_special_is_plain() -> None:
    assert parse(b"host: a", b"user-agent: b", b"accept: */*", b"accept-encoding: gzip").is_plain


@pytest.mark.parametrize(
    "line",
    [
        b"range: bytes=0-1",
        b"if-match: *",
        b"if-none-match: *",
        b"if-modified-since: x",
        b"if-unmodified-since: x",
        b"cache-control: no-cache",
        b"pragma: no-cache",
        b"origin: http://a",
        b"connection: close",
        b"content-length: 5",
    ],
)
def test_a_block_that_bears_on_the_answer_is_not_plain(line: bytes) -> None:
    assert not parse(b"host: a", line).is_plain


def test_a_block_knows_what_its_request_asks() -> None:
    block = parse(b"range: bytes=0-1", b"cache-control: max-age=5", b"if-match: *")
    assert (block.range, block.directives, block.has_conditions) == ("bytes=0-1", RequestDirectives(max_age=5), True)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(b"abc-1", "abc-1", id="sane"),
        pytest.param(b"a" * 128, "a" * 128, id="as-long-as-allowed"),
        pytest.param(b"a" * 129, None, id="too-long"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"a b", None, id="space"),
        pytest.param(b'a"b', None, id="quote"),
        pytest.param(b"<a>", None, id="markup"),
    ],
)
def test_request_id(value: bytes, kept: str | None) -> None:
    assert parse(b"x-request-id: " + value).request_id == kept


# Blocks by their bytes.

BLOCK = b"host: a\r\n"


def test_the_same_bytes_are_parsed_once() -> None:
    blocks = HeaderBlocks()
    first = blocks.parse(BLOCK)
    assert blocks.parse(bytes(bytearray(BLOCK))) is first
    assert blocks.get(BLOCK) is first


def test_a_block_too_long_to_keep_is_not_kept() -> None:
    blocks = HeaderBlocks(max_block_bytes=len(BLOCK) - 1)
    blocks.parse(BLOCK)
    assert blocks.get(BLOCK) is None


def test_never_more_blocks_are_kept_than_allowed() -> None:
    blocks = HeaderBlocks(max_blocks=3)
    all_blocks = [b"x-a: %d\r\n" % number for number in range(10)]
    for block in all_blocks:
        blocks.parse(block)
        assert blocks.get(block) is not None
        assert sum(blocks.get(other) is not None for other in all_blocks) <= 3


def test_a_refused_block_is_not_kept() -> None:
    blocks = HeaderBlocks()
    with pytest.raises(BadRequest):
        blocks.parse(b"bad\r\n")
    assert blocks.get(b"bad\r\n") is None


# Heads out.


@pytest.mark.parametrize(
    ("status", "line"),
    [
        pytest.param(200, b"HTTP/1.1 200 OK\r\n", id="4-known"),
        pytest.param(416, b"HTTP/1.1 416 Range Not Satisfiable\r\n", id="4-416"),
        pytest.param(299, b"HTTP/1.1 299 \r\n", id="4-the-space-stays-without-a-reason"),
    ],
)
def test_status_line(status: int, line: bytes) -> None:
    assert encode_head(status, []) == line


def test_fields_are_written_in_order_without_the_empty_line() -> None:
    head = encode_head(200, [("etag", '"a"'), ("x-a", "1"), ("x-a", "2")])
    assert head == b'HTTP/1.1 200 OK\r\netag: "a"\r\nx-a: 1\r\nx-a: 2\r\n'


def test_bytes_beyond_ascii_are_written_as_they_were_read() -> None:
    assert encode_head(200, [("x-a", "\xc3\xa9")]).endswith(b"x-a: \xc3\xa9\r\n")


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b", "a\r\n\r\n<html>"])
def test_a_value_that_would_split_the_response_goes_with_its_field(value: str) -> None:
    assert encode_head(200, [("x-a", value), ("x-b", "c")]) == b"HTTP/1.1 200 OK\r\nx-b: c\r\n"


def test_no_character_becomes_a_line_break_by_being_encoded() -> None:
    # U+010A and U+010D are LF and CR in their low byte.
    assert encode_head(200, [("x-a", "\u010a\u010d")]) == b"HTTP/1.1 200 OK\r\nx-a: ??\r\n"


def test_a_request_head_ends_with_its_empty_line() -> None:
    assert encode_request("GET", "/a?b", [("host", "c")]) == b"GET /a?b HTTP/1.1\r\nhost: c\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nx: b", "a\nb", "a\rb", "a\0b"])
def test_a_value_that_would_split_the_request_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        encode_request("GET", "/", [("x-a", value)])


# What comes behind a head.

CHUNKED = Headers([("transfer-encoding", "chunked")])


@pytest.mark.parametrize(
    ("data", "is_bad"),
    [
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", False, id="7.1-chunks"),
        pytest.param(b"0\r\n\r\n", False, id="7.1-the-last-chunk"),
        pytest.param(b"fF;a=b\r\n", False, id="7.1.1-extension"),
        pytest.param(b"5", False, id="7.1-not-yet-a-line"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\n", True, id="7.1-a-request"),
        pytest.param(b"5\nhello", True, id="7.1-bare-lf"),
        pytest.param(b"-5\r\n", True, id="7.1-sign"),
        pytest.param(b"0x5\r\n", True, id="7.1-prefix"),
        pytest.param(b"\r\n", True, id="7.1-no-size"),
        pytest.param(b"1" * 17 + b"\r\n", True, id="7.1-a-size-that-overflows"),
    ],
)
def test_bad_chunk(data: bytes, is_bad: bool) -> None:
    assert is_bad_chunk(CHUNKED, data) is is_bad


def test_without_chunks_there_is_no_bad_chunk() -> None:
    assert not is_bad_chunk(Headers(), b"GET / HTTP/1.1\r\n")
