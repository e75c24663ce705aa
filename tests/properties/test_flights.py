"""Readers and flights under generated scripts: exact bytes, one flight per hole, nothing left behind."""

import random
from dataclasses import dataclass

import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin, etag_of
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import OriginBroken, OriginUnreachable
from yatagarasu.proxy.fetch import FlightSettings

KIB = 1024
# Two blocks of 64 KiB and a bit, above and below the memory limit of the rig.
SIZES = (0, 1, 5_000, 64 * KIB, 150_000, 300_000)


@dataclass(frozen=True)
class Ask:
    """A client: when it comes, what it wants, when it leaves."""

    at: float
    start: int | None
    length: int
    method: str
    leaves_after: int | None


@dataclass(frozen=True)
class Replace:
    """A new version of the object."""

    at: float
    size: int
    seed: int


PLAYS = st.builds(
    Play,
    latency=st.sampled_from([0.0, 0.1]),
    chunk_bytes=st.sampled_from([1_000, 20_000, 64 * KIB]),
    chunk_seconds=st.sampled_from([0.0, 0.01]),
    cut_after=st.none() | st.integers(0, 200_000),
    stall_after=st.none() | st.none() | st.integers(0, 200_000),
    status=st.sampled_from([None] * 8 + [500, 503]),
    error=st.sampled_from([None] * 8 + [OriginBroken("reset"), OriginUnreachable("refused")]),
    headers=st.sampled_from([()] * 6 + [(("etag", 'W/"weak"'),), (("cache-control", "private"),)]),
    without=st.sampled_from([()] * 6 + [("etag",), ("content-length",)]),
    ignores_range=st.sampled_from([False, False, True]),
    wrong_start=st.sampled_from([0] * 8 + [7]),
)
ASKS = st.builds(
    Ask,
    at=st.floats(0, 0.6).map(lambda at: round(at, 2)),
    start=st.none() | st.integers(0, 300_000),
    length=st.integers(1, 200_000),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    leaves_after=st.none() | st.none() | st.integers(0, 100_000),
)
REPLACES = st.builds(
    Replace,
    at=st.floats(0, 0.3).map(lambda at: round(at, 2)),
    size=st.sampled_from(SIZES),
    seed=st.integers(1, 5),
)


def check_flights(rig: Rig) -> None:
    """At most one live flight per hole: a later one was launched ahead of an earlier one, or behind its start.

    The earlier one may still run into a hole whose own flight has brought nothing by then.
    """
    for assembly in {id(f.assembly): f.assembly for f in rig.coalescer.flights if f.assembly is not None}.values():
        if not assembly.is_shared:
            continue
        flights = [flight for flight in assembly.flights if not flight.has_landed]
        for index, earlier in enumerate(flights):
            for later in flights[index + 1 :]:
                end = later.stop if later.stop is not None else assembly.body.size
                assert later.start > earlier.start or (end is not None and end <= earlier.start), (earlier, later)


def check_answer(ask: Ask, client: RecordingClient, versions: dict[str | None, list[bytes]]) -> None:
    """What came is a prefix of one version's bytes, and all of them where the framing says it is whole."""
    if not client.data:
        return
    if client.status not in (200, 206):
        assert client.status in (404, 412, 416, 500, 502, 503, 504)
        return
    body = client.body
    if client.header("transfer-encoding") == "chunked":
        decoded = bytearray()
        while body:
            head, _, rest = body.partition(b"\r\n")
            size = int(head, 16) if head else 0
            if not size:
                break
            decoded += rest[:size]
            body = rest[size + 2 :]
        is_whole = client.data.endswith(b"\r\n0\r\n\r\n") and client.result is not None and client.result.is_clean
        body = bytes(decoded)
    else:
        is_whole = client.is_whole
    candidates = [data for group in versions.values() for data in group]
    if client.status == 206:
        start, _, rest = (client.header("content-range") or "")[6:].partition("-")
        stop = int(rest.partition("/")[0]) + 1
        candidates = [data[int(start) : stop] for data in candidates]
    if ask.method == "HEAD":
        assert body == b""
        return
    assert any(data.startswith(body) for data in candidates)
    if is_whole:
        assert any(data == body for data in candidates)
        etag = client.header("etag")
        if etag is not None and client.status == 200 and not etag.startswith("W/"):
            assert etag == etag_of(body)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.sampled_from(SIZES),
    asks=st.lists(ASKS, min_size=1, max_size=8),
    replaces=st.lists(REPLACES, max_size=2),
    plays=st.lists(PLAYS, max_size=8),
    ttl=st.sampled_from([0.0, 0.5, 60.0]),
)
@example(
    size=300_000,
    asks=[Ask(0.0, None, 1, "GET", None), Ask(0.0, 200_000, 50_000, "GET", None)],
    replaces=[Replace(0.02, 300_000, 1)],
    plays=[Play(chunk_bytes=20_000, chunk_seconds=0.01, cut_after=100_000)],
    ttl=60.0,
)
@example(
    size=0,
    asks=[
        Ask(0.47, None, 1, "GET", None),
        Ask(0.51, 80_900, 277, "GET", None),
        Ask(0.27, 129_066, 59_499, "GET", None),
    ],
    replaces=[Replace(0.0, 150_000, 4)],
    plays=[Play(latency=0.1, chunk_bytes=1_000, chunk_seconds=0.01, ignores_range=True)],
    ttl=0.5,
)
def test_any_script_is_served_exactly_or_not_at_all(size, asks, replaces, plays, ttl):
    async def run() -> None:
        first = random.Random(0).randbytes(size)
        origin = ScriptedOrigin({"k": first}, list(plays))
        versions: dict[str | None, list[bytes]] = {None: [first]}
        async with trio.open_nursery() as nursery:
            rig = Rig(
                nursery,
                origin,
                timing=Timing(ttl=ttl),
                settings=FlightSettings(stall_timeout=0.5, block_size=64 * KIB, join_ahead=100_000),
                max_memory_object=160_000,
            )

            async def ask(what: Ask) -> None:
                await trio.sleep(what.at)
                fields = {} if what.start is None else {"range": f"bytes={what.start}-{what.start + what.length - 1}"}
                client = RecordingClient(leaves_after=what.leaves_after)
                await rig.ask(method=what.method, client=client, **fields)
                check_answer(what, client, versions)

            async def replace(what: Replace) -> None:
                await trio.sleep(what.at)
                data = random.Random(what.seed).randbytes(what.size)
                versions[None].append(data)
                origin.objects["k"] = data
                origin.last_modified = f"Sun, 06 Nov 1994 09:00:0{what.seed} GMT"

            async def watch() -> None:
                while True:
                    check_flights(rig)
                    await trio.sleep(0.05)

            async with trio.open_nursery() as clients:
                clients.start_soon(watch)
                async with trio.open_nursery() as asking:
                    for change in replaces:
                        asking.start_soon(replace, change)
                    for what in asks:
                        asking.start_soon(ask, what)
                clients.cancel_scope.cancel()
            await rig.settle()
            assert "InternalError" not in "".join(rig.log_lines)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))
