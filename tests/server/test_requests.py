"""Requests over real sockets: HTTP/1.1 as clients speak it, and what routing makes of targets."""

import json

import pytest
import trio

from tests.server.conftest import Proxy

GET = b"GET /b/k HTTP/1.1\r\nHost: x\r\n"


async def test_keep_alive_answers_several_requests(proxy: Proxy):
    answer = await proxy.raw(GET + b"\r\n" + GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"0123456789")


async def test_a_pipeline_is_answered_in_order(proxy: Proxy):
    proxy.store.put("bkt", "slow", b"slow")
    requests = [b"GET /b/%s HTTP/1.1\r\nHost: x\r\n\r\n" % key for key in (b"k", b"slow", b"k", b"nope", b"k")]
    requests.append(b"HEAD /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await proxy.raw(b"".join(requests))
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 200, 404, 200, 200]


async def test_head_has_the_fields_and_no_body(proxy: Proxy):
    status, fields, body = await proxy.get("/b/k", method="HEAD")
    assert (status, fields["content-length"], body) == (200, "10", b"")


async def test_http_1_0_closes_unless_asked_to_stay(proxy: Proxy):
    answer = await proxy.raw(b"GET /b/k HTTP/1.0\r\n\r\n")
    assert b"connection: close" in answer
    kept = b"GET /b/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = await proxy.raw(kept + b"GET /b/k HTTP/1.0\r\n\r\n")
    assert answer.count(b"200 OK") == 2
    assert b"connection: keep-alive" in answer


async def test_a_client_that_half_closes_gets_its_answer(proxy: Proxy):
    proxy.store.put_pattern("bkt", "large", 5_000_000)
    answer = await proxy.raw(b"GET /b/large HTTP/1.1\r\nHost: x\r\n\r\n", half_closes=True)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 5_000_000


async def test_expect_continue_without_a_body_is_just_answered(proxy: Proxy):
    assert (await proxy.get("/b/k", "Expect: 100-continue"))[0] == 200
    assert (await proxy.get("/b/k", "Expect: the-unexpected"))[0] == 417


async def test_one_empty_line_before_a_request_is_forgiven(proxy: Proxy):
    answer = await proxy.raw(b"\r\n" + GET + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("is_known", [False, True])
async def test_so_is_one_between_requests_but_not_two(proxy: Proxy, is_known: bool):
    if is_known:
        await proxy.raw(GET + b"\r\n", half_closes=True)
    one = (GET + b"\r\n\r\n") * 3
    assert (await proxy.raw(one, half_closes=True)).count(b"HTTP/1.1 200 ") == 3
    answer = await proxy.raw(GET + b"\r\n\r\n\r\n" + GET + b"\r\n")
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_head_request_that_is_refused_is_told_so_without_a_body(proxy: Proxy, method: str):
    answer = await proxy.raw(f"{method} /b/k HTTP/1.1\r\nHost: x\r\nX: {'y' * 20_000}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.endswith(b"\r\n\r\n") is (method == "HEAD")


async def test_a_method_in_lower_case_is_another_method(proxy: Proxy):
    """However its bytes come: it is well-formed, and no method that we have (RFC 9110, section 9.1)."""
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        for piece in (b"get", b" /b/k HTTP/1.1\r\n", b"Host: x\r\n\r\n"):
            await stream.send_all(piece)
            await trio.sleep(0.01)
        assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 405 ")


async def test_a_request_may_come_byte_by_byte(proxy: Proxy):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        for byte in GET + b"\r\n":
            await stream.send_all(bytes((byte,)))
            await trio.lowlevel.checkpoint()
        assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/b/a%20b", "a b"),
        ("/b/a+b", "a+b"),
        ("/b/a%2Bb", "a+b"),
        ("/b/a%2Fb", "a/b"),
        ("/b/a%252Fb", "a%2Fb"),
        ("/b/%E7%83%8F", "烏"),
        ("/b/a//b", "a//b"),
        ("/b//a", "/a"),
        ("/b/a[1]{2}|", "a[1]{2}|"),
        ("/b/a...b/.hidden", "a...b/.hidden"),
        ("/b/a?x=1&versionId=", "a"),
        ("/b/a;b=c:@&$,!'()*~", "a;b=c:@&$,!'()*~"),
    ],
)
async def test_keys_are_taken_literally_after_one_decoding(proxy: Proxy, target, key):
    proxy.store.put("bkt", key, b"found it")
    assert (await proxy.get(target))[2] == b"found it"
    assert proxy.origin.requests[-1].key == key


