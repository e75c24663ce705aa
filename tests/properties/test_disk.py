"""Disk tier and flights together against a byte-exact model: asked, purged, replaced, cut, restarted, crashed."""

import gc
import os
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin, WallClock, inline, silent_log
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import OriginBroken
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.inventory import Inventory, Selection

KIB = 1024
BLOCK = 32 * KIB
KEYS = ("a", "b", "c")
# Nothing, one byte, in memory, one block and a bit, several blocks, over `max_object_size`.
SIZES = (0, 1, 9_000, 33_000, 150_000, 290_000, 700_000)


@dataclass(frozen=True)
class Ask:
    """Clients that come at once, each for a range (kept as it is written) or for all; some leave early."""

    key: str
    ranges: tuple[str | None, ...]
    leaves_after: int | None = None


@dataclass(frozen=True)
class Change:
    """A new version at the origin."""

    key: str
    size: int


@dataclass(frozen=True)
class Purge:
    """Of one key or of all."""

    key: str | None
    soft: bool


@dataclass(frozen=True)
class Wait:
    """Seconds that pass."""

    seconds: float


@dataclass(frozen=True)
class Restart:
    """Of the process: in good order, killed, or with the machine; `damage` seeds what that does to files."""

    kind: str
    damage: int


OFFSETS = st.integers(0, 300_000)
RANGES = st.one_of(
    st.none(),
    st.builds("bytes={}-{}".format, OFFSETS, OFFSETS),
    st.builds("bytes={}-".format, OFFSETS),
    st.builds("bytes=-{}".format, OFFSETS),
    st.builds("bytes=0-9,{}-{},-5".format, OFFSETS, OFFSETS),
)
OPERATIONS = st.one_of(
    st.builds(
        Ask,
        st.sampled_from(KEYS),
        st.lists(RANGES, min_size=1, max_size=3).map(tuple),
        st.none() | st.none() | st.integers(0, 100_000),
    ),
    st.builds(Change, st.sampled_from(KEYS), st.sampled_from(SIZES)),
    st.builds(Purge, st.none() | st.sampled_from(KEYS), st.booleans()),
    st.builds(Wait, st.sampled_from([0.1, 2.0, 100.0])),
    st.builds(Restart, st.sampled_from(["clean", "kill", "crash"]), st.integers(0, 99)),
)
PLAYS = st.builds(
    Play,
    latency=st.sampled_from([0.0, 0.1]),
    chunk_bytes=st.sampled_from([5_000, 64 * KIB]),
    chunk_seconds=st.sampled_from([0.0, 0.01]),
    cut_after=st.none() | st.integers(0, 200_000),
    stall_after=st.none() | st.none() | st.integers(0, 200_000),
    status=st.sampled_from([None] * 8 + [500, 503]),
    ignores_range=st.sampled_from([False, False, True]),
)


@dataclass
class Model:
    """What the origin has had: versions of each key in order, and from which one on a purge allows answers."""

    versions: dict[str, list[bytes]] = field(default_factory=dict)
    oldest: dict[str, int] = field(default_factory=dict)

    def change(self, key: str, size: int) -> bytes:
        number = len(self.versions.setdefault(key, []))
        data = random.Random(f"{key}{number}").randbytes(size)
        self.versions[key].append(data)
        return data

    def purge(self, key: str | None) -> None:
        for name in KEYS if key is None else (key,):
            self.oldest[name] = len(self.versions[name]) - 1

    def allowed(self, key: str) -> list[bytes]:
        return self.versions[key][self.oldest.get(key, 0) :]


def check(client: RecordingClient, range_field: str | None, allowed: list[bytes]) -> None:
    """What came is part of one version, and all of it where it looks whole."""
    if client.status not in (200, 206):
        assert client.status in (416, 500, 502, 503, 504), client.head
        return
    body = client.body
    kind = client.header("content-type") or ""
    if client.status == 200:
        pieces = [(0, None, body)]
    elif kind.startswith("multipart/"):
        if not client.is_whole:
            return
        pieces = list(parts_of(body, kind.partition("boundary=")[2].encode()))
    else:
        start, stop = span_of(client.header("content-range") or "")
        pieces = [(start, stop, body)]

    def agrees(data: bytes) -> bool:
        for start, stop, piece in pieces:
            expected = data[start:stop]
            if piece != expected if client.is_whole else not expected.startswith(piece):
                return False
        return True

    assert any(agrees(data) for data in allowed), (range_field, client.head, len(body), [len(d) for d in allowed])


def span_of(text: str) -> tuple[int, int]:
    first, _, rest = text.removeprefix("bytes ").partition("-")
    return int(first), int(rest.partition("/")[0]) + 1


