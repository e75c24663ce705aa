"""A store that fails is a miss and a metric, never an answer."""

import errno
import os
import random

from tests.fakes import Play

DATA = random.Random(5).randbytes(3_000_000)


async def test_no_temporary_file_means_everybody_fetches_alone(autojump_clock, make_rig, origin, tmp_path):
    origin.objects["k"] = DATA
    rig = make_rig(temporary_directory=str(tmp_path / "gone"))
    clients = await rig.herd(3)
    assert all(client.is_whole and client.body == DATA for client in clients)
    assert rig.metrics.store_errors == 1
    await rig.settle()


async def test_a_disk_that_fills_up_under_a_herd_cuts_nobody(autojump_clock, make_rig, origin, monkeypatch):
    origin.objects["k"] = DATA
    origin.default = Play(chunk_seconds=0.01)
    written = 0
    pwrite = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        nonlocal written
        written += len(data)
        if written > 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    rig = make_rig()
    clients = await rig.herd(5)
    assert all(client.is_whole and client.body == DATA for client in clients)
    rest = dict(origin.requests[1].headers)
    assert rest["range"].startswith("bytes=9")
    assert rest["if-match"].startswith('"')
    assert rig.metrics.store_errors == 1
    assert sum('"store_failed"' in line for line in rig.log_lines) == 1
    await rig.settle()


async def test_a_stored_head_without_room_for_its_body_is_fetched_alone(autojump_clock, make_rig, origin, tmp_path):
    origin.objects["k"] = DATA
    rig = make_rig(temporary_directory=str(tmp_path / "gone"))
    await rig.ask(method="HEAD")
    client = await rig.ask()
    assert client.is_whole
    assert client.body == DATA
    await rig.settle()
