"""The herds of `tests/proxy/test_herds.py` over real sockets, against the embedded origin's faults.

Counts and bytes are exact; times are shown in the README from `tests/benchmarks/herds.py`, never asserted.
"""

import random
from dataclasses import dataclass

import pytest
import trio

from tests.server.conftest import Proxy, run_proxy
from yatagarasu.bench.faults import Fault
from yatagarasu.bench.pattern import pattern_bytes

MB = 1_000_000


@dataclass
class Download:
    """What one client got: `is_whole` as the framing says it."""

    status: int = 0
    body: bytes = b""
    is_whole: bool = False


async def download(port: int, target: str, *fields: str, leaves_after: float | None = None) -> Download:
    got = Download()
    with trio.move_on_after(float("inf") if leaves_after is None else leaves_after):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
            await stream.send_all("\r\n".join(lines).encode())
            data = bytearray()
            try:
                while chunk := await stream.receive_some(256 * 1024):
                    data += chunk
            except trio.BrokenResourceError:
                return got
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        got.status, got.body = int(head[9:12]), body
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        got.is_whole = len(body) == length
    return got


async def herd(proxy: Proxy, count: int, target: str, *, apart: float = 0.0) -> list[Download]:
    results = [Download() for _ in range(count)]

    async def one(index: int) -> None:
        await trio.sleep(apart * index)
        results[index] = await download(proxy.port, target)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for index in range(count):
                nursery.start_soon(one, index)
    return results


async def settle(proxy: Proxy) -> None:
    """Nothing is left (F12)."""
    with trio.fail_after(5):
        while not proxy.system.coalescer.is_idle or proxy.system.reactor.connections:
            await trio.sleep(0.05)


def whole(results: list[Download], data: bytes) -> int:
    return sum(got.is_whole and got.status == 200 and got.body == data for got in results)


async def test_two_hundred_clients_one_request(proxy: Proxy):
    data = random.Random(1).randbytes(10_240)
    proxy.store.put("bkt", "cold", data)
    proxy.faults.add(Fault(latency=0.2))
    assert whole(await herd(proxy, 200, "/b/cold"), data) == 200
    assert proxy.origin.request_count("cold") == 1
    await settle(proxy)


async def test_followers_of_a_slow_body_share_it(proxy: Proxy):
    proxy.store.put_pattern("bkt", "slow", 2 * MB)
    proxy.faults.add(Fault(bandwidth=4 * MB))
    assert whole(await herd(proxy, 50, "/b/slow", apart=0.005), pattern_bytes(0, 0, 2 * MB)) == 50
    assert proxy.origin.request_count("slow") == 1
    await settle(proxy)


@pytest.mark.parametrize("fault", ["cut_after", "reset_after"])
@pytest.mark.parametrize("times", [1, 3])
async def test_broken_connections_cost_no_client_its_download(proxy: Proxy, fault: str, times: int):
    proxy.store.put_pattern("bkt", "cut", 4 * MB)
    proxy.faults.add(Fault(**{fault: 1 * MB}), count=times)
    assert whole(await herd(proxy, 50, "/b/cut"), pattern_bytes(0, 0, 4 * MB)) == 50
    assert proxy.origin.request_count("cut") == times + 1
    if fault == "cut_after":
        assert proxy.origin.bytes_sent("cut") <= 4.1 * MB
    await settle(proxy)


async def test_a_stall_is_resumed():
    async with run_proxy(coalescing={"stall_timeout": "500ms"}) as proxy:
        proxy.store.put_pattern("bkt", "stall", 4 * MB)
        proxy.faults.add(Fault(stall_after=1 * MB), count=1)
        assert whole(await herd(proxy, 50, "/b/stall"), pattern_bytes(0, 0, 4 * MB)) == 50
        assert proxy.origin.request_count("stall") == 2
        await settle(proxy)


