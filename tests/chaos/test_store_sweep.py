"""Every call that the cache makes on files fails, once or from then on, in the middle of a proxy's life.

After SQLite's testers: a scenario is played once to count the calls, then again for each of them with that one failing.
No client is told of it, and nothing is left of it. The calls and what goes wrong with them are in `calls.py`.

A disk that is really full is at the end.
"""

import contextlib
import errno
import gc
import json
import os
import random
import sqlite3
import subprocess
import tempfile
import traceback
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.cache.disk.conftest import small
from tests.chaos.calls import TROUBLES, Call, Calls, Fault
from tests.chaos.clients import patient
from tests.chaos.test_matrix import descriptors
from tests.server.conftest import ACCESS_KEY, SECRET_KEY, Lines, Proxy, make_config
from yatagarasu.app import open_system
from yatagarasu.bench import faults
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.cache.disk import flush, health, index
from yatagarasu.cache.disk.folder import Folder, digest_of
from yatagarasu.cache.disk.record import encode_record
from yatagarasu.cache.disk.sweep import examine
from yatagarasu.errors import ConfigError, StoreError
from yatagarasu.observe.log import Log

KB, MB = 1000, 1000 * 1000
MEMORY = {"max_size": "64KB", "max_object_size": "8KB"}
DISK = {"max_size": "400KB", "block_size": "32KiB", "min_free": "1B"}
# Small objects are kept in memory and on disk, large ones on disk alone; the checked ones are validated at every use.
SIZES = {
    "small": 5 * KB, "large": 150 * KB, "ranged": 110 * KB, "checked": 6 * KB, "checked-large": 70 * KB,
    "filler1": 90 * KB, "filler2": 90 * KB,
}  # fmt: skip
RANGE = (40 * KB, 70 * KB)
# A play makes some thirty files and takes them away again: in memory, where that can be had.
QUICK_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Some calls every time, all of them with the slow tests. Each turn meets every call with another of its troubles.
PARTS = 6
SELECTIONS = [
    pytest.param(slice(3, None, 18), id="some"),
    *(pytest.param(slice(n, None, PARTS), id=f"{n + 1} of {PARTS}", marks=pytest.mark.slow) for n in range(PARTS)),
]
TURN = int(os.environ.get("YATAGARASU_SWEEP", "0"))


