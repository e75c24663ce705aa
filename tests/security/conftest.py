"""The pair that attacks aim at: a running proxy, and an origin that keeps every byte it is sent and says any bytes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.server.conftest import Lines, Reachable, make_config
from yatagarasu.app import System, open_system
from yatagarasu.observe.log import Log

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: "e"\r\n\r\ndata'


class RawOrigin:
    """Answers every request head with `answer(head)`; bytes as they are.

    Attributes:
        heads: every request head, whole, in order; what comes without a head's end is in `rest`.
        closes: whether the connection ends with each answer.
    """

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.rest: list[bytes] = []
        self.answer: Callable[[bytes], bytes] = lambda head: OK
        self.closes = False
        self.port = 0

    @property
    def targets(self) -> list[str]:
        """The targets that were asked for."""
        return [head.split(b" ")[1].decode() for head in self.heads]

    async def _serve(self, stream: trio.SocketStream) -> None:
        buffer = b""
        try:
            async for data in stream:
                buffer += data
                while b"\r\n\r\n" in buffer:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.heads.append(head + b"\r\n")
                    await stream.send_all(self.answer(head))
                    if self.closes:
                        await stream.send_eof()
                        return
        except trio.BrokenResourceError:
            pass
        finally:
            if buffer:
                self.rest.append(buffer)

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)


class Pair(Reachable):
    """A proxy in front of a raw origin."""

    def __init__(self, system: System, origin: RawOrigin, log: Lines) -> None:
        self.system, self.origin, self.log = system, origin, log

    async def get(self, target: str, *fields: str, method: str = "GET") -> bytes:
        """One request, one answer, as bytes."""
        lines = [f"{method} {target} HTTP/1.1", "Host: proxy.test", "Connection: close", *fields, "", ""]
        return await self.raw("\r\n".join(lines).encode("latin-1"), half_closes=True)


@asynccontextmanager
async def open_pair(
    *, bucket: dict[str, Any] | None = None, s3: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Pair]:
    """A proxy with one anonymous bucket at /b, its objects below `prefix/` in `bkt`."""
    origin, lines = RawOrigin(), Lines()
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        where = {
            "bucket": "bkt",
            "endpoint": f"http://127.0.0.1:{origin.port}",
            "anonymous": True,
            "key_prefix": "prefix/",
        }
        buckets = [{"name": "b", "path_prefix": "/b", "list": True, "s3": where | (s3 or {}), **(bucket or {})}]
        config = make_config("http://unused.test", buckets=buckets, **sections)
        log = Log(level="debug", stream=lines)  # type: ignore[arg-type]
        async with open_system(config, log=log, write_access=lambda batch: None) as system:
            yield Pair(system, origin, lines)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with open_pair() as found:
        yield found