def parts_of(body: bytes, boundary: bytes) -> Any:
    for part in body.split(b"\r\n--" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        line = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-range"))
        yield (*span_of(line.partition(": ")[2]), data)


class Machine:
    """Processes one after the other on one directory, and the model they are held against."""

    def __init__(self, folder: str, plays: list[Play], max_size: int) -> None:
        self.folder = folder
        self.max_size = max_size
        self.boot = 1
        self.model = Model()
        self.origin = ScriptedOrigin({}, plays)
        self.changes = 0
        for key in KEYS:
            self.change(key, SIZES[4])

    def change(self, key: str, size: int) -> None:
        self.changes += 1
        self.origin.objects[key] = self.model.change(key, size)
        self.origin.last_modified = f"Sun, 06 Nov 1994 09:{self.changes // 60:02}:{self.changes % 60:02} GMT"

    async def live(self, operations: list[Any], ending: str) -> None:
        """One process: from its start until it ends this way."""
        disk = DiskTier(
            DiskSettings(self.folder, self.max_size, 600_000, block_size=BLOCK, memory_object_size=10_000),
            log=silent_log(),
        )
        disk.folder.boot_id = bytes([self.boot]) * 16
        disk.folder.prepare()
        disk.folder.clear_temporary()
        flusher = Flusher(disk, blocking=inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(flusher.run)
            rig = Rig(
                nursery,
                self.origin,
                timing=Timing(ttl=50.0, stale_if_error=10.0),
                settings=FlightSettings(stall_timeout=0.5, block_size=BLOCK, join_ahead=100_000, readahead=64 * KIB),
                memory_bytes=40_000,
                max_memory_object=10_000,
                disk=disk,
                flusher=flusher,
            )
            rig.tiers.memory.on_evict = rig.tiers.demote  # type: ignore[attr-defined]
            inventory = Inventory(rig.tiers, rig.coalescer, clock=WallClock())
            for operation in operations:
                await self.do(operation, rig, inventory)
                assert disk.policy.size <= self.max_size
            if ending == "clean":
                await rig.settle()
            assert "InternalError" not in "".join(rig.log_lines), rig.log_lines
            nursery.cancel_scope.cancel()
        if ending == "clean":
            await flusher.aclose()
        else:
            flusher._index.close()
        self.origin.open_responses = 0

    async def do(self, operation: Any, rig: Rig, inventory: Inventory) -> None:
        match operation:
            case Ask(key, ranges, leaves_after):
                allowed_from = self.model.oldest.get(key, 0)

                async def ask(range_field: str | None) -> None:
                    client = RecordingClient(leaves_after=leaves_after)
                    await rig.ask(key, client=client, **({} if range_field is None else {"range": range_field}))
                    check(client, range_field, self.model.versions[key][allowed_from:])

                with trio.fail_after(600):
                    async with trio.open_nursery() as clients:
                        for range_field in ranges:
                            clients.start_soon(ask, range_field)
            case Change(key, size):
                self.change(key, size)
            case Purge(key, soft):
                await inventory.purge(Selection("b", key), soft=soft)
                if not soft:
                    self.model.purge(key)
            case Wait(seconds):
                await trio.sleep(seconds)

    def damage(self, seed: int) -> None:
        """What a machine that goes down may do to files: bytes that never got there, or not as they were."""
        draw = random.Random(seed)
        self.boot = self.boot % 250 + 1
        for path in sorted(Path(self.folder, "data").rglob("*")):
            if not path.is_file() or draw.random() < 0.3:
                continue
            size = path.stat().st_size
            with open(path, "r+b") as file:
                match draw.randrange(3):
                    case 0:
                        file.truncate(draw.randrange(size + 1))
                    case 1:
                        file.seek(draw.randrange(size))
                        file.write(bytes(min(4096, size - file.tell())))
                    case 2:
                        file.seek(draw.randrange(size))
                        file.write(draw.randbytes(min(100, size - file.tell())))
        if draw.random() < 0.3:
            Path(self.folder, "index.sqlite").write_bytes(draw.randbytes(5_000))
        if draw.random() < 0.3:
            Path(self.folder, "data", "00").mkdir(parents=True, exist_ok=True)
            Path(self.folder, "data", "00", "foreign").write_bytes(b"not ours")


def processes(operations: list[Any]) -> list[tuple[list[Any], Restart]]:
    """Operations by the process that does them, with how it ends."""
    found: list[tuple[list[Any], Restart]] = []
    current: list[Any] = []
    for operation in [*operations, Restart("clean", 0)]:
        if isinstance(operation, Restart):
            found.append((current, operation))
            current = []
        else:
            current.append(operation)
    return found


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("YATAGARASU_EXAMPLES", "150")),
    deadline=None,
    derandomize="YATAGARASU_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(
    operations=st.lists(OPERATIONS, min_size=2, max_size=14),
    plays=st.lists(PLAYS, max_size=6),
    max_size=st.sampled_from([4_000_000, 400_000]),
)
def test_no_list_of_operations_serves_a_wrong_byte(operations, plays, max_size):
    gc.collect()
    gc.freeze()  # What other tests have left in this process would be gone through twice an example.
    before = len(os.listdir("/proc/self/fd"))

    async def run(folder: str) -> None:
        machine = Machine(folder, list(plays), max_size)
        for ours, ending in processes(operations):
            await machine.live(ours, ending.kind)
            if ending.kind == "crash":
                machine.damage(ending.damage)
        # Whatever has happened, a process that starts on it serves every key.
        machine.origin.plays.clear()
        await machine.live([Purge(None, soft=False), *(Ask(key, (None, "bytes=0-99")) for key in KEYS)], "clean")

    with tempfile.TemporaryDirectory() as folder:
        trio.run(run, folder, clock=MockClock(autojump_threshold=0))
        gc.collect()
        gc.unfreeze()
        assert os.listdir(f"{folder}/tmp") == []
    assert len(os.listdir("/proc/self/fd")) == before


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.tuples(*[st.sampled_from(SIZES[:-1])] * len(KEYS)),
    asks=st.lists(st.tuples(st.sampled_from(KEYS), RANGES), min_size=1, max_size=8),
    ending=st.sampled_from(["clean", "kill", "crash"]),
)
def test_what_was_on_disk_costs_no_request_after_a_restart(sizes, asks, ending):
    """With room for everything and nothing damaged: what has been answered once is answered again, byte for byte."""

    async def run(folder: str) -> None:
        machine = Machine(folder, [], 16_000_000)
        for key, size in zip(KEYS, sizes, strict=True):
            machine.change(key, size)
        questions = [Ask(key, (range_field,)) for key, range_field in asks]
        await machine.live([*questions, Wait(5.0)], ending)
        if ending == "crash":
            machine.boot += 1
        requests, origin = len(machine.origin.requests), machine.origin
        await machine.live(questions, "clean")
        # An empty object has no bytes that could be there, and a range beyond the end is nobody's.
        asked = [request for request in origin.requests[requests:] if machine.origin.objects[request.object_key]]
        assert asked == []

    with tempfile.TemporaryDirectory() as folder:
        trio.run(run, folder, clock=MockClock(autojump_threshold=0))