class Stage:
    """An origin, perhaps a directory, and the processes that live on it one after the other.

    `allowed` are the versions of each object that may be answered; `complaints` counts what processes found wrong.
    """

    def __init__(self, origin: EmbeddedOrigin, folder: Path | None, sizes: dict[str, int] = SIZES) -> None:
        self.origin, self.folder, self.sizes = origin, folder, sizes
        self.cache: dict[str, Any] = {"ttl": "1h", "memory": MEMORY}
        if folder is not None:
            self.cache["disk"] = {"path": str(folder), **DISK}
        self.versions: dict[str, list[bytes]] = defaultdict(list)
        self.allowed: dict[str, list[bytes]] = {}
        self.complaints = 0
        self.proxy: Proxy
        origin.requests.clear()
        for key in sizes:
            self.change(key)

    def change(self, key: str) -> None:
        """A new version at the origin; the one before it may still be used, where it may be used unasked at all."""
        data = random.Random(f"{key} {len(self.versions[key])}").randbytes(self.sizes[key])
        self.versions[key].append(data)
        is_checked = key.startswith("checked")
        self.origin.store.put("bkt", key, data, headers={"cache-control": "no-cache"} if is_checked else {})
        self.allowed[key] = self.versions[key][-1 if is_checked else -2 :]

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """A process, from its start to its end in good order."""
        lines = Lines()
        log = Log(level="debug", stream=lines)  # type: ignore[arg-type]
        config = make_config(self.origin.endpoint, cache=self.cache)
        async with open_system(config, log=log, write_access=lambda batch: None) as system:
            self.proxy = Proxy(system, self.origin, lines)
            yield
            with trio.fail_after(3):
                while not system.coalescer.is_idle or system.reactor.connections:
                    await trio.lowlevel.checkpoint()
        self.complaints += system.metrics.store_errors
        if system.disk is not None:
            self.complaints += system.disk.health.errors + system.disk.health.damaged
        del self.proxy, system
        with trio.fail_after(3):
            while self.origin.connections:
                await trio.lowlevel.checkpoint()
        events = [json.loads(line) for line in lines.text.splitlines()]
        assert [line for line in events if "InternalError" in str(line) or line["event"] == "request_failed"] == []
        said = [line["cause"].partition(":")[2].partition(":")[0] for line in events if line["event"] == "disk_failed"]
        assert len(said) == len(set(said)), said

    async def get(self, key: str, *, part: tuple[int, int] | None = None) -> str:
        """Ask for an object, hold what comes against what may come, and return X-Cache."""
        fields = [f"Range: bytes={part[0]}-{part[1] - 1}"] if part else []
        start, stop = part or (0, None)
        answer = (await patient(self.proxy.port, f"/b/{key}", "", *fields))[0]
        what = f"{key}: {answer.status}, {len(answer.body)} bytes, whole {answer.is_whole}"
        assert answer.status == (206 if part else 200), what
        assert answer.is_whole, what
        assert any(answer.body == data[start:stop] for data in self.allowed[key]), f"{what}: wrong bytes"
        return answer.fields["x-cache"]

    async def herd(self, key: str) -> None:
        """Three ask at once."""
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(self.get, key)

    async def known(self) -> None:
        """Return once everything on disk has been taken in."""
        disk = self.proxy.system.disk
        assert disk is not None
        while not disk.knows_all:
            await trio.lowlevel.checkpoint()

    async def flush(self) -> None:
        """Let the disk tier write what it has noted. Raises StoreError."""
        flusher = self.proxy.system.tiers.flusher
        assert flusher is not None
        await flusher.flush()

    async def purge(self, key: str) -> None:
        """Purge an object; only where that is said to be done, nothing but its newest version may come again."""
        line = f"POST /cache/purge?bucket=b&key={key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await self.proxy.raw(line.encode(), port=self.proxy.admin_port)
        if answer.startswith(b"HTTP/1.1 200 "):
            self.allowed[key] = self.versions[key][-1:]
        else:
            assert answer.startswith(b"HTTP/1.1 50"), answer


@asynccontextmanager
async def one_stage(folder: Path | None, sizes: dict[str, int] = SIZES) -> AsyncIterator[Stage]:
    """A stage with an origin of its own."""
    async with trio.open_nursery() as nursery:
        origin = EmbeddedOrigin(credentials={ACCESS_KEY: SECRET_KEY})
        await nursery.start(origin.serve)
        yield Stage(origin, folder, sizes)
        nursery.cancel_scope.cancel()


async def begins(stage: Stage) -> None:
    """What a process is asked on an empty directory."""
    await stage.get("small")
    await stage.herd("large")
    await stage.get("ranged", part=RANGE)
    await stage.get("ranged")
    with contextlib.suppress(StoreError):
        await stage.flush()
    for _ in range(2):
        await stage.get("checked")
        await stage.get("checked-large")
    with contextlib.suppress(StoreError):
        await stage.flush()
    for key in ("small", "large"):
        stage.change(key)
        await stage.purge(key)
        await stage.get(key)
    for key in ("checked", "checked-large"):
        stage.change(key)
    for key in ("checked", "checked-large", "filler1", "filler2", *SIZES):  # More than there is room for.
        await stage.get(key)


async def goes_on(stage: Stage) -> None:
    """What it is asked after a restart."""
    for key in SIZES:
        await stage.get(key)
    await stage.known()


async def is_in_order(stage: Stage, folder: Path) -> None:
    """What lies there, what is listed and what is counted are the same."""
    disk, flusher = stage.proxy.system.disk, stage.proxy.system.tiers.flusher
    assert disk is not None
    assert flusher is not None
    await stage.flush()
    files = {path.parent.name + path.name for path in (folder / "data").rglob("*") if path.is_file()}
    rows = {row.digest.hex() for row in await flusher.select(bucket="b")}
    assert files == rows == {digest.hex() for digest in disk.policy.nodes}


