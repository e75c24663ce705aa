"""A whole proxy on loopback sockets in front of the embedded origin."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from yatagarasu.app import System, open_system
from yatagarasu.bench.faults import FaultScript
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.store import ObjectStore
from yatagarasu.config.model import Config
from yatagarasu.observe.log import Log

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret-canary"


class Lines:
    """A text stream that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


class Reachable:
    """A running system and its doors."""

    system: System

    @property
    def port(self) -> int:
        return int(self.system.addresses[0].rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        assert self.system.admin_address is not None
        return int(self.system.admin_address.rpartition(":")[2])

    async def raw(self, data: bytes, *, port: int | None = None, half_closes: bool = False) -> bytes:
        """Send bytes on a new connection and read until the proxy closes it; fails after ten seconds."""
        answer = bytearray()
        with trio.fail_after(10):
            stream = await trio.open_tcp_stream("127.0.0.1", port or self.port)
            async with stream:
                try:
                    await stream.send_all(data)
                    if half_closes:
                        await stream.send_eof()
                    async for chunk in stream:
                        answer += chunk
                except (trio.BrokenResourceError, OSError):
                    pass  # A reset: what came before it counts.
        return bytes(answer)


@dataclass
class Proxy(Reachable):
    """A running system, its origin, and what it said."""

    system: System
    origin: EmbeddedOrigin
    log: Lines
    access: list[bytes] = field(default_factory=list)

    @property
    def store(self) -> ObjectStore:
        return self.origin.store

    @property
    def faults(self) -> FaultScript:
        return self.origin.faults

    async def get(self, target: str, *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """One request on its own connection: status, fields, body."""
        lines = [f"{method} {target} HTTP/1.1", "Host: test", "Connection: close", *fields]
        answer = await self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        status_line, *rest = head.decode("latin-1").split("\r\n")
        return int(status_line.split()[1]), dict(line.split(": ", 1) for line in rest), body


def make_config(endpoint: str, **sections: Any) -> Config:
    """A config of one bucket at /b, with sections on top."""
    bucket = {
        "name": "b",
        "path_prefix": "/b",
        "list": True,
        "cors": {"allow_origins": ["https://app.example"]},
        "s3": {"bucket": "bkt", "endpoint": endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
    }
    data: dict[str, Any] = {
        "server": {"listen": ["127.0.0.1:0"]},
        "admin": {"listen": "127.0.0.1:0"},
        "cache": {"ttl": "1h"},
        "buckets": [bucket],
    }
    for name, value in sections.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) and name in data else value
    return Config.model_validate(data)


@asynccontextmanager
async def run_proxy(**sections: Any) -> AsyncIterator[Proxy]:
    """A running proxy."""
    origin = EmbeddedOrigin(credentials={ACCESS_KEY: SECRET_KEY})
    origin.store.make_bucket("bkt")
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        lines, access = Lines(), []
        log = Log(level="debug", stream=lines)  # type: ignore[arg-type]
        async with open_system(make_config(origin.endpoint, **sections), log=log, write_access=access.append) as system:
            yield Proxy(system, origin, lines, access)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with run_proxy() as running:
        running.store.put("bkt", "k", b"0123456789", content_type="text/plain")
        yield running


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
