"""Readahead: who reads range by range finds the next bytes there; who jumps about costs no byte more than asked."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes import Play, Rig, ScriptedOrigin, inline, silent_log
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.policy import Timing
from yatagarasu.proxy.fetch import FlightSettings

KIB, MIB = 1024, 1024 * 1024
DATA = random.Random(1).randbytes(12 * MIB + 999)
STEP = 256 * KIB


@asynccontextmanager
async def opened(folder: Path, readahead: int, **play: Any) -> AsyncIterator[Rig]:
    disk = DiskTier(
        DiskSettings(str(folder), 64 * MIB, 32 * MIB, block_size=256 * KIB),
        log=silent_log(),
    )
    disk.folder.prepare()
    flusher = Flusher(disk, blocking=inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(flusher.run)
        yield Rig(
            nursery,
            ScriptedOrigin({"k": DATA}, default=Play(**play)),
            timing=Timing(ttl=3600.0),
            settings=FlightSettings(block_size=256 * KIB, readahead=readahead),
            disk=disk,
            flusher=flusher,
        )
        nursery.cancel_scope.cancel()


async def read(rig: Rig, start: int, stop: int) -> None:
    client = await rig.ask(range=f"bytes={start}-{stop - 1}")
    assert client.body == DATA[start:stop]


@pytest.mark.parametrize("latency", [0.0, 0.05])
async def test_a_sequential_reader_costs_few_requests_and_waits_for_few(
    autojump_clock: object, tmp_path: Path, latency: float
):
    waited: dict[int, float] = {}
    requests: dict[int, int] = {}
    for readahead in (0, 2 * MIB):
        async with opened(tmp_path / str(readahead), readahead, latency=latency) as rig:
            began = trio.current_time()
            for start in range(0, len(DATA), STEP):
                await read(rig, start, min(start + STEP, len(DATA)))
            waited[readahead] = trio.current_time() - began
            requests[readahead] = len(rig.origin.requests)
            await trio.sleep(5)
            # Each byte once, whether somebody asked for it or not.
            assert rig.origin.sent_bytes == len(DATA)
    assert requests[0] == -(-len(DATA) // STEP)
    assert requests[2 * MIB] <= requests[0] // 3
    assert waited[2 * MIB] <= waited[0] / 3


async def test_it_stays_within_its_bound(autojump_clock: object, tmp_path: Path):
    async with opened(tmp_path, 2 * MIB) as rig:
        for start in range(0, 6 * STEP, STEP):
            await read(rig, start, start + STEP)
            await trio.sleep(5)
            assert rig.origin.sent_bytes <= start + STEP + 2 * MIB + 256 * KIB


async def test_a_random_reader_gets_none(autojump_clock: object, tmp_path: Path):
    draw = random.Random(5)
    async with opened(tmp_path, 2 * MIB) as rig:
        blocks = draw.sample(range(0, 48, 2), 16)
        for block in blocks:
            await read(rig, block * STEP, (block + 1) * STEP)
        await trio.sleep(5)
        assert rig.origin.sent_bytes == len(blocks) * STEP


async def test_one_range_alone_gets_none(autojump_clock: object, tmp_path: Path):
    async with opened(tmp_path, 2 * MIB) as rig:
        await read(rig, STEP, 2 * STEP)
        await trio.sleep(5)
        assert rig.origin.sent_bytes == STEP


async def test_a_failing_readahead_fails_nobody(autojump_clock: object, tmp_path: Path):
    async with opened(tmp_path, 2 * MIB) as rig:
        await read(rig, 0, STEP)
        await read(rig, STEP, 2 * STEP)
        await trio.sleep(5)
        rig.origin.default = Play(status=503)
        await read(rig, 2 * STEP, 3 * STEP)
        await trio.sleep(60)
        rig.origin.default = Play()
        for start in range(3 * STEP, 12 * STEP, STEP):
            await read(rig, start, start + STEP)
        await rig.settle()