@pytest.mark.parametrize(
    "target",
    [
        "/b/../b/k",
        "/b/./k",
        "/b/%2e%2e/k",
        "/b/%2E/k",
        "/b/a/..",
        "/b/a%2F..%2Fk",
        "/b/%zz",
        "/b/%00",
        "/b/%0a",
        "/b/%ff",
    ],
)
async def test_ambiguous_paths_are_refused(proxy: Proxy, target):
    status, _, body = await proxy.get(target)
    assert status == 400
    assert b"<Code>BadRequest</Code>" in body
    assert proxy.origin.request_count() == 0


async def test_unknown_routes_are_404(proxy: Proxy):
    for target in ("/", "/bb/k", "/other"):
        status, _, body = await proxy.get(target)
        assert status == 404
        assert b"<Code>NoSuchRoute</Code>" in body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "PURGE", "CONNECT"])
async def test_other_methods_are_405(proxy: Proxy, method):
    status, fields, _ = await proxy.get("/b/k", method=method)
    assert status == 405
    assert fields["allow"] == "GET, HEAD, OPTIONS"


async def test_errors_are_xml_or_json_with_the_request_id(proxy: Proxy):
    _, fields, body = await proxy.get("/b/nope", "X-Request-Id: abc-123")
    assert fields["x-request-id"] == "abc-123"
    assert b"<RequestId>abc-123</RequestId>" in body
    _, fields, body = await proxy.get("/b/nope", "Accept: application/json")
    assert json.loads(body)["error"]["code"] == "NoSuchKey"
    assert json.loads(body)["error"]["request_id"] == fields["x-request-id"]


async def test_an_insane_request_id_is_not_kept(proxy: Proxy):
    _, fields, _ = await proxy.get("/b/k", "X-Request-Id: a b<c>")
    assert fields["x-request-id"] != "a b<c>"


async def test_cors(proxy: Proxy):
    status, fields, _ = await proxy.get(
        "/b/k", "Origin: https://app.example", "Access-Control-Request-Method: GET", method="OPTIONS"
    )
    assert (status, fields["access-control-allow-origin"]) == (200, "https://app.example")
    status, _, _ = await proxy.get(
        "/b/k", "Origin: https://evil.example", "Access-Control-Request-Method: GET", method="OPTIONS"
    )
    assert status == 403
    for _ in range(2):
        _, fields, _ = await proxy.get("/b/k", "Origin: https://app.example")
        assert fields["access-control-allow-origin"] == "https://app.example"
        assert "Origin" in fields["vary"]
    _, fields, _ = await proxy.get("/b/k")
    assert "access-control-allow-origin" not in fields
    assert fields["vary"] == "Origin"


async def test_options_star_and_probes(proxy: Proxy):
    assert (await proxy.get("*", method="OPTIONS"))[0] == 200
    assert (await proxy.get("/health"))[0] == 200
    assert (await proxy.get("/ready"))[0] == 200
    assert (await proxy.get("/metrics"))[0] == 404


async def test_only_object_parameters_reach_the_origin_and_the_key(proxy: Proxy):
    await proxy.get("/b/k?utm=1")
    assert (await proxy.get("/b/k?utm=2"))[1]["x-cache"] == "HIT"
    assert (await proxy.get("/b/k?response-content-type=text%2Fx"))[1]["x-cache"] == "MISS"


async def test_a_listing_is_scoped_and_never_cached(proxy: Proxy):
    status, _, body = await proxy.get("/b?list-type=2&prefix=k")
    assert status == 200
    assert b"<Name>b</Name>" in body
    assert b"<Key>k</Key>" in body
    assert (await proxy.get("/b/?list-type=2"))[0] == 200
    assert (await proxy.get("/b?acl"))[0] == 400
    assert proxy.origin.request_count() == 2


async def test_the_access_log_tells_each_request(proxy: Proxy):
    await proxy.get("/b/k", 'User-Agent: a"b', "X-Request-Id: one")
    await proxy.get("/b/nope", "X-Request-Id: two")
    proxy.system.access_log.flush()
    lines = [json.loads(line) for line in b"".join(proxy.access).splitlines()]
    assert [(line["request_id"], line["status"], line["bytes"], line["cache"]) for line in lines] == [
        ("one", 200, 10, "miss"),
        ("two", 404, lines[1]["bytes"], "miss"),
    ]
    assert lines[0]["user_agent"] == 'a"b'
    assert lines[0]["key"] == "k"


async def test_a_client_that_never_stops_sending_is_answered_and_starves_nobody(proxy: Proxy):
    await proxy.get("/b/k")
    count = 20_000
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
    received = 0

    async def read() -> None:
        nonlocal received
        mark, tail = b"HTTP/1.1 200 OK", b""
        while received < count:
            data = await stream.receive_some(1024 * 1024)
            assert data
            received += (tail + data).count(mark)
            tail = (tail + data)[-len(mark) + 1 :]

    with trio.fail_after(30):
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(stream.send_all, (GET + b"\r\n") * count)
            for _ in range(5):
                assert (await proxy.get("/b/k"))[0] == 200
    assert received >= count
