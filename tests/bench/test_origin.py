"""The embedded origin: S3's behaviour through boto3's eyes is in tests/e2e; here its faults, byte for byte."""

import pytest
import trio

from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes

DATA = bytes(range(250)) * 40


@pytest.fixture
async def origin(nursery):
    made = EmbeddedOrigin()
    made.store.put("bkt", "k", DATA, content_type="text/x")
    made.store.put_pattern("bkt", "p", 200_000, seed=3)
    await nursery.start(made.serve)
    return made


async def exchange(origin: EmbeddedOrigin, sent: bytes) -> bytes:
    """What comes for `sent` until the origin closes, which it must."""
    stream = await trio.open_tcp_stream("127.0.0.1", origin.port)
    async with stream:
        await stream.send_all(sent)
        with trio.fail_after(5):
            return b"".join([chunk async for chunk in stream])


async def raw(origin: EmbeddedOrigin, target: str, *fields: str, method: str = "GET", wait_seconds: float = 5) -> bytes:
    """What comes until the origin closes, as it is asked to, or until `wait_seconds` are over."""
    stream = await trio.open_tcp_stream("127.0.0.1", origin.port)
    answer = bytearray()
    async with stream:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
        await stream.send_all("\r\n".join(lines).encode())
        with trio.move_on_after(wait_seconds):
            try:
                async for chunk in stream:
                    answer += chunk
            except trio.BrokenResourceError:
                return bytes(answer) + b"<reset>"
    return bytes(answer)


async def test_objects_ranges_and_patterns(origin):
    assert (await raw(origin, "/bkt/k")).endswith(DATA)
    assert (await raw(origin, "/bkt/k", "Range: bytes=10-19")).endswith(b"\r\n\r\n" + DATA[10:20])
    assert (await raw(origin, "/bkt/k", "Range: bytes=-5")).endswith(b"\r\n\r\n" + DATA[-5:])
    assert b"416" in (await raw(origin, "/bkt/k", "Range: bytes=99999-"))[:20]
    assert (await raw(origin, "/bkt/p", "Range: bytes=65530-65545")).endswith(pattern_bytes(3, 65_530, 65_546))
    assert origin.bytes_sent("k") == len(DATA) + 15


@pytest.mark.parametrize("path", ["/bkt/../k", "/bkt/%2e%2e/k", "/bkt/%zz", "/bkt/%ff", "/bkt/%00"])
async def test_a_path_that_is_no_key_is_refused_and_seen(origin, path):
    answer = await raw(origin, path)
    assert b" 400 " in answer[:16]
    assert b"<Code>InvalidURI</Code>" in answer
    assert [(seen.bucket, seen.key, seen.status) for seen in origin.requests] == [("", path, 400)]
    assert b" 200 " in (await raw(origin, "/bkt/k"))[:16]


async def test_a_body_is_never_the_next_request(origin):
    hidden = b"GET /bkt/k HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"PUT /bkt/new HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    answer = await exchange(origin, head.encode() + hidden)
    assert b" 405 " in answer[:16]
    assert b"allow: GET, HEAD\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert origin.request_count("k") == 0


@pytest.mark.parametrize(
    "request_head",
    [b"GET /bkt/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /bkt/k HTTP/1.0\r\n\r\n"],
    ids=["connection: close", "HTTP/1.0"],
)
async def test_a_connection_ends_where_the_client_asks_for_it(origin, request_head):
    answer = await exchange(origin, request_head)
    assert b"connection: close\r\n" in answer
    assert answer.endswith(DATA)


async def test_pipelined_requests_are_answered_in_order(origin):
    first = b"GET /bkt/k HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\n\r\n"
    second = b"GET /bkt/k HTTP/1.1\r\nHost: x\r\nRange: bytes=10-10\r\nConnection: close\r\n\r\n"
    answer = await exchange(origin, first + second)
    assert answer.index(b"bytes 0-0/") < answer.index(b"bytes 10-10/")


async def test_the_host_may_name_the_bucket(origin):
    answer = await exchange(origin, b"GET /k HTTP/1.1\r\nHost: bkt.s3.test:80\r\nConnection: close\r\n\r\n")
    assert answer.endswith(DATA)
    assert (origin.requests[-1].bucket, origin.requests[-1].key) == ("bkt", "k")


async def test_response_fields_are_not_overridden_for_the_anonymous(origin):
    answer = await raw(origin, "/bkt/k?response-content-type=a%2Fb")
    assert b"<Code>InvalidRequest</Code>" in answer


async def test_an_override_cannot_end_the_head(origin):
    """Response splitting: a decoded line break must not become a field of its own."""
    target = "/bkt/k?response-content-type=a%0d%0aevil:%201&response-expires=never"
    answer = await raw(origin, target, "Authorization: any")
    assert b"expires: never\r\n" in answer
    assert b"evil" not in answer


