"""The disk tier on a real directory: kept over restarts, holes and all; bounded; never wrong."""

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.cache.disk.conftest import KIB, MIB, body_of, bytes_of, small
from yatagarasu.cache.body import MemoryBody
from yatagarasu.cache.disk import flush
from yatagarasu.cache.disk.folder import digest_of
from yatagarasu.cache.disk.index import Index
from yatagarasu.cache.entry import Lifetime

DATA = random.Random(3).randbytes(3 * MIB + 77)
Opened = Callable[..., Any]


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache" / "data").rglob("*") if path.is_file())


async def test_a_small_entry_survives_a_restart(opened: Opened):
    async with opened() as disk:
        assert disk.tier.put(small("b\0k\0", b"hello", cache_control="max-age=9"))
    async with opened() as disk:
        found = disk.tier.get("b\0k\0")
        assert isinstance(found.body, MemoryBody)
        assert bytes_of(found) == b"hello"
        assert found.headers.get("cache-control") == "max-age=9"
        assert (found.etag, found.lifetime, found.response_time) == ('"5"', Lifetime(60.0), 1e9)


async def test_it_is_found_before_it_is_written(opened: Opened):
    async with opened() as disk:
        entry = small("b\0k\0", b"hello")
        disk.tier.put(entry)
        assert disk.tier.get("b\0k\0") is entry


async def test_it_is_found_before_the_index_is_read(opened: Opened):
    async with opened() as disk:
        disk.tier.put(small("b\0k\0", b"hello"))
    async with opened() as disk:
        assert not disk.tier.knows_all
        assert disk.tier.get("b\0k\0") is not None


