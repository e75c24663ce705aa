"""A private `serve` in front of the embedded origin: its config, its process."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from os import sched_setaffinity
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli_w
import trio

from yatagarasu.bench.scenario import BUCKET, Server, Tables
from yatagarasu.errors import ConfigError, InternalError

_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0
_READY = b" ready on "
# The access log is written as anybody's would be; where it goes to is not what is measured.
_OURS = {
    "server": {"listen": ["127.0.0.1:0"], "drain_timeout": "1s"},
    "log": {"level": "error", "format": "json"},
}


def private_config(own: Mapping[str, Any] | None, tables: Tables, endpoint: str, folder: Path) -> str:
    """TOML of a server with one bucket, which is the embedded origin's.

    `own` is a config of the user's: its timings, limits, cache and the first bucket's settings hold, but it listens
    elsewhere, keeps its cache elsewhere and gets its objects from the embedded origin. Raises ConfigError.
    """
    merged: dict[str, Any] = {name: dict(value) if isinstance(value, dict) else value for name, value in _OURS.items()}
    buckets: list[dict[str, Any]] = [{"list": True, "cache": {"ttl": "1h"}}]
    if own is not None:
        merged = _merge({k: v for k, v in own.items() if k not in ("buckets", "admin", "log")}, merged)
        buckets = [dict(bucket) for bucket in own.get("buckets", [])[:1]]
        if not buckets:
            raise ConfigError("the config to be measured has no [[buckets]]")
        if "disk" in own.get("cache", {}):
            merged = _merge(merged, {"cache": {"disk": {"path": "FOLDER/disk"}}})
    merged = _merge(merged, tables)
    bucket = buckets[0]
    bucket.pop("directory", None)
    # Requests are signed, as for a real bucket; the embedded origin does not check that here.
    s3 = {"bucket": BUCKET, "endpoint": endpoint, "access_key": "bench", "secret_key": "bench-only"}
    merged["buckets"] = [bucket | {"name": BUCKET, "path_prefix": f"/{BUCKET}", "s3": s3}]
    return tomli_w.dumps(merged).replace("FOLDER", str(folder))


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(under)
    for name, value in over.items():
        below = found.get(name)
        found[name] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


@asynccontextmanager
async def open_private(config: str, folder: Path, cores: set[int]) -> AsyncIterator[Server]:
    """Run `serve` with a config until the context is left; its workers share `cores`.

    Raises:
        ConfigError: it refused its config; says what it said.
        InternalError: it did not start.
    """
    path = folder / "bench.toml"
    path.write_text(config)
    command = [sys.executable, "-m", "yatagarasu", "serve", "-c", str(path)]
    with (folder / "access.log").open("wb") as access:
        process = await trio.lowlevel.open_process(command, stdout=access, stderr=subprocess.PIPE)
    try:
        if cores:
            sched_setaffinity(process.pid, cores)
        assert process.stderr is not None
        said = _Said(process.stderr)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(_READY_SECONDS) as waiting:
                address = await said.ready_address()
            if waiting.cancelled_caught:
                raise InternalError(f"the private server was not ready within {_READY_SECONDS:.0f} s")
            if address is None:
                await process.wait()
                raise ConfigError(f"the private server ended with {process.returncode}: {said.text}")
            nursery.start_soon(said.drain)
            yield Server(f"{address}/{BUCKET}", (process.pid,))
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)


async def _stop(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(_STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stderr is not None:
        await process.stderr.aclose()


class _Said:
    """What a server says on its stderr."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._data = b""

    @property
    def text(self) -> str:
        return self._data.decode(errors="replace").strip()

    async def ready_address(self) -> str | None:
        """The first address of the ready line; None where it ends before."""
        while True:
            for line in self._data.split(b"\n")[:-1]:
                if _READY in line:
                    parts = urlsplit(line.partition(_READY)[2].split(b",")[0].decode())
                    return f"http://{parts.netloc}"
            more = await self._stream.receive_some()
            if not more:
                return None
            self._data += more

    async def drain(self) -> None:
        while await self._stream.receive_some():
            pass
