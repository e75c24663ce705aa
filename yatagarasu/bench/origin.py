"""The embedded S3 origin: in memory, checks signatures, commits faults on demand, counts what it is asked.

For demos, tests and benchmarks: GET and HEAD of objects with ranges and conditions, ListObjectsV2, HEAD of
buckets, path style and virtual-hosted style. `/-/counts?tag=T` tells what it was asked for keys with `/T/` in them.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from yatagarasu.bench.answers import Answer, Asked, answer_request, error_answer, read_target
from yatagarasu.bench.counts import KeyCounts
from yatagarasu.bench.faults import NO_FAULT, Fault, FaultScript
from yatagarasu.bench.on_demand import describe
from yatagarasu.bench.store import ObjectStore, StoredObject
from yatagarasu.errors import BadRequest, BodyRefused
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlocks, encode_head, parse_request_line

_RECV_BYTES = 16 * 1024
_SEND_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 64 * 1024
# No bucket has such a name: they have three characters or more.
COUNTS_PATH = "/-/counts"
# A socket that never blocks never lets anybody else run, nor a cancellation in.
_REQUESTS_PER_TURN = 16


@dataclass(slots=True)
class Seen:
    """A request as the origin saw it; `sent_bytes` are body bytes handed to the kernel so far."""

    at: float
    method: str
    bucket: str
    key: str
    range: str | None
    headers: Headers
    status: int = 0
    sent_bytes: int = 0


@dataclass
class EmbeddedOrigin:
    """An S3 server in this process.

    Args:
        credentials: secret by access key; None takes requests without a signature.
        clock: epoch seconds, for signatures and Date.
    """

    store: ObjectStore = field(default_factory=ObjectStore)
    credentials: Mapping[str, str] | None = None
    faults: FaultScript = field(default_factory=FaultScript)
    clock: Callable[[], float] = time.time
    host: str = "127.0.0.1"
    port: int = 0
    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=100_000))
    counts: KeyCounts = field(default_factory=KeyCounts)
    connections: int = 0

    @property
    def endpoint(self) -> str:
        """Its URL, once it serves."""
        return f"http://{self.host}:{self.port}"

    def request_count(self, key: str | None = None, method: str | None = None) -> int:
        """Requests seen, of one key or method."""
        return sum(
            1
            for seen in self.requests
            if (key is None or seen.key == key) and (method is None or seen.method == method)
        )

    def bytes_sent(self, key: str | None = None) -> int:
        """Body bytes sent, of one key."""
        return sum(seen.sent_bytes for seen in self.requests if key is None or seen.key == key)

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; reports the port once it listens."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with listener:
            listener.bind((self.host, self.port))
            listener.listen(4096)
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            async with trio.open_nursery() as nursery:
                task_status.started(self.port)
                while True:
                    try:
                        sock, _ = listener.accept()
                    except BlockingIOError:
                        await trio.lowlevel.wait_readable(listener)
                        continue
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    nursery.start_soon(self._connection, sock)

    async def _connection(self, sock: socket.socket) -> None:
        self.connections += 1
        try:
            with sock:
                await _Connection(self, sock).run()
        except OSError:
            return  # The client has gone.
        finally:
            self.connections -= 1


class _Connection:
    """One connection of a client."""

    _blocks = HeaderBlocks()

    def __init__(self, origin: EmbeddedOrigin, sock: socket.socket) -> None:
        self._origin = origin
        self._sock = sock
        self._buffer = b""

    async def run(self) -> None:
        served = 0
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                try:
                    data = self._sock.recv(_RECV_BYTES)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._sock)
                    continue
                if not data or len(self._buffer) > _MAX_HEAD_BYTES:
                    return
                self._buffer += data
                continue
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            if not await self._respond(head):
                return
            served += 1
            if served % _REQUESTS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _respond(self, head: bytes) -> bool:
        """Answer one request; False where the connection ends with it."""
        origin = self._origin
        raw_line, _, raw_block = head.partition(b"\r\n")
        try:
            method, target, minor = parse_request_line(raw_line)
            block = self._blocks.parse(raw_block + b"\r\n" if raw_block else b"")
        except BadRequest:
            await self._send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            return False
        headers = block.headers
        has_body = isinstance(block.error, BodyRefused)
        closes = block.closes or minor == 0 or block.error is not None
        if target.startswith(COUNTS_PATH):
            body = origin.counts.render(target)
            await self._send(encode_head(200, [("content-length", str(len(body)))]) + b"\r\n" + body)
            return not closes
        try:
            asked = read_target(origin.store, method, target, headers)
        except BadRequest:
            seen = self._note(Asked(method, target, "", "", target, headers))
            answer = error_answer("InvalidURI", target)
            return await self._write(answer, NO_FAULT, seen, closes=closes, has_body=has_body)
        seen = self._note(asked)
        fault = origin.faults.take(method, asked.key)
        if fault is NO_FAULT and asked.bucket in origin.store.on_demand:
            described = describe(asked.key)
            fault = NO_FAULT if described is None else described.fault(asked.key, origin.counts.requests(asked.key))
        if fault.latency:
            await trio.sleep(fault.latency)
        if fault.reset_before_head:
            self._reset()
            return False
        if fault.close_before_head:
            return False
        if fault.garbage:
            await self._send(b"\x00\x01 this is not HTTP \xff\r\n\r\n" * 8)
            return False
        if fault.new_data is not None and fault.replace_after is None:
            origin.store.put(asked.bucket, asked.key, fault.new_data)
        secret_for = None if origin.credentials is None else origin.credentials.get
        answer = answer_request(origin.store, secret_for, asked, fault, origin.clock())
        return await self._write(answer, fault, seen, closes=closes, has_body=has_body)

    def _note(self, asked: Asked) -> Seen:
        headers = asked.headers
        seen = Seen(self._origin.clock(), asked.method, asked.bucket, asked.key, headers.get("range"), headers)
        self._origin.requests.append(seen)
        self._origin.counts.add_request(asked.key)
        return seen

    async def _write(self, answer: Answer, fault: Fault, seen: Seen, *, closes: bool, has_body: bool) -> bool:
        seen.status = answer.status
        stored, pairs = answer.stored, answer.pairs
        is_chunked = fault.chunked and answer.status in (200, 206)
        if is_chunked:
            pairs.append(("transfer-encoding", "chunked"))
        elif answer.status != 304:
            pairs.append(("content-length", str(answer.size + (fault.lying_length if stored is not None else 0))))
        if closes:
            pairs.append(("connection", "close"))
        if fault.huge_head:
            pairs.append(("x-filler", "x" * 200_000))
        head = encode_head(answer.status, pairs) + b"\r\n"
        if fault.reset_in_head:
            await self._send(head[: len(head) // 2])
            self._reset()
            return False
        if fault.slow_head:
            for byte in head:
                await self._send(bytes((byte,)))
                await trio.sleep(fault.slow_head)
            head = b""
        if seen.method == "HEAD" or answer.status == 304:
            await self._send(head)
        elif stored is None:
            await self._send(head + answer.body)
        elif not await self._write_object(head, stored, answer, fault, seen, is_chunked=is_chunked):
            return False
        if has_body:
            # A body is never read as the next request; closing on unread bytes would reset the answer away.
            self._sock.shutdown(socket.SHUT_WR)
            await self._until_closed()
        return not closes

    async def _write_object(
        self, head: bytes, stored: StoredObject, answer: Answer, fault: Fault, seen: Seen, *, is_chunked: bool
    ) -> bool:
        """Send the body up to the nearest fault, then commit that."""
        limits = [limit for limit in (fault.cut_after, fault.reset_after, fault.stall_after) if limit is not None]
        stop = min([answer.stop, *(answer.start + limit for limit in limits)])
        pos, step = answer.start, _SEND_BYTES
        if fault.bandwidth is not None:
            step = max(1, min(step, int(fault.bandwidth / 50)))
        began = trio.current_time()
        is_replaced = fault.replace_after is None
        while pos < stop:
            end = min(stop, pos + step)
            data = stored.read(pos, end)
            if is_chunked:
                data = b"%x\r\n" % len(data) + bytes(data) + b"\r\n"
            await self._send(head + bytes(data) if head else data)
            head = b""
            seen.sent_bytes += end - pos
            self._origin.counts.add_bytes(seen.key, end - pos)
            pos = end
            sent = pos - answer.start
            if not is_replaced and fault.replace_after is not None and sent >= fault.replace_after:
                is_replaced = True
                self._origin.store.put(seen.bucket, seen.key, fault.new_data or b"")
            if fault.bandwidth is not None:
                await trio.sleep_until(began + sent / fault.bandwidth)
            elif pos < stop:
                await trio.lowlevel.checkpoint()
        if head:
            await self._send(head)
        if stop == answer.stop and (not limits or answer.stop - answer.start < min(limits)):
            if is_chunked:
                await self._send(b"0\r\n\r\n")
            return fault.lying_length == 0
        if fault.stall_after is not None and stop == answer.start + fault.stall_after:
            await self._until_closed()
        elif fault.reset_after is not None and stop == answer.start + fault.reset_after:
            self._reset()
        return False

    async def _until_closed(self) -> None:
        while True:
            try:
                if not self._sock.recv(_RECV_BYTES):
                    return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)

    async def _send(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    def _reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
