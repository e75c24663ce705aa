"""The embedded origin: S3's behaviour through boto3's eyes is in tests/e2e; here its faults, byte for byte."""

import pytest
import trio

from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.store import pattern_bytes

DATA = bytes(range(250)) * 40


@pytest.fixture
async def origin(nursery):
    made = EmbeddedOrigin()
    made.store.put("bkt", "k", DATA, content_type="text/x")
    made.store.put_pattern("bkt", "p", 200_000, seed=3)
    await nursery.start(made.serve)
    return made


async def raw(origin: EmbeddedOrigin, target: str, *fields: str, method: str = "GET") -> bytes:
    """What comes until the origin closes, or is silent for a tenth of a second."""
    stream = await trio.open_tcp_stream("127.0.0.1", origin.port)
    answer = bytearray()
    async with stream:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", *fields, "", ""]
        await stream.send_all("\r\n".join(lines).encode())
        with trio.move_on_after(0.1):
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
    ids=str,
)
async def test_faults(origin, fault, check):
    origin.faults.add(fault, key="k", count=1)
    assert check(await raw(origin, "/bkt/k"))
    if fault.new_data is None:
        assert (await raw(origin, "/bkt/k")).endswith(DATA)


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
    answer = await raw(origin, "/bkt/k", "Connection: close")
    assert trio.current_time() - began >= len(answer) / 200_000