async def test_holes_are_kept_and_filled_later(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        entry = disk.fill(small("b\0big\0", b""), DATA, (0, 100_000), (2 * MIB, 2 * MIB + 300_000))
        disk.tier.rest(entry)
    (path,) = files(tmp_path)
    assert path.stat().st_blocks * 512 < 600_000 < path.stat().st_size
    async with opened() as disk:
        found = disk.tier.get("b\0big\0")
        body = body_of(found)
        assert list(body.extents) == [(0, 100_000), (2 * MIB, 2 * MIB + 300_000)]
        assert bytes_of(found, 2 * MIB, 2 * MIB + 300_000) == DATA[2 * MIB : 2 * MIB + 300_000]
        disk.tier.put(found)
        for start, stop in ((100_000, 2 * MIB), (2 * MIB + 300_000, len(DATA))):
            body.write(start, DATA[start:stop])
        assert body.is_complete
        del found, body
    async with opened() as disk:
        assert bytes_of(disk.tier.get("b\0big\0")) == DATA


async def test_a_process_that_is_killed_leaves_what_was_flushed(opened: Opened):
    async with opened(clean=False) as disk:
        entry = disk.fill(small("b\0big\0", b""), DATA, (0, 2 * MIB))
        await disk.flusher.flush()
        body_of(entry).write(2 * MIB, DATA[2 * MIB : 2 * MIB + 500])  # too late to be told
    async with opened() as disk:
        found = disk.tier.get("b\0big\0")
        assert list(body_of(found).extents) == [(0, 2 * MIB)]
        assert bytes_of(found, 0, 2 * MIB) == DATA[: 2 * MIB]


async def test_a_freshened_head_is_written(opened: Opened):
    for data in (b"x" * 100, DATA):
        async with opened() as disk:
            entry = disk.fill(small("k", b""), data) if len(data) > MIB else small("k", data)
            disk.tier.put(entry)
            await disk.flusher.flush()
            entry.response_time = 2e9
            assert disk.tier.replace(entry)
        async with opened() as disk:
            found = disk.tier.get("k")
            assert found.response_time == 2e9
            assert bytes_of(found) == data


async def test_what_varies_is_remembered(opened: Opened):
    async with opened() as disk:
        disk.tier.put_vary("b\0k\0", ("accept", "origin"), 1e9)
    async with opened() as disk:
        assert disk.tier.get("b\0k\0") == ("accept", "origin")


async def test_a_new_generation_takes_the_place_of_the_old_one_which_its_readers_keep(opened: Opened):
    async with opened() as disk:
        old = disk.fill(small("k", b""), DATA)
        await disk.flusher.flush()
        new = disk.fill(small("k", b""), DATA[::-1])
        assert disk.tier.get("k").body is new.body
        await disk.flusher.flush()
        assert bytes_of(old) == DATA
        assert disk.tier.statistics().entries == 1
    async with opened() as disk:
        assert bytes_of(disk.tier.get("k")) == DATA[::-1]


@pytest.mark.parametrize("flushes", [False, True], ids=["noted", "written"])
@pytest.mark.parametrize("open_files", [1, 100])
async def test_a_freshened_head_of_an_old_generation_is_not_written(opened: Opened, flushes: bool, open_files: int):
    """It was asked for before the new one came, and answered after."""
    async with opened(open_files=open_files) as disk:
        old = disk.fill(small("k", b""), DATA)
        await disk.flusher.flush()
        disk.fill(small("k", b""), DATA[::-1])
        if flushes:
            await disk.flusher.flush()
        disk.fill(small("another", b""), DATA)  # With one open file, the new one is not held any more.
        assert not disk.tier.replace(old)
        assert bytes_of(disk.tier.get("k")) == DATA[::-1]
    async with opened() as disk:
        assert bytes_of(disk.tier.get("k")) == DATA[::-1]


async def test_a_removed_entry_is_gone_at_once_and_stays_gone(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        disk.tier.put(small("k", b"data"))
        await disk.flusher.flush()
        disk.tier.remove("k")
        assert disk.tier.get("k") is None
        await disk.flusher.flush()
        assert files(tmp_path) == []
    async with opened() as disk:
        await disk.known()
        assert disk.tier.statistics().entries == 0


async def test_the_bound_holds_on_disk_while_filling(opened: Opened, tmp_path: Path):
    async with opened(max_size=20 * MIB, max_object_size=8 * MIB) as disk:
        rng = random.Random(5)
        for number in range(120):
            size = rng.choice((500, 10 * KIB, 300 * KIB, 2 * MIB, 3 * MIB))
            if size > MIB:
                disk.fill(small(f"k{number}", b""), DATA[:size])
            else:
                disk.tier.put(small(f"k{number}", DATA[:size]))
            assert disk.tier.policy.size <= 20 * MIB
            if number % 7 == 0:
                await disk.flusher.flush()
                assert sum(path.stat().st_blocks * 512 for path in files(tmp_path)) <= 20 * MIB * 1.02
        await disk.flusher.flush()
        taken = sum(path.stat().st_blocks * 512 for path in files(tmp_path))
        assert 20 * MIB * 0.8 < taken <= 20 * MIB * 1.02
        assert len(files(tmp_path)) == disk.tier.statistics().entries


async def test_charges_are_what_the_files_take(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        for number, size in enumerate((1, 3000, 4096, 10 * KIB, 200 * KIB)):
            disk.tier.put(small(f"small{number}", DATA[:size]))
        disk.fill(small("whole", b""), DATA)
        disk.tier.rest(disk.fill(small("holes", b""), DATA, (0, 5000), (MIB, 2 * MIB)))
        await disk.flusher.flush()
        taken = sum(path.stat().st_blocks * 512 for path in files(tmp_path))
        assert 0.98 < taken / disk.tier.statistics().bytes <= 1.02


async def test_an_evicted_body_is_read_to_its_end(opened: Opened, tmp_path: Path):
    async with opened(max_size=8 * MIB, max_object_size=4 * MIB) as disk:
        first = disk.fill(small("first", b""), DATA)
        for number in range(4):
            disk.fill(small(f"k{number}", b""), DATA)
        await disk.flusher.flush()
        assert disk.tier.get("first") is None
        assert bytes_of(first) == DATA


async def test_popular_entries_stay_popular_over_a_restart(opened: Opened):
    async with opened(max_size=2 * MIB, max_object_size=MIB) as disk:
        for number in range(20):
            disk.tier.put(small(f"k{number}", DATA[: 50 * KIB]))
            await disk.flusher.flush()
            for _ in range(3):
                disk.tier.get("k0")
        for number in range(40):
            disk.tier.put(small(f"once{number}", DATA[: 50 * KIB]))
        assert disk.tier.get("k0") is not None
    async with opened(max_size=2 * MIB, max_object_size=MIB) as disk:
        await disk.known()
        node = disk.tier.policy.node(digest_of("k0"))
        assert node is not None
        assert node.is_main


async def test_min_free_makes_room_and_then_refuses(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    free = 100 * MIB
    async with opened(min_free=50 * MIB) as disk:
        disk.tier.put(small("k", b"data"))
        monkeypatch.setattr(disk.tier.folder, "free_bytes", lambda: free)
        await disk.flusher._keep_space()
        assert disk.tier.get("k") is not None
        free = 49 * MIB
        await disk.flusher._keep_space()
        assert disk.tier.get("k") is None
        assert disk.tier.new_body("big", MIB) is None
        assert not disk.tier.put(small("k", b"data"))
        free = 51 * MIB
        await disk.flusher._keep_space()
        assert disk.tier.put(small("k", b"data"))


# Bad days


async def test_a_damaged_index_is_made_anew_from_the_files(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        for number in range(10):
            disk.tier.put(small(f"b\0k{number}\0", DATA[:1000], surrogate_key="news"))
    (tmp_path / "cache" / "index.sqlite").write_bytes(b"\0garbage" * 1000)
    async with opened() as disk:
        await disk.known()
        assert disk.tier.statistics().entries == 10
        assert {row.key for row in await disk.flusher.select(tag="news")} == {f"b\0k{number}\0" for number in range(10)}


async def test_what_is_asked_for_before_the_index_is_made_anew_is_in_it_too(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        disk.tier.put(small("b\0k\0", DATA[:1000], surrogate_key="news"))
    (tmp_path / "cache" / "index.sqlite").unlink()
    async with opened() as disk:
        assert disk.tier.get("b\0k\0") is not None
        assert not disk.tier.knows_all
        await disk.known()
        assert [row.key for row in await disk.flusher.select(tag="news")] == ["b\0k\0"]


async def test_an_index_that_is_damaged_while_it_is_used_is_made_anew_from_the_files(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        await disk.known()
        for number in range(10):
            disk.tier.put(small(f"b\0k{number}\0", DATA[:1000], surrogate_key="news"))
        await disk.flusher.flush()
        with sqlite3.connect(tmp_path / "cache" / "index.sqlite") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_schema SET rootpage = 10000 WHERE name = 'entries'")
            db.execute("PRAGMA schema_version = 999")  # Read it again, everybody.
        db.close()
        disk.tier.put(small("b\0late\0", DATA[:1000], surrogate_key="news"))
        await disk.flusher.flush()
        found = {row.key for row in await disk.flusher.select(tag="news")}
        assert found == {"b\0late\0", *(f"b\0k{number}\0" for number in range(10))}


async def test_an_index_that_another_process_has_made_anew_is_followed(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        await disk.known()
        disk.tier.put(small("b\0k\0", DATA[:1000], surrogate_key="news"))
        await disk.flusher.flush()
        other = Index(str(tmp_path / "cache"))
        other.reset()
        other.close()
        with trio.fail_after(5):
            while not _listed(tmp_path / "cache", "news"):
                await trio.sleep(0.05)


def _listed(path: Path, tag: str) -> list[str]:
    """What the index says, to one who has just opened it."""
    index = Index(str(path))
    index.open()
    try:
        return [row.key for row in index.select(tag=tag)]
    finally:
        index.close()


@pytest.mark.parametrize("cut", [0, 1, 60, 700, 1024])
async def test_a_truncated_file_is_a_miss_and_goes_away(opened: Opened, tmp_path: Path, cut: int):
    async with opened() as disk:
        disk.tier.put(small("k", DATA[:1000]))
    (path,) = files(tmp_path)
    os.truncate(path, cut)
    async with opened() as disk:
        assert disk.tier.get("k") is None
        await disk.flusher.flush()
        assert files(tmp_path) == []
        assert disk.tier.health.damaged == 1


@pytest.mark.parametrize("where", [-1, -30, -70, -200])
async def test_a_flipped_bit_in_what_a_file_says_of_itself_is_a_miss(opened: Opened, tmp_path: Path, where: int):
    async with opened() as disk:
        disk.tier.put(small("k", DATA[:1000]))
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    async with opened() as disk:
        assert disk.tier.get("k") is None


async def test_foreign_files_are_left_alone(opened: Opened, tmp_path: Path):
    folder = tmp_path / "cache" / "data" / "ab"
    folder.mkdir(parents=True)
    (folder / "README").write_text("mine")
    (tmp_path / "cache" / "data" / "note.txt").write_text("mine too")
    (folder / ("0" * 30)).write_text("has the name of one of ours")
    async with opened() as disk:
        await disk.known()
        assert sorted(path.name for path in files(tmp_path)) == ["README", "note.txt"]


async def test_another_keys_file_is_a_miss(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        disk.tier.put(small("k", b"data"))
    (path,) = files(tmp_path)
    name = digest_of("other").hex()
    other = tmp_path / "cache" / "data" / name[:2] / name[2:]
    other.parent.mkdir(exist_ok=True)
    path.rename(other)
    async with opened() as disk:
        assert disk.tier.get("other") is None
        await disk.known()
        assert files(tmp_path) == []


@pytest.mark.parametrize("size", [1000, len(DATA)])
async def test_after_a_machine_crash_a_body_is_checked_before_its_first_use(opened: Opened, tmp_path: Path, size: int):
    async with opened() as disk:
        for key in ("good", "bad"):
            disk.fill(small(key, b""), DATA) if size > MIB else disk.tier.put(small(key, DATA[:size]))
    bad = tmp_path / "cache" / "data" / digest_of("bad").hex()[:2] / digest_of("bad").hex()[2:]
    damaged = bytearray(bad.read_bytes())
    damaged[size // 2 : size // 2 + 8] = b"\0\0lost\0\0"
    bad.write_bytes(damaged)
    async with opened() as disk:
        disk.tier.folder.boot_id = b"another boot id."
        found = {key: disk.tier.get(key) for key in ("good", "bad")}
        if size <= MIB:
            assert found["bad"] is None
        else:
            for entry in found.values():
                assert not body_of(entry).is_verified
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(disk.flusher.verify, entry)
            # The block that holds the damage has gone; the others stay.
            assert list(body_of(found["bad"]).extents) == [(0, MIB), (2 * MIB, size)]
        assert bytes_of(found["good"]) == DATA[:size]
    async with opened() as disk:
        disk.tier.folder.boot_id = b"another boot id."
        again = disk.tier.get("good")
        assert size <= MIB or body_of(again).is_verified


class Failing:
    """A directory whose disk fails as long as `error` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        for name in ("pwritev", "open"):
            real = getattr(os, name)

            def call(*args: Any, real: Any = real, **kwargs: Any) -> Any:
                is_ours = not isinstance(args[0], str) or "/cache/" in args[0]
                if self.error is not None and is_ours:
                    raise OSError(self.error, os.strerror(self.error))
                return real(*args, **kwargs)

            monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
async def test_a_failing_disk_is_left_alone_and_taken_up_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, number: int
):
    failing = Failing(monkeypatch)
    async with opened() as disk:
        failing.error = number
        disk.tier.put(small("k", b"data"))
        await disk.flusher.flush()
        assert disk.tier.get("k") is None
        assert disk.tier.new_body("big", 2 * MIB) is None
        assert not disk.tier.put(small("k", b"data"))
        assert disk.tier.statistics().errors >= 1
        assert disk.log.text.count("disk_failed") <= 2
        failing.error = None
        disk.tier.health._paused_until = 0.0
        assert disk.tier.put(small("k", b"data"))
        await disk.flusher.flush()
        assert disk.tier.statistics().entries == 1


async def test_a_vanished_directory_is_made_again(opened: Opened, tmp_path: Path):
    import shutil

    async with opened() as disk:
        disk.tier.put(small("k", b"data"))
        await disk.flusher.flush()
        shutil.rmtree(tmp_path / "cache")
        assert disk.tier.get("k") is None
        assert disk.tier.new_body("big", 2 * MIB) is None
        await disk.flusher.flush()
        disk.tier.health._paused_until = 0.0
        assert disk.tier.put(small("k", b"data"))
        await disk.flusher.flush()
    async with opened() as disk:
        assert disk.tier.get("k") is not None


async def test_descriptors_stay_in_bounds(opened: Opened):
    async with opened(open_files=5, memory_object_size=0) as disk:
        for number in range(30):
            disk.tier.put(small(f"k{number}", DATA[:1000]))
        await disk.flusher.flush()
        before = len(os.listdir("/proc/self/fd"))
        for number in range(30):
            assert bytes_of(disk.tier.get(f"k{number}")) == DATA[:1000]
        assert len(os.listdir("/proc/self/fd")) - before <= 5


async def test_a_body_that_nobody_wanted_leaves_no_file(opened: Opened, tmp_path: Path):
    async with opened() as disk:
        body = disk.tier.new_body("k", 2 * MIB)
        assert body is not None
        assert len(list((tmp_path / "cache" / "tmp").iterdir())) == 1
        del body
        assert list((tmp_path / "cache" / "tmp").iterdir()) == []


# Several processes


@dataclass
class Part:
    """A share; `left` are bytes that others hold, `reported` is what they hear of this process."""

    owns_all: bool = True
    left: int = 0
    reported: int = 0
    is_shared: bool = True
    may_write: bool = True

    def owns(self, key: str) -> bool:
        return self.owns_all

    def members(self) -> object:
        return self.owns_all

    def max_bytes(self, max_size: int) -> int:
        return max_size - self.left

    def report(self, size: int) -> None:
        self.reported = size


async def test_keeps_to_what_the_others_leave(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flush, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(flush, "_FLUSH_SECONDS", 0.01)
    part = Part()
    async with opened(share=part, max_size=8 * MIB) as disk:
        await disk.known()
        with trio.fail_after(10):
            while not disk.tier.is_settled:
                await trio.sleep(0.01)
        for number in range(6):
            disk.fill(small(f"k{number}", b""), bytes(MIB))
        assert 6 * MIB < part.reported == disk.tier.statistics().bytes <= 8 * MIB
        await disk.flusher.flush()
        part.left = 5 * MIB
        disk.fill(small("more", b""), bytes(MIB))
        assert part.reported <= 3 * MIB


async def test_a_file_that_becomes_ours_is_found_and_one_that_goes_is_left_alone(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(flush, "_FLUSH_SECONDS", 0.01)
    ours, theirs = Part(), Part(owns_all=False)
    async with opened(share=ours) as first, opened(share=theirs) as second:
        first.fill(small("k", b""), DATA)
        await first.flusher.flush()
        await first.known()
        ours.owns_all, theirs.owns_all = False, True
        with trio.fail_after(10):
            while second.tier.statistics().entries != 1 or first.tier.statistics().entries:
                await trio.sleep(0.01)
        assert bytes_of(second.tier.get("k")) == DATA
        assert bytes_of(first.tier.get("k")) == DATA


async def test_what_a_dead_process_left_half_done_is_taken_away(opened: Opened, tmp_path: Path):
    folder = tmp_path / "cache" / "tmp"
    folder.mkdir(parents=True)
    (folder / "4194305-1").write_bytes(b"of nobody")
    (folder / f"{os.getpid()}-77").write_bytes(b"of ours")
    async with opened(share=Part()) as disk:
        await disk.known()
        assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}-77"]


async def test_who_does_not_own_a_key_reads_what_the_owner_wrote(opened: Opened):
    async with opened(share=Part()) as owner, opened(share=Part(owns_all=False)) as other:
        entry = owner.fill(small("k", b""), DATA, (0, MIB))
        await owner.flusher.flush()
        assert other.tier.get("k") is None  # holes are the owner's business
        body_of(entry).write(MIB, DATA[MIB:])
        await owner.flusher.flush()
        found = other.tier.get("k")
        assert bytes_of(found) == DATA
        assert other.tier.get("k") is found
        entry.response_time = 2e9
        owner.tier.replace(entry)
        await owner.flusher.flush()
        assert other.tier.get("k").response_time == 2e9
        owner.tier.remove("k")
        await owner.flusher.flush()
        assert other.tier.get("k") is None
        assert other.tier.new_body("k", 2 * MIB) is None
        assert not other.tier.put(small("k", b"x"))
