"""The load generator against real servers: what it counts is what they count."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from yatagarasu.bench.cpu import process_tree
from yatagarasu.bench.endpoint import find_endpoint
from yatagarasu.bench.engine import Engine
from yatagarasu.bench.faults import Fault
from yatagarasu.bench.latency import Histogram, highest_of
from yatagarasu.bench.load import Progress, run
from yatagarasu.bench.mix import Item, Items, Keys, Ranges
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes, seed_of
from yatagarasu.bench.plan import Herd, Open, Plan, shares
from yatagarasu.bench.result import Result
from yatagarasu.bench.sockets import tls_context
from yatagarasu.bench.tally import Tally, Timeline
from yatagarasu.bench.worker import draw_asks
from yatagarasu.errors import ConfigError, InternalError

SMALL = Items((Item("/small", 1000, 5),))
LARGE = Items((Item("/large", 2 * 1024 * 1024 + 11, 6),))
SECOND = 1_000_000_000


def plan_for(origin: EmbeddedOrigin, **arguments: Any) -> Plan:
    return Plan(url=f"{origin.endpoint}/b", **{"mix": SMALL, "seconds": 10.0, **arguments})


async def in_workers(plan: Plan, on_progress: Callable[[Progress], None] | None = None) -> Result:
    return await trio.to_thread.run_sync(run, plan, on_progress)


async def in_thread(plan: Plan) -> Result:
    """One worker's engine without its process."""

    def work() -> Tally:
        endpoint = find_endpoint(plan)
        (share,) = shares(plan, 1)
        tls = tls_context(plan) if endpoint.tls_name else None
        engine = Engine(plan, share, endpoint, draw_asks(plan, share, endpoint), tls=tls)
        engine.open()
        return engine.run(time.monotonic_ns())

    return Result(plan, await trio.to_thread.run_sync(work), 1)


def slower_than(histogram: Histogram, ns: int) -> int:
    return sum(count for slot, count in histogram.pairs() if highest_of(slot) > ns)


def all_requests(result: Result) -> list[int]:
    """Answers, body bytes and errors of the whole run, warm-up and drain included."""
    return result.tally.timeline.samples[-1]


async def test_a_count_is_what_the_server_counts_key_by_key(served: EmbeddedOrigin):
    keys = Keys("/k", 300, sizes=((10, 1.0), (70_000, 1.0)), is_sequential=True)
    for number in range(300):
        item = keys.item(number)
        served.store.put_pattern("b", item.path[1:], item.size or 0, seed=item.seed or 0)
    result = await in_workers(plan_for(served, mix=keys, count=300, connections=7, workers=2, check=1.0))
    assert result.workers == 2
    assert Counter(seen.key for seen in served.requests) == Counter({f"k{number}": 1 for number in range(300)})
    assert (result.requests, result.good, result.tally.sent) == (300, 300, 300)
    assert result.tally.statuses == {200: 300}
    assert result.tally.checked == 300
    assert all_requests(result) == [300, served.bytes_sent(), 0]
    assert result.tally.checked_bytes == served.bytes_sent()