async def on_disk(stage: Stage, calls: Calls) -> None:
    """A process, another, and one after the trouble is over."""
    folder = stage.folder
    assert folder is not None
    with contextlib.suppress(ConfigError):  # A directory that is no good is refused at the start.
        async with stage.life():
            await begins(stage)
            if not calls.is_sticky:
                with calls.aside():
                    await is_in_order(stage, folder)
    # As a process leaves it that is killed between two writes: a file of which the index has not heard.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
        db.execute("DELETE FROM entries WHERE object_key = 'filler2'").connection.commit()
    with contextlib.suppress(ConfigError):
        async with stage.life():
            await goes_on(stage)
    calls.mend()
    async with stage.life():
        await goes_on(stage)
        await is_in_order(stage, folder)
        assert await stage.get("filler2") == "HIT"
        assert os.listdir(folder / "tmp") == []


async def without_a_disk(stage: Stage, calls: Calls) -> None:
    """Large objects in files without a name."""
    async with stage.life():
        for key in ("large", "checked-large", "ranged"):
            await stage.herd(key)
            await stage.get(key, part=RANGE)
    calls.mend()


async def of_unknown_size(stage: Stage, calls: Calls) -> None:
    """The origin says no length: small objects are in such files too, until they are whole."""
    for key in ("small", "large"):
        stage.origin.faults.add(faults.Fault(chunked=True), key=key)
    async with stage.life():
        for key in ("small", "large"):
            await stage.herd(key)
            await stage.get(key, part=(1 * KB, 4 * KB))
    calls.mend()


Scenario = Callable[[Stage, Calls], Awaitable[None]]


def inline() -> flush.Blocking:
    """No thread: what is done when is the same in every play."""

    async def blocking(work: Callable[[], Any], /) -> Any:
        await trio.lowlevel.checkpoint()
        return work()

    return blocking


@contextmanager
def between(calls: Calls) -> Iterator[None]:
    """Stand between the cache and the system; a failing disk is tried again at once."""
    gc.collect()
    gc.freeze()  # What other tests have left in this process would be gone through with every play.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "in_one_thread", inline)
        patch.setattr(flush, "_LOOK_AGAIN_SECONDS", 0.0)
        patch.setattr(health, "PAUSE_SECONDS", 0.0)
        calls.install(patch)
        yield
    gc.unfreeze()


def in_turn(calls: list[Call], *, is_sticky: bool) -> list[Fault]:
    """One for each call, in turn of all that may go wrong with it."""
    found = []
    for number, call in enumerate(calls):
        troubles = [trouble for trouble, failures in TROUBLES.items() if call.name in failures]
        found.append(Fault(troubles[(number + TURN) % len(troubles)], call, is_sticky))
    return found


async def sweep(
    scenario: Scenario, calls: Calls, choose: Callable[[list[Call]], list[Fault]], *, has_disk: bool = False
) -> set[str]:
    """Play a scenario without a fault, then with each that is chosen for its calls; returns which these are."""
    wrong: list[str] = []
    missed: list[Fault] = []

    async def play(fault: Fault | None) -> None:
        gc.collect()
        before = descriptors()
        calls.begin(fault)
        origin.faults.clear()
        with contextlib.ExitStack() as stack, trio.fail_after(15):
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=QUICK_DISK)) if has_disk else None
            stage = Stage(origin, Path(folder) if folder is not None else None)
            await scenario(stage, calls)
        # A call that does a part of what was asked is as good as any other.
        assert stage.complaints == 0 or (fault is not None and fault.trouble != "interrupted")
        gc.collect()
        assert descriptors() == before

    with between(calls):
        async with trio.open_nursery() as nursery:
            origin = EmbeddedOrigin(credentials={ACCESS_KEY: SECRET_KEY})
            await nursery.start(origin.serve)
            await play(None)
            made = {call.name for call in calls.counted}
            found = choose(calls.counted)
            for fault in found:
                try:
                    await play(fault)
                except* (AssertionError, OSError, StoreError, sqlite3.Error, trio.TooSlowError) as group:
                    wrong.append(f"{fault}: {''.join(traceback.format_exception(group)[-6:])}")
                if not calls.struck:
                    missed.append(fault)
            nursery.cancel_scope.cancel()
    assert not wrong, "\n".join(wrong)
    # Sockets and threads have a little to say in what is called when.
    assert len(missed) <= len(found) // 20, [str(fault) for fault in missed]
    return made


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "for good"])
async def test_a_failing_disk_costs_nobody_a_byte(selection: slice, is_sticky: bool):
    made = await sweep(on_disk, Calls(), lambda calls: in_turn(calls, is_sticky=is_sticky)[selection], has_disk=True)
    assert made == {name for failures in TROUBLES.values() for name in failures} - {"mkstemp", "gettempdir"}