async def test_a_key_put_between_two_pages_brings_no_prefix_back(origin):
    for key in ("l/a/1", "l/b"):
        origin.store.put("bkt", key, b"")
    query = "/bkt?list-type=2&prefix=l/&delimiter=/&max-keys=1"
    first = await raw(origin, query)
    assert b"<Prefix>l/a/</Prefix>" in first
    assert b"<NextContinuationToken>l/a/1</NextContinuationToken>" in first
    origin.store.put("bkt", "l/a/2", b"")
    second = await raw(origin, f"{query}&continuation-token=l/a/1")
    assert b"<Prefix>l/a/</Prefix>" not in second
    assert b"<Key>l/b</Key>" in second


async def test_a_signature_is_asked_for_where_keys_are_set(nursery):
    made = EmbeddedOrigin(credentials={"AK": "SK"})
    made.store.put("bkt", "k", DATA)
    await nursery.start(made.serve)
    assert b"<Code>AccessDenied</Code>" in await raw(made, "/bkt/k")


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Fault(status=503, retry_after=7), lambda answer: b" 503 " in answer and b"retry-after: 7" in answer),
        (Fault(reset_before_head=True), lambda answer: answer == b"<reset>"),
        (Fault(close_before_head=True), lambda answer: answer == b""),
        (Fault(garbage=True), lambda answer: answer and not answer.startswith(b"HTTP")),
        (Fault(huge_head=True), lambda answer: len(answer) > 200_000),
        (Fault(cut_after=100), lambda answer: answer.endswith(b"\r\n\r\n" + DATA[:100])),
        (Fault(reset_after=100), lambda answer: answer.endswith(b"<reset>")),
        (Fault(stall_after=100), lambda answer: answer.endswith(b"\r\n\r\n" + DATA[:100])),
        (Fault(missing_etag=True), lambda answer: b"etag" not in answer),
        (Fault(weak_etag=True), lambda answer: b'etag: W/"' in answer),
        (Fault(lying_length=5), lambda answer: b"content-length: 10005" in answer),
        (Fault(chunked=True), lambda answer: b"chunked" in answer and answer.endswith(b"\r\n0\r\n\r\n")),
        (Fault(headers=[("cache-control", "private")]), lambda answer: b"cache-control: private" in answer),
        (Fault(new_data=b"new"), lambda answer: answer.endswith(b"\r\n\r\nnew")),
    ],
    ids=[f"fault {number}" for number in range(14)],
)
async def test_faults(origin, fault, check):
    origin.faults.add(fault, key="k", count=1)
    assert check(await raw(origin, "/bkt/k", wait_seconds=5 if fault.stall_after is None else 0.1))
    if fault.new_data is None:
        assert (await raw(origin, "/bkt/k")).endswith(DATA)


async def test_the_etag_can_be_wrong(origin):
    right = origin.store.get("bkt", "k").etag.encode()
    origin.faults.add(Fault(wrong_etag=True), count=1)
    assert right not in await raw(origin, "/bkt/k", method="HEAD")
    assert right in await raw(origin, "/bkt/k", method="HEAD")


async def test_an_object_can_change_under_its_download(origin):
    """The answer under way goes on with the old bytes; the next has the new."""
    origin.faults.add(Fault(new_data=b"new", replace_after=1), count=1)
    assert (await raw(origin, "/bkt/k")).endswith(DATA)
    assert (await raw(origin, "/bkt/k")).endswith(b"\r\n\r\nnew")


async def test_range_faults(origin):
    origin.faults.add(Fault(ignore_range=True), count=1)
    assert (await raw(origin, "/bkt/k", "Range: bytes=0-9")).endswith(DATA)
    origin.faults.add(Fault(wrong_content_range=True), count=1)
    assert b"content-range: bytes 7-16/10007" in await raw(origin, "/bkt/k", "Range: bytes=0-9")


async def test_a_script_counts_and_chooses(origin):
    origin.faults.add(Fault(status=500), key="k", method="HEAD", after=1, count=1)
    statuses = [(await raw(origin, "/bkt/k", method="HEAD"))[9:12] for _ in range(3)]
    assert statuses == [b"200", b"500", b"200"]
    assert b" 200 " in (await raw(origin, "/bkt/p"))[:20]


async def test_slow_faults_take_their_time(origin):
    origin.faults.add(Fault(latency=0.05), count=1)
    began = trio.current_time()
    await raw(origin, "/bkt/k")
    assert trio.current_time() - began >= 0.05
    origin.faults.add(Fault(bandwidth=100_000), count=1)
    began = trio.current_time()
    answer = await raw(origin, "/bkt/k")
    assert trio.current_time() - began >= len(answer) / 200_000
    origin.faults.add(Fault(slow_head=0.001), count=1)
    began = trio.current_time()
    await raw(origin, "/bkt/k")
    assert trio.current_time() - began >= 0.2


async def test_a_stalled_answer_keeps_its_connection_until_the_client_goes(origin):
    origin.faults.add(Fault(stall_after=10), count=1)
    stream = await trio.open_tcp_stream("127.0.0.1", origin.port)
    async with stream:
        await stream.send_all(b"GET /bkt/k HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(5):
            while origin.bytes_sent("k") < 10:
                await stream.receive_some()
        assert origin.connections == 1
    with trio.fail_after(5):
        while origin.connections:
            await trio.sleep(0.001)