async def test_the_origin_on_its_own_has_the_bytes_that_are_checked():
    command = [sys.executable, "-m", "yatagarasu.bench.standalone", "--keys", "b/k=20,3000", "--object", "b/x=70000"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        port = (await process.stdout.receive_some()).decode().strip().rpartition(":")[2]
        arguments: dict[str, Any] = {"url": f"http://127.0.0.1:{port}/b", "count": 20, "check": 1.0}
        for mix in (Keys("/k", 20, sizes=((3000, 1.0),)), Items((Item("/x", 70_000, seed_of("x")),))):
            result = await in_thread(Plan(mix=mix, **arguments))
            assert (result.good, result.tally.checked) == (20, 20)
        nursery.cancel_scope.cancel()


async def test_a_timed_load_with_its_warm_up_is_what_the_server_counts(served: EmbeddedOrigin):
    plan = plan_for(served, seconds=0.4, warmup_seconds=0.3, connections=8, workers=2)
    result = await in_workers(plan)
    assert result.tally.sent == served.request_count()
    assert all_requests(result) == [served.request_count(), served.bytes_sent(), 0]
    assert result.tally.seconds == pytest.approx(0.4, abs=0.1)
    assert 0 < result.requests < served.request_count()
    assert result.tally.statuses == {200: result.requests}
    assert result.tally.first_byte.count == result.tally.latency.count == result.requests
    # In steady state as many end in the window as begin in it, but for those under way at its two ends.
    assert abs(result.tally.answers - result.requests) <= 2 * 8
    assert result.throughput == pytest.approx(result.rate * 1000, rel=0.01)
    assert sum(step[0] for step in result.tally.timeline.steps()) == served.request_count()


async def test_a_herd_asks_once_each_and_sees_first_byte_and_end(served: EmbeddedOrigin):
    served.faults.add(Fault(latency=0.1, bandwidth=20_000_000))
    plan = plan_for(served, mix=LARGE, arrival=Herd(0.2), connections=20, seconds=None)
    result = await in_workers(plan)
    assert served.request_count("large") == result.good == 20
    times = sorted(seen.at for seen in served.requests)
    assert 0.05 < times[-1] - times[0] < 0.4
    first, total = result.tally.first_byte, result.tally.latency
    assert first.percentile(0) >= SECOND // 10
    # The body takes 0.1 s at that bandwidth.
    assert total.percentile(50) - first.percentile(50) > SECOND // 20


async def test_an_open_loop_keeps_its_rate(served: EmbeddedOrigin):
    result = await in_workers(plan_for(served, arrival=Open(400.0, is_poisson=False), seconds=0.5, connections=4))
    assert result.requests + result.tally.unsent == 200
    assert result.tally.service.count == result.good
    assert result.tally.lateness.count > 0


async def test_waiting_for_a_connection_is_no_lateness_of_ours(served: EmbeddedOrigin):
    served.faults.add(Fault(latency=0.05))
    # 60 a second are due, two connections can carry 40.
    arrival = Open(60.0, is_poisson=False)
    result = await in_thread(plan_for(served, arrival=arrival, seconds=0.4, warmup_seconds=0.2, connections=2))
    assert result.tally.latency.percentile(50) > 0.1 * SECOND
    assert result.tally.lateness.max < 0.04 * SECOND
    assert result.requests + result.tally.unsent == 24
    assert result.tally.unsent >= 5


async def test_a_stall_is_felt_by_all_that_were_due_during_it(served: EmbeddedOrigin):
    """What coordinated omission would hide: one slow answer, and 60 that waited behind it."""
    served.faults.add(Fault(latency=0.4), after=50, count=1)
    plan = plan_for(served, arrival=Open(200.0, is_poisson=False), seconds=1.0, connections=1)
    result = await in_thread(plan)
    corrected, uncorrected = result.tally.latency, result.tally.service
    assert result.good + result.tally.unsent == 200
    assert corrected.max > 0.4 * SECOND

    assert slower_than(uncorrected, SECOND // 10) == 1
    # Due every 5 ms: those of the first 0.3 s waited for longer than 0.1 s.
    assert slower_than(corrected, SECOND // 10) >= 55


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(reset_before_head=True), "reset"),
        (Fault(close_before_head=True), "closed"),
        (Fault(garbage=True), "garbage"),
        (Fault(cut_after=100), "short"),
        (Fault(reset_after=0), "reset"),
        (Fault(lying_length=5), "short"),
        (Fault(stall_after=100), "timeout"),
        (Fault(latency=1.0), "timeout"),
        (Fault(status=503), "status"),
        (Fault(status=404, code="NoSuchKey"), "status"),
        (Fault(new_data=b"x" * 1000), "body"),
        (Fault(new_data=b"x" * 999), "length"),
        (Fault(new_data=b"x" * 999, chunked=True), "length"),
        (Fault(new_data=b"x" * 1000, chunked=True), "body"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_fault_has_its_kind_and_the_next_request_is_well(served: EmbeddedOrigin, fault: Fault, kind: str):
    served.faults.add(fault, after=3, count=1)
    plan = plan_for(served, count=6, connections=1, check=1.0, timeout_seconds=0.3)
    later = 0 if fault.new_data is None else 2
    result = await in_thread(plan)
    assert result.tally.errors[kind] == result.failed == (3 if later else 1)
    assert result.good == (3 if later else 5)
    assert served.request_count() == result.tally.sent == 6
    assert all_requests(result)[2] == result.failed


async def test_a_range_that_is_ignored_is_another_status_than_expected(served: EmbeddedOrigin):
    ranges = Ranges((Item("/small", 1000, 5), Item("/large", 2 * 1024 * 1024 + 11, 6)), 300)
    result = await in_thread(plan_for(served, mix=ranges, count=50, check=1.0, connections=3))
    assert (result.good, result.tally.statuses) == (50, {206: 50})
    assert result.tally.checked_bytes == 50 * 300
    served.faults.add(Fault(ignore_range=True))
    result = await in_thread(plan_for(served, mix=ranges, count=5, check=1.0, connections=1))
    assert (result.tally.errors, result.tally.statuses) == ({"status": 5}, {200: 5})


@pytest.mark.parametrize("key", ["small", "large"])
@pytest.mark.parametrize("fault", [Fault(), Fault(chunked=True)], ids=["length", "chunked"])
async def test_one_flipped_byte_is_found_where_bodies_are_checked(served: EmbeddedOrigin, key: str, fault: Fault):
    mix, seed = (SMALL, 5) if key == "small" else (LARGE, 6)
    data = bytearray(pattern_bytes(seed, 0, mix.items[0].size or 0))
    served.faults.add(fault)
    result = await in_thread(plan_for(served, mix=mix, count=4, connections=2, check=1.0))
    assert (result.good, result.tally.checked_bytes) == (4, 4 * len(data))
    data[-7] ^= 1
    served.store.put("b", key, bytes(data))
    result = await in_thread(plan_for(served, mix=mix, count=4, connections=2, check=1.0))
    assert (result.good, result.tally.errors) == (0, {"body": 4})
    unchecked = await in_thread(plan_for(served, mix=mix, count=4, connections=2))
    assert (unchecked.good, unchecked.tally.checked) == (4, 0)
    assert all_requests(unchecked)[1] == 4 * len(data)


async def test_a_sample_of_bodies_is_checked(served: EmbeddedOrigin):
    result = await in_thread(plan_for(served, count=400, connections=4, check=0.25))
    assert 60 <= result.tally.checked <= 140


async def test_head_has_no_body(served: EmbeddedOrigin):
    result = await in_thread(plan_for(served, count=20, connections=2, method="HEAD"))
    assert (result.good, all_requests(result)) == (20, [20, 0, 0])
    assert served.request_count(method="HEAD") == 20


async def test_without_keep_alive_every_request_has_its_connection(served: EmbeddedOrigin):
    result = await in_thread(plan_for(served, count=20, connections=2, is_kept_alive=False))
    assert result.good == 20
    assert [seen.headers.get("connection") for seen in served.requests] == ["close"] * 20


async def test_nothing_there_is_said_at_once(unused_port: int):
    with pytest.raises(ConfigError, match=rf"http://127\.0\.0\.1:{unused_port}.*refused"):
        await in_workers(Plan(url=f"http://127.0.0.1:{unused_port}"))


@pytest.mark.parametrize("url", ["ftp://h/", "no url", "http://", "http://u:p@h/", "http://h:port/"])
def test_what_is_no_target_is_refused(url: str):
    with pytest.raises(ConfigError, match="cannot measure"):
        run(Plan(url=url))


async def test_a_server_that_goes_away_is_counted_without_haste(nursery: trio.Nursery):
    made = EmbeddedOrigin()
    made.store.put_pattern("b", "small", 1000, seed=5)

    inner: trio.Nursery

    async def serve(task_status: trio.TaskStatus[int]) -> None:
        nonlocal inner
        async with trio.open_nursery() as inner:
            task_status.started(await inner.start(made.serve))

    def stop(progress: Progress) -> None:
        if progress.answers:
            trio.from_thread.run_sync(inner.cancel_scope.cancel)

    await nursery.start(serve)
    result = await in_workers(plan_for(made, seconds=1.0, connections=2, workers=1), stop)
    assert result.tally.errors["connect"] > 10
    assert result.failed < 2 + 2 * 1.0 / 0.02 + 2
    assert result.good + result.tally.errors["closed"] + result.tally.errors["reset"] <= result.tally.sent


async def test_progress_rises_to_all(served: EmbeddedOrigin):
    told: list[Progress] = []
    result = await in_workers(plan_for(served, seconds=0.5, connections=4, workers=2), told.append)
    assert len(told) >= 3
    assert [progress.answers for progress in told] == sorted(progress.answers for progress in told)
    assert 0 < told[-1].answers <= all_requests(result)[0]
    assert told[-1].total_seconds == 0.5


async def test_what_ends_a_run_early_ends_its_workers(served: EmbeddedOrigin):
    before = set(process_tree(os.getpid()))

    def give_up(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await in_workers(plan_for(served, workers=2), give_up)
    assert set(process_tree(os.getpid())) == before
    with trio.fail_after(5):
        while served.connections:
            await trio.sleep(0.01)


async def test_a_worker_that_dies_is_an_error_with_a_name(served: EmbeddedOrigin):
    before = set(process_tree(os.getpid()))

    def kill(progress: Progress) -> None:
        for pid in set(process_tree(os.getpid())) - before:
            os.kill(pid, 9)

    with pytest.raises(InternalError, match="a worker of the load generator has died"):
        await in_workers(plan_for(served, workers=1), kill)


async def test_the_servers_cpu_is_measured_and_workers_keep_off_its_core(served: EmbeddedOrigin):
    result = await in_workers(plan_for(served, seconds=0.6, server_pids=(os.getpid(),)))
    assert result.server_share is not None
    assert 0.1 < result.server_share < 1.3
    assert 0.05 < result.generator_share < 1.1


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def answer(stream: trio.abc.Stream) -> None:
    """A server that answers every request with the small object's bytes."""
    body = pattern_bytes(5, 0, 1000)
    with contextlib.suppress(trio.BrokenResourceError):
        buffer = b""
        while data := await stream.receive_some():
            buffer += data
            while b"\r\n\r\n" in buffer:
                _, _, buffer = buffer.partition(b"\r\n\r\n")
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + body)


async def test_https(nursery: trio.Nursery, tmp_path: Path):
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    open_server = partial(trio.serve_ssl_over_tcp, host="127.0.0.1", https_compatible=True)
    (listener,) = await nursery.start(open_server, answer, 0, context)
    port = listener.transport_listener.socket.getsockname()[1]
    arguments: dict[str, Any] = {"mix": SMALL, "count": 40, "connections": 3, "check": 1.0}
    url = f"https://localhost:{port}"
    result = await in_workers(Plan(url=url, ca_file=str(tmp_path / "ca.pem"), workers=1, **arguments))
    assert (result.good, result.tally.checked) == (40, 40)
    result = await in_thread(Plan(url=url, **arguments | {"count": 4}))
    assert result.tally.errors == {"tls": 4}
    result = await in_thread(Plan(url=url, is_insecure=True, **arguments))
    assert result.good == 40


async def test_a_missing_ca_file_is_named(served: EmbeddedOrigin):
    plan = plan_for(served, ca_file="missing.pem")
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        await in_workers(Plan(url=plan.url.replace("http:", "https:"), ca_file="missing.pem"))


async def test_a_unix_socket(nursery: trio.Nursery, tmp_path: Path):
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(str(tmp_path / "s"))
    sock.listen(16)
    nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
    plan = Plan(url="http://any/b", unix_path=str(tmp_path / "s"), mix=SMALL, count=40, connections=3, check=1.0)
    result = await in_workers(plan)
    assert (result.good, result.tally.checked) == (40, 40)


def result_with(generator: float, core: float, server: float | None) -> Result:
    tally = Tally(seconds=10.0, cpu_seconds=generator * 20, core_seconds=core * 20, answers=500, body_bytes=1000)
    return Result(Plan(url="http://h"), tally, workers=2, server_share=server)


@pytest.mark.parametrize(
    ("generator", "core", "server", "limit"),
    [
        (0.95, 0.95, 0.5, "generator"),
        (0.5, 0.97, 0.5, "core"),
        (0.95, 0.95, None, "generator"),
        (0.95, 0.95, 0.97, "server"),
        (0.5, 0.5, 0.97, "server"),
        (0.5, 0.6, 0.5, None),
        (0.5, 0.6, None, None),
    ],
)
def test_who_was_the_limit(generator: float, core: float, server: float | None, limit: str | None):
    found = result_with(generator, core, server)
    assert found.limit == limit
    assert (found.rate, found.throughput) == (50.0, 100.0)
    assert found.to_dict()["limit"] == limit


def test_a_timeline_stays_small_and_loses_nothing():
    made = Timeline(0.1)
    for number in range(1, 100_001):
        made.append(number, number * 10, 0)
    assert len(made.samples) <= 1024
    assert sum(step[0] for step in made.steps()) == 100_000
    assert len({step for step in made.steps()[:-1]}) == 1
    assert made.width * len(made.samples) == pytest.approx(10_000, rel=0.01)


def test_timelines_add_up_though_one_is_coarser_and_one_shorter():
    fine = Timeline(0.1, [[1, 10, 0], [2, 20, 0], [3, 30, 1]])
    coarse = Timeline(0.2, [[5, 50, 0], [6, 60, 0], [9, 90, 0]])
    fine.add(coarse)
    assert fine.width == 0.2
    assert fine.samples == [[7, 70, 0], [9, 90, 1], [12, 120, 1]]
    assert fine.steps() == [(7, 70, 0), (2, 20, 1), (3, 30, 0)]


def test_a_tally_travels_as_json():
    tally = Tally(sent=3, statuses=Counter({200: 2}), errors=Counter({"short": 1}), seconds=1.5)
    tally.latency.record(5_000_000, 2)
    tally.timeline.append(2, 100, 1)
    again = Tally.from_dict(tally.to_dict())
    assert again.to_dict() == tally.to_dict()
    assert again.latency == tally.latency


async def test_a_piece_as_long_as_an_answer_elsewhere_is_no_answer(nursery: trio.Nursery):
    """Pieces that nobody checks are dropped by the kernel: what the buffer shows is another connection's answer."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500

    async def serve(stream: trio.SocketStream) -> None:
        request = await stream.receive_some()
        if not request:  # Somebody who only looked whether anybody is there.
            return
        if b"/small" in request:
            await trio.sleep(0.05)
            await stream.send_all(whole)
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % (1 + 3 * len(whole)))
        for _ in range(3):
            await trio.sleep(0.1)
            await stream.send_all(whole)

    (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
    port = listener.socket.getsockname()[1]
    mix = Items((Item("/large"), Item("/small")))
    result = await in_thread(Plan(url=f"http://127.0.0.1:{port}", mix=mix, connections=2, count=2, seconds=None))
    assert (result.good, result.failed) == (2, 0)
    assert all_requests(result)[1] == 500 + 1 + 3 * len(whole)
    assert result.tally.latency.max > 0.25 * SECOND