def _broken(key: str) -> list[Play]:
    """Flights of every bad end: resumed, cut for good, begun again, replaced, refused, not to be understood."""
    cut = {"cut_after": 100_000}
    ends = (
        [Play(**cut)],
        [Play(**cut, without=("etag",))],
        [Play(cut_after=0, without=("etag",))],
        [Play(**cut), Play(headers=(("etag", '"other"'),))],
        [Play(**cut), Play(wrong_start=7), Play(wrong_start=7)],
        [Play(**cut), Play(status=404)],
        [Play(status=503)] * 3,
        [Play(status=403)],
        [Play(stall_after=100_000, without=("etag",))],
        [Play(error=OriginBroken("broken"))] * 3,
        [Play(headers=(("cache-control", "private"),), cut_after=100_000)],
    )
    return ends[int(key[1:]) % len(ends)]


@pytest.mark.parametrize("plays_of", [lambda key: [], _broken], ids=["good", "broken"])
async def test_a_body_that_is_over_waits_for_no_collector(autojump_clock: object, tmp_path: Path, plays_of):
    """Cycles would keep evicted files on the disk, and evicted objects in memory, until it comes by."""
    origin = ScriptedOrigin({f"k{number}": bytes(200_000) for number in range(12)})
    disk = DiskTier(
        DiskSettings(str(tmp_path), 600_000, 500_000, block_size=BLOCK, memory_object_size=10_000),
        log=silent_log(),
    )
    disk.folder.prepare()
    flusher = Flusher(disk, blocking=inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(flusher.run)
        settings = FlightSettings(stall_timeout=0.5)
        rig = Rig(
            nursery, origin, disk=disk, flusher=flusher, timing=Timing(ttl=100.0), max_memory_object=10_000,
            settings=settings,
        )  # fmt: skip
        await rig.ask("k0")
        gc.collect()
        gc.disable()
        try:
            for key in origin.objects:
                origin.plays = plays_of(key)
                await rig.ask(key)
                origin.plays = []
                await rig.ask(key, range="bytes=-5")
                await trio.sleep(5)
            files = [name for name in os.listdir(tmp_path / "tmp")]
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            ours = {type(found).__name__ for found in gc.garbage if type(found).__module__.startswith("yatagarasu")}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert ours == set()
        assert files == []
        nursery.cancel_scope.cancel()