async def test_the_first_client_leaving_costs_nobody_anything(proxy: Proxy):
    data = random.Random(1).randbytes(10_240)
    proxy.store.put("bkt", "left", data)
    proxy.faults.add(Fault(latency=0.3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: download(proxy.port, "/b/left", leaves_after=0.1))
        await trio.sleep(0.02)
        assert whole(await herd(proxy, 49, "/b/left"), data) == 49
    assert proxy.origin.request_count("left") == 1
    await settle(proxy)


async def test_one_503_is_nobodys_problem(proxy: Proxy):
    data = random.Random(1).randbytes(10_240)
    proxy.store.put("bkt", "k503", data)
    proxy.faults.add(Fault(status=503), count=1)
    assert whole(await herd(proxy, 50, "/b/k503"), data) == 50
    assert proxy.origin.request_count("k503") == 2
    await settle(proxy)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(status=503), 503),
        (Fault(status=500), 502),
        (Fault(reset_before_head=True), 502),
        (Fault(close_before_head=True), 502),
        (Fault(garbage=True), 502),
        (Fault(huge_head=True), 502),
    ],
    ids=["503", "500", "reset", "close", "garbage", "huge head"],
)
async def test_a_failing_origin_answers_everybody_alike(proxy: Proxy, fault: Fault, status: int):
    proxy.store.put("bkt", "down", b"never seen")
    proxy.faults.add(fault)
    results = await herd(proxy, 50, "/b/down")
    assert {got.status for got in results} == {status}
    assert all(got.is_whole for got in results)
    assert proxy.origin.request_count("down") <= 3
    await settle(proxy)


async def test_private_answers_are_not_queued(proxy: Proxy):
    data = random.Random(1).randbytes(10_240)
    proxy.store.put("bkt", "private", data, headers={"cache-control": "private"})
    proxy.faults.add(Fault(latency=0.1))
    for _ in range(2):
        assert whole(await herd(proxy, 50, "/b/private"), data) == 50
    assert proxy.origin.request_count("private") == 100
    await settle(proxy)


async def test_an_object_replaced_under_a_cut_is_never_mixed(proxy: Proxy):
    old, new = random.Random(1).randbytes(4 * MB), random.Random(2).randbytes(4 * MB)
    proxy.store.put("bkt", "swap", old)
    proxy.faults.add(Fault(cut_after=1 * MB, new_data=new, replace_after=MB // 2), count=1)
    for got in await herd(proxy, 50, "/b/swap"):
        assert not got.is_whole or got.body in (old, new)
        assert old.startswith(got.body) or new.startswith(got.body)
    assert whole(await herd(proxy, 5, "/b/swap"), new) == 5
    await settle(proxy)


@pytest.mark.parametrize(
    "fault",
    [Fault(lying_length=1000), Fault(lying_length=-1000), Fault(chunked=True), Fault(chunked=True, cut_after=50_000)],
    ids=["too long", "too short", "chunked", "chunked cut"],
)
async def test_bodies_of_doubtful_length_are_whole_or_cut(proxy: Proxy, fault: Fault):
    proxy.store.put_pattern("bkt", "lies", 100_000)
    proxy.faults.add(fault, count=1)
    answer = await proxy.raw(b"GET /b/lies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    expected = pattern_bytes(0, 0, 100_000)
    if b"chunked" in head:
        decoded = bytearray()
        while body and not body.startswith(b"0\r\n"):
            size, _, rest = body.partition(b"\r\n")
            decoded += rest[: int(size, 16)]
            body = rest[int(size, 16) + 2 :]
        assert (bytes(decoded) == expected) if body == b"0\r\n\r\n" else expected.startswith(decoded)
    else:
        promised = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        assert promised == 100_000 + fault.lying_length
        assert expected.startswith(body)
        assert len(body) <= promised
    await settle(proxy)


async def test_fifty_ranges_bring_each_byte_once(proxy: Proxy):
    size = 8 * 1024 * 1024
    proxy.store.put_pattern("bkt", "ranged", size)
    proxy.faults.add(Fault(latency=0.05))
    starts = [index * (size - 65_536) // 49 for index in range(50)]
    results: dict[int, Download] = {}

    async def one(start: int) -> None:
        results[start] = await download(proxy.port, "/b/ranged", f"Range: bytes={start}-{start + 65_535}")

    async with trio.open_nursery() as nursery:
        for start in starts:
            nursery.start_soon(one, start)
    for start, got in results.items():
        assert got.status == 206
        assert got.body == pattern_bytes(0, start, start + 65_536)
    assert proxy.origin.request_count("ranged") <= 9
    assert proxy.origin.bytes_sent("ranged") == size
    await settle(proxy)