def at_changes(trouble: str, *, is_sticky: bool) -> Callable[[list[Call]], list[Fault]]:
    """Some of the moments at which the index is written."""

    def choose(calls: list[Call]) -> list[Fault]:
        changes = [call for call in calls if call.site == "Index._settle" and call.name in TROUBLES[trouble]]
        return [Fault(trouble, call, is_sticky) for call in changes[:: max(1, len(changes) // 12)]]

    return choose


async def test_what_the_index_cannot_be_told_is_not_purged_by_a_lie():
    await sweep(on_disk, Calls(), at_changes("worn out", is_sticky=True), has_disk=True)


async def test_an_index_that_is_owed_too_much_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "_MAX_OWED", 0)
    await sweep(on_disk, Calls(), at_changes("full", is_sticky=False), has_disk=True)


def test_a_file_that_cannot_be_read_hides_none_of_those_beside_it(tmp_path: Path):
    cache = Folder(str(tmp_path))
    cache.prepare()
    keys = [key for n in range(1000) if digest_of(key := f"b\0{n}\0")[0] == 7]
    for key in keys:
        cache.write_whole(digest_of(key), b"x", encode_record(small(key, b"x"), ((0, 1),), {}, 4096))
    calls = Calls()
    calls.begin(Fault("failing", Call("read", "_row_of", 1), is_sticky=False))
    with between(calls):
        found = examine(cache, 7, lambda digest: False)
    assert calls.struck
    assert len(found.rows) == len(keys) - 1 == len(found.digests) - 1 > 0
    assert found.error is not None
    assert found.damaged == 0


# Where there is no disk tier, and files without a name cannot be had in one go, or their size is not known.
PLACES = [
    pytest.param(without_a_disk, True, id="temporary"),
    pytest.param(without_a_disk, False, id="temporary, named at first"),
    pytest.param(of_unknown_size, True, id="of unknown size"),
]


@pytest.mark.parametrize(("scenario", "has_unnamed"), PLACES)
@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "for good"])
async def test_temporary_files_that_fail_cost_nobody_a_byte(scenario: Scenario, has_unnamed: bool, is_sticky: bool):
    made = await sweep(scenario, Calls(has_unnamed=has_unnamed), lambda calls: in_turn(calls, is_sticky=is_sticky))
    assert made >= ({"open"} if has_unnamed else {"mkstemp", "unlink"}) | {"gettempdir", "pwrite", "close"}


async def test_no_place_for_temporary_files_costs_nobody_a_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    async with one_stage(None) as stage:
        await without_a_disk(stage, Calls())
        assert stage.complaints > 0


