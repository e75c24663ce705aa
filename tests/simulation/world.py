"""One seed: a proxy's core with random settings, an origin, some dozen clients, and what must hold at every step."""

import gc
import os
import random
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from unittest import mock

import trio
import trio.testing

from tests.fakes import Rig, WallClock, inline, silent_log
from tests.simulation.clients import SimClient
from tests.simulation.origin import BUCKET, Origin
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.policy import Timing
from yatagarasu.errors import first_of
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.origin.client import S3Origin
from yatagarasu.origin.credentials import Anonymous
from yatagarasu.origin.retry import RetrySettings
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.flight import Flight
from yatagarasu.proxy.inventory import Inventory, Selection
from yatagarasu.proxy.pipeline import Request
from yatagarasu.s3.addressing import resolve_address

# Mock seconds: no client may be kept longer, whatever happens.
_PATIENCE = 600.0
_SETTLING = 30.0
KIB = 1024
_FAST = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Broken(AssertionError):
    """An invariant does not hold."""


class Watch(trio.abc.Instrument):
    """Looks at the coalescer's tables after every step of every task; keeps the first thing that is wrong."""

    def __init__(self) -> None:
        self.rig: Rig | None = None
        self.landed: list[Flight] = []
        self.wrong: str | None = None
        self.steps = 0

    def watch(self, rig: Rig) -> None:
        """Begin, and look at every launch too."""
        self.rig = rig
        coalescer, launch, land = rig.coalescer, rig.coalescer._launch, rig.coalescer.on_landed

        def launch_and_look(flight: Flight) -> None:
            self._look_at_launch(flight)
            launch(flight)

        def land_and_look(flight: Flight) -> None:
            land(flight)
            self.landed.append(flight)

        coalescer._launch = launch_and_look  # type: ignore[method-assign]
        coalescer.on_landed = land_and_look  # type: ignore[method-assign]

    def _note(self, text: str) -> None:
        self.wrong = self.wrong or f"at {trio.current_time():.3f} s: {text}"

    def _look_at_launch(self, flight: Flight) -> None:
        """F1: nobody launches for a byte that another flight of the same generation brings soon, or that is here."""
        assert self.rig is not None
        assembly = flight.assembly
        if assembly is None or not flight.is_shared:
            return
        ahead = self.rig.settings.join_ahead
        for other in assembly.flights:
            if other is not flight and other.pos <= flight.pos < min(other.stop or 1 << 62, other.pos + ahead):
                self._note(f"{flight!r} was launched into {other!r}")
        if assembly.body.present_until(flight.pos) > flight.pos:
            self._note(f"{flight!r} was launched for bytes that are here")

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Hold every invariant."""
        self.steps += 1
        if self.rig is None or self.wrong:
            return
        coalescer = self.rig.coalescer
        slots = set()
        for flight in coalescer.flights:
            if flight.has_landed:
                self._note(f"{flight!r} has landed and is in the air")
            if flight.assembly is None and flight.is_shared and not flight.head.is_set() and coalescer.settings.enabled:
                slot = (flight.fetch.key, flight.method)
                if slot in slots and not flight.is_purged:
                    self._note(f"two flights for the head of {slot}")
                if not flight.is_purged:
                    slots.add(slot)
        for flight in self.landed:
            if not flight.head.is_set():
                self._note(f"{flight!r} is dead, and clients wait for its head")
        self.landed.clear()
        for key, assembly in coalescer._assemblies.items():
            if assembly.is_idle:
                self._note(f"nobody holds the assembly of {key!r}")


@dataclass
class Report:
    """What happened, for people and for comparing two plays of one seed."""

    seed: int
    events: list[str] = field(default_factory=list)
    wrong: str | None = None
    steps: int = 0
    requests: int = 0


def play(seed: int) -> Report:
    """Play a seed to its end; deterministic but for the order of sets."""
    report, watch, before = Report(seed), Watch(), _descriptors()
    # trio shuffles its tasks with a generator of its own.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    try:
        trio.run(
            _World(seed, report, watch).run, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[watch]
        )
    except Exception as exc:
        leaf = first_of(exc, Exception)
        report.wrong = f"{type(leaf).__name__}: {leaf}"
    report.wrong = watch.wrong or report.wrong
    if _descriptors() > before:
        gc.collect()
        if _descriptors() > before:
            report.wrong = report.wrong or "descriptors are left"
    report.steps = watch.steps
    return report


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class _World:
    def __init__(self, seed: int, report: Report, watch: Watch) -> None:
        self._rng = random.Random(seed)
        self._report, self._watch = report, watch
        self._keys = [f"k{number}" for number in range(self._rng.choice([1, 1, 2, 4]))]
        self._block_size = self._rng.choice([4 * KIB, 16 * KIB, 1024 * KIB])
        self._max_memory_object = self._rng.choice([1_000, 50_000, 1_000_000])

    def _settings(self) -> FlightSettings:
        rng = self._rng
        return FlightSettings(
            enabled=rng.random() < 0.95,
            wait_timeout=rng.choice([0.3, 5.0, 30.0]),
            max_waiters=rng.choice([2, 1_000, 1_000]),
            join_ahead=rng.choice([4 * KIB, 64 * KIB, 8 * KIB * KIB]),
            readahead=rng.choice([0, 64 * KIB]),
            block_size=self._block_size,
            stall_timeout=rng.choice([0.2, 2.0]),
            failure_ttl=rng.choice([0.0, 1.0]),
            uncacheable_ttl=rng.choice([0.5, 120.0]),
            uncacheable_concurrency=rng.choice([1, 64]),
            finish_abandoned_at=rng.choice([0.0, 0.5, 1.0]),
            abandon_grace=rng.choice([0.1, 1.0]),
            retry=RetrySettings(attempts=rng.choice([1, 3])),
        )

    def _timing(self) -> Timing:
        rng = self._rng
        return Timing(
            ttl=rng.choice([0.0, 0.5, 100.0]),
            stale_while_revalidate=rng.choice([0.0, 0.0, 2.0]),
            stale_if_error=rng.choice([0.0, 0.0, 60.0]),
            negative_ttl=rng.choice([0.0, 1.0]),
        )

    async def run(self) -> None:
        """Live, with a disk tier in a third of the worlds."""
        if self._rng.random() > 0.3:
            await self._live(None)
            return
        with TemporaryDirectory(dir=_FAST) as folder:
            await self._live(self._disk(folder))
            self._watch.rig = None  # Which holds everything.
            if found := os.listdir(os.path.join(folder, "tmp")):
                raise Broken(f"temporary files are left: {found}")

    def _disk(self, folder: str) -> DiskTier:
        rng = self._rng
        settings = DiskSettings(
            folder,
            max_size=rng.choice([200_000, 10_000_000]),
            max_object_size=rng.choice([60_000, 200_000]),
            block_size=self._block_size,
            memory_object_size=self._max_memory_object,
            open_files=rng.choice([1, 100]),
        )
        disk = DiskTier(settings, log=silent_log())
        disk.folder.prepare()
        return disk

    async def _live(self, disk: DiskTier | None) -> None:
        rng = self._rng
        flusher = Flusher(disk, blocking=inline) if disk is not None else None
        async with trio.open_nursery() as nursery:
            if flusher is not None:
                await nursery.start(flusher.run)
            origin = Origin(rng, nursery, self._keys)
            transport = OriginTransport(
                connect_timeout=1.0, first_byte_timeout=2.0, max_connections=rng.choice([1, 3, 100])
            )
            s3 = S3Origin(
                bucket=BUCKET,
                region="us-east-1",
                address=resolve_address(BUCKET, "us-east-1", "http://origin.test"),
                key_prefix="",
                credentials=Anonymous(),
                transport=transport,
                clock=WallClock(),
            )
            rig = Rig(
                nursery,
                s3,  # type: ignore[arg-type]
                settings=self._settings(),
                timing=self._timing(),
                memory_bytes=rng.choice([100_000, 10_000_000]),
                max_memory_object=self._max_memory_object,
                disk=disk,
                flusher=flusher,
                keyed=(),
            )
            if disk is not None:
                rig.tiers.memory.on_evict = rig.tiers.demote  # type: ignore[attr-defined]
            self._watch.watch(rig)
            with mock.patch("yatagarasu.origin.transport.open_connection", origin.connect):
                with trio.move_on_after(_PATIENCE) as patience:
                    await self._clients(rig, origin)
                if patience.cancelled_caught:
                    raise Broken(f"a client was kept for {_PATIENCE:g} s")
                await self._settle(rig, transport)
            if disk is not None and disk.policy.size > disk.settings.max_size:
                raise Broken("more on disk than it may hold")
            await transport.aclose()
            self._report.requests = sum(origin.requests.values())
            nursery.cancel_scope.cancel()
        if flusher is not None:
            await flusher.aclose()

    async def _clients(self, rig: Rig, origin: Origin) -> None:
        rng = self._rng
        spread = rng.choice([0.0, 0.1, 4.0])
        async with trio.open_nursery() as nursery:
            for number in range(rng.choice([3, 8, 25])):
                key = rng.choice(self._keys)
                client = SimClient(
                    rng, f"c{number}", rng.choice(["GET"] * 5 + ["HEAD"]), key, self._fields(origin, key)
                )
                nursery.start_soon(self._client, rig, client, origin, rng.random() * spread)
            for _ in range(rng.choice([0, 0, 1, 3])):
                nursery.start_soon(self._trouble, rig, origin, rng.random() * (spread + 1.0))

    def _fields(self, origin: Origin, key: str) -> dict[str, str]:
        rng = self._rng
        fields = {}
        if rng.random() < 0.4:
            first, size = rng.choice([0, 1, 3_000, 65_000]), rng.choice([1, 600, 30_000])
            choices = [f"{first}-{first + size - 1}", f"{first}-", f"-{size}", f"0-0,{first}-{first + size}"]
            fields["range"] = f"bytes={rng.choice(choices)}"
        if rng.random() < 0.1:
            fields["if-none-match"] = origin.store.get(BUCKET, key).etag  # type: ignore[union-attr]
        if rng.random() < 0.1:
            fields["cache-control"] = rng.choice(["no-cache", "max-age=0", "no-store", "only-if-cached", "max-stale"])
        if rng.random() < 0.3:
            fields["accept-language"] = rng.choice(["de", "ja"])
        return fields

    async def _client(self, rig: Rig, client: SimClient, origin: Origin, seconds: float) -> None:
        await trio.sleep(seconds)
        request = Request(
            rig.pipeline.line(f"{client.method} /b/{client.key} HTTP/1.1".encode()),
            HeaderBlock(Headers([("host", "test"), *client.fields.items()])),
            client.name,
            "127.0.0.1",
            True,
            WallClock()(),
            trio.current_time(),
        )
        with trio.move_on_after(client.leaves_at):
            client.result = await rig.pipeline.handle(request, client)
        self._report.events.append(f"{trio.current_time():9.3f} {client.describe()}")
        client.check(origin.versions[client.key])

    async def _trouble(self, rig: Rig, origin: Origin, seconds: float) -> None:
        await trio.sleep(seconds)
        key, what = self._rng.choice(self._keys), self._rng.randrange(5)
        self._report.events.append(f"{trio.current_time():9.3f} trouble {what} for {key}")
        if what == 0:
            origin.delete(key)
            await trio.sleep(0.5)
            origin.change(key)
        elif what == 1:
            inventory = Inventory(rig.tiers, rig.coalescer, clock=WallClock())
            await inventory.purge(Selection("b", key), soft=self._rng.random() < 0.5)
        else:
            origin.change(key)

    async def _settle(self, rig: Rig, transport: OriginTransport) -> None:
        """F12: a while after the last client nothing is left."""
        with trio.move_on_after(_SETTLING):
            while not rig.coalescer.is_idle:
                await trio.sleep(0.1)
        if not rig.coalescer.is_idle:
            raise Broken(f"{rig.coalescer!r} after {_SETTLING:g} s: {rig.coalescer.flights}")
        if rig.coalescer.waiting:
            raise Broken("somebody waits for a head")
        for endpoint, statistics in transport.statistics().items():
            if statistics.in_use or statistics.waiting:
                raise Broken(f"connections to {endpoint} are out: {statistics}")
        memory = rig.tiers.memory.statistics()
        if memory.bytes > memory.max_bytes:
            raise Broken("more in memory than it may hold")
