"""Connections that do nothing: what each of them costs a server in memory."""

import resource
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from yatagarasu.bench.cpu import process_tree
from yatagarasu.bench.report import Row, Run
from yatagarasu.bench.scenario import Needs, Scenario, Server, Stage
from yatagarasu.bench.scenarios import item, number
from yatagarasu.errors import ConfigError

# What a server allocates once, it allocates for these.
_FIRST = 200
_TIMEOUT_SECONDS = 30.0
_SPARE_DESCRIPTORS = 200


async def _connections(stage: Stage, settings: Mapping[str, Any]) -> list[Row]:
    row = Row(scenario="connections", headline=["bytes_per_connection"])
    tables = {"server": {"max_connections": settings["count"] + 2 * _FIRST}}
    for at in range(stage.runs):
        stage.say(f"connections, run {at + 1} of {stage.runs}")
        async with stage.server(tables) as server:
            path = item("1KiB", stage.tag(), "object").path
            row.runs.append(await trio.to_thread.run_sync(partial(_idle, server, path, settings["count"])))
    return [row]


def _idle(server: Server, path: str, count: int) -> Run:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    address = (parts.hostname, parts.port or 80)
    request = f"GET {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    with _descriptors(count + _FIRST + _SPARE_DESCRIPTORS), ExitStack() as stack:
        _open(stack, address, request, _FIRST)
        before = _memory(server.pids)
        _open(stack, address, request, count)
        grown = _memory(server.pids) - before
    return Run(numbers={"connections": float(count), "bytes_per_connection": grown / count})


def _open(stack: ExitStack, address: tuple[str, int], request: bytes, count: int) -> None:
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection(address, _TIMEOUT_SECONDS))
        sock.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < 1024:
            data = sock.recv(65_536)
            if not data:
                raise ConfigError("connections: the server closed a connection; is its limit lower than their number?")
            received += data


def _memory(pids: Sequence[int]) -> int:
    """Resident bytes of these process trees, shared pages by their share."""
    total = 0
    for root in pids:
        for pid in process_tree(root):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


@contextmanager
def _descriptors(wanted: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise ConfigError(f"connections: {wanted} descriptors are wanted, this machine allows {hard} (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


CONNECTIONS = Scenario(
    "connections",
    "memory of each idle keep-alive connection that has made a request",
    _connections,
    (number("count", "2000", "connections"),),
    Needs.OURS,
)