# Reading what is sent: `os.sendfile` is the server's, and the file the cache's


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Let nothing behind the first 50 KB of a file be read from here on."""
    real, inodes = os.sendfile, set[int]()

    def sendfile(out: int, fd: int, offset: int, count: int) -> int:
        if os.fstat(fd).st_ino not in inodes:
            return real(out, fd, offset, count)
        if offset >= 50 * KB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(out, fd, offset, min(count, 50 * KB - offset))

    monkeypatch.setattr(os, "sendfile", sendfile)
    with contextlib.ExitStack() as stack:

        def spoil(path: Path) -> None:
            # Held, for the number of a file that has gone would be the next one's.
            file = stack.enter_context(open(path, "rb"))
            inodes.add(os.fstat(file.fileno()).st_ino)

        yield spoil


@pytest.mark.parametrize("trouble", ["failing", "cut short"])
async def test_a_file_that_cannot_be_sent_cuts_its_client_and_is_fetched_again(
    tmp_path: Path, spoil: Callable[[Path], None], trouble: str
):
    async with one_stage(tmp_path) as stage, stage.life():
        await stage.get("large")
        await stage.flush()
        (path,) = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        if trouble == "failing":
            spoil(path)
        else:
            os.truncate(path, 50 * KB)
        (answer,) = await patient(stage.proxy.port, "/b/large", "")
        assert not answer.is_whole
        assert stage.versions["large"][0].startswith(answer.body)
        assert stage.proxy.system.metrics.store_errors == 1
        assert await stage.get("large") == "MISS"
        assert await stage.get("large") == "HIT"


async def test_a_file_that_cannot_be_sent_while_it_fills_costs_nobody_a_byte(
    tmp_path: Path, spoil: Callable[[Path], None]
):
    async with one_stage(tmp_path) as stage, stage.life():
        stage.origin.faults.add(faults.Fault(bandwidth=1.5 * MB), count=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.herd, "large")
            while not (found := os.listdir(tmp_path / "tmp")):
                await trio.lowlevel.checkpoint()
            spoil(tmp_path / "tmp" / found[0])
        assert await stage.get("large") == "MISS"
        assert await stage.get("large") == "HIT"


# A disk that is full


def mount(path: Path, *options: str) -> str:
    """Mount a file system in memory; what is said against it, if anything."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr or "not done" if done.returncode else ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; whoever may not mount cannot have one: no install step would help, in CI neither."""
    path = tmp_path / "disk"
    path.mkdir()
    refused = mount(path, "size=4m") if os.geteuid() == 0 else "not root"
    if refused:
        pytest.skip(f"needs to mount a tmpfs: {refused}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


BIG = {f"k{number}": 1500 * KB for number in range(6)}


def said_of(stage: Stage) -> list[str]:
    """What was said of the store, by event and action."""
    events = [json.loads(line) for line in stage.proxy.log.text.splitlines()]
    return [
        f"{line['event']} {line['cause'].split(':')[1] if line['event'] == 'disk_failed' else ''}"
        for line in events
        if line["event"] in ("disk_failed", "store_failed")
    ]


@pytest.mark.system
async def test_a_full_disk_costs_nobody_a_byte_and_is_used_again(small_disk: Path):
    async with one_stage(small_disk, BIG) as stage:
        stage.cache["disk"].update(max_size="64MB", min_free="0B")  # Nobody looks how much room there is.
        async with stage.life():
            for key in (*BIG, *BIG, *BIG):
                await stage.herd(key)
            assert "No space left on device" in stage.proxy.log.text
            # It is left alone for a moment, and elsewhere there is room: one herd falls apart, into three.
            assert stage.origin.request_count() <= 3 * len(BIG) + 3
            said = said_of(stage)
            assert len(said) == len(set(said)), said  # All this within the minute.
            assert mount(small_disk, "remount", "size=64m") == ""
            disk = stage.proxy.system.disk
            assert disk is not None
            disk.health._paused_until = 0.0
            for key in BIG:
                await stage.get(key)
            assert [await stage.get(key) for key in BIG] == ["HIT"] * len(BIG)
        async with stage.life():
            assert [await stage.get(key) for key in BIG] == ["HIT"] * len(BIG)


@pytest.mark.system
async def test_a_full_directory_for_temporary_files_costs_nobody_a_byte(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    async with one_stage(None, {**BIG, "huge": 6 * MB}) as stage, stage.life():
        for key in stage.sizes:
            await stage.herd(key)
        assert said_of(stage) == ["store_failed "]
        before = stage.origin.request_count("huge")
        assert mount(small_disk, "remount", "size=64m") == ""
        await stage.herd("huge")
        assert stage.origin.request_count("huge") == before + 1
        assert os.listdir(small_disk) == []
