"""The embedded S3 origin: in memory, checks signatures, commits faults on demand, counts what it is asked.

For demos, tests and benchmarks: GET and HEAD of objects with ranges and conditions, ListObjectsV2, HEAD of
buckets, path style and virtual-hosted style.
"""

import argparse
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from yatagarasu.bench.faults import Fault, FaultScript
from yatagarasu.bench.store import ObjectStore, StoredObject
from yatagarasu.errors import BadRequest
from yatagarasu.http.conditional import Outcome, evaluate, if_range_holds
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.ranges import format_content_range, parse_range, resolve
from yatagarasu.http.wire import HeaderBlocks, encode_head, parse_request_line
from yatagarasu.s3.errors import render_error_xml
from yatagarasu.s3.keys import decode_path
from yatagarasu.s3.listing import Listed, ListPage, ListRequest, render_list_v2
from yatagarasu.s3.signing import check_signature
from yatagarasu.units import parse_size

_RECV_BYTES = 16 * 1024
_SEND_BYTES = 256 * 1024
_STATUS_OF = {
    "AccessDenied": 403, "InvalidAccessKeyId": 403, "SignatureDoesNotMatch": 403, "RequestTimeTooSkewed": 403,
    "AuthorizationHeaderMalformed": 400, "AuthorizationQueryParametersError": 400,
    "NoSuchKey": 404, "NoSuchBucket": 404, "MethodNotAllowed": 405, "InvalidRange": 416,
    "PreconditionFailed": 412, "InvalidRequest": 400, "SlowDown": 503, "InternalError": 500,
}  # fmt: skip


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


@dataclass(slots=True)
class _Answer:
    status: int
    pairs: list[Pair]
    body: bytes = b""
    stored: StoredObject | None = None
    start: int = 0
    stop: int = 0


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
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                try:
                    data = self._sock.recv(_RECV_BYTES)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._sock)
                    continue
                if not data or len(self._buffer) > 64 * 1024:
                    return
                self._buffer += data
                continue
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            raw_line, _, block = head.partition(b"\r\n")
            try:
                method, target, _ = parse_request_line(raw_line)
                headers = self._blocks.parse(block + b"\r\n" if block else b"").headers
            except BadRequest:
                await self._send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                return
            if not await self._respond(method, target, headers):
                return

    async def _respond(self, method: str, target: str, headers: Headers) -> bool:
        origin = self._origin
        raw_path, _, query = target.partition("?")
        bucket, key = self._split(raw_path, headers)
        seen = Seen(origin.clock(), method, bucket, key, headers.get("range"), headers)
        origin.requests.append(seen)
        fault = origin.faults.take(method, key)
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
            origin.store.put(bucket, key, fault.new_data)
        answer = self._answer(method, raw_path, query, bucket, key, headers, fault)
        seen.status = answer.status
        return await self._write(method, answer, fault, seen, bucket, key)

    def _split(self, raw_path: str, headers: Headers) -> tuple[str, str]:
        host = headers.get("host", "").partition(":")[0]
        path = decode_path(raw_path)[1:]
        first = host.partition(".")[0]
        if "." in host and first in self._origin.store.buckets:
            return first, path
        bucket, _, key = path.partition("/")
        return bucket, key

    def _answer(
        self, method: str, raw_path: str, query: str, bucket: str, key: str, headers: Headers, fault: Fault
    ) -> _Answer:
        origin = self._origin
        if fault.status is not None:
            code = fault.code or ("SlowDown" if fault.status == 503 else "InternalError")
            answer = self._error(code, raw_path, status=fault.status)
            if fault.retry_after is not None:
                answer.pairs.append(("retry-after", str(fault.retry_after)))
            return answer
        if origin.credentials is not None:
            code_or_none = check_signature(method, raw_path, query, headers, origin.credentials.get, origin.clock())
            if code_or_none is not None:
                return self._error(code_or_none, raw_path)
        if method not in ("GET", "HEAD"):
            return self._error("MethodNotAllowed", raw_path)
        if bucket not in origin.store.buckets:
            return self._error("NoSuchBucket", raw_path)
        if not key:
            return self._bucket(method, query, bucket, raw_path)
        stored = origin.store.get(bucket, key)
        if stored is None:
            return self._error("NoSuchKey", raw_path)
        return self._object(method, stored, headers, raw_path, fault)

    def _object(self, method: str, stored: StoredObject, headers: Headers, path: str, fault: Fault) -> _Answer:
        outcome = evaluate(method, headers, etag=stored.etag, last_modified=stored.last_modified)
        pairs: list[Pair] = [
            ("x-amz-request-id", "0123456789ABCDEF"),
            ("date", format_http_date(self._origin.clock())),
            ("last-modified", stored.last_modified),
            ("accept-ranges", "bytes"),
        ]
        if fault.wrong_etag:
            pairs.append(("etag", '"00000000000000000000000000000000"'))
        elif fault.weak_etag:
            pairs.append(("etag", f"W/{stored.etag}"))
        elif not fault.missing_etag:
            pairs.append(("etag", stored.etag))
        replaced = {name for name, _ in fault.headers}
        pairs = [pair for pair in (*pairs, *stored.headers) if pair[0] not in replaced] + list(fault.headers)
        if outcome is Outcome.PRECONDITION_FAILED:
            return self._error("PreconditionFailed", path)
        if outcome is Outcome.NOT_MODIFIED:
            return _Answer(304, pairs)
        start, stop, status = 0, stored.size, 200
        specs = None if fault.ignore_range else parse_range(headers.get("range"))
        if (
            specs is not None
            and len(specs) == 1
            and if_range_holds(headers, etag=stored.etag, last_modified=stored.last_modified, date=None)
        ):
            found = resolve(specs, stored.size)
            if not found:
                answer = self._error("InvalidRange", path)
                answer.pairs.append(("content-range", f"bytes */{stored.size}"))
                return answer
            (start, stop), status = found[0], 206
            shift = 7 if fault.wrong_content_range else 0
            pairs.append(("content-range", format_content_range(start + shift, stop + shift, stored.size + shift)))
        return _Answer(status, pairs, b"", stored, start, stop)

    def _bucket(self, method: str, query: str, bucket: str, path: str) -> _Answer:
        if method == "HEAD":
            return _Answer(200, [("content-type", "application/xml")])
        try:
            request = ListRequest.parse(query)
        except BadRequest:
            return self._error("InvalidRequest", path)
        body = render_list_v2(bucket, _page(self._origin.store, bucket, request))
        return _Answer(200, [("content-type", "application/xml")], body)

    @staticmethod
    def _error(code: str, path: str, *, status: int | None = None) -> _Answer:
        body = render_error_xml(code, code, path, "0123456789ABCDEF")
        return _Answer(status or _STATUS_OF.get(code, 400), [("content-type", "application/xml")], body)

    async def _write(self, method: str, answer: _Answer, fault: Fault, seen: Seen, bucket: str, key: str) -> bool:
        stored = answer.stored
        size = len(answer.body) if stored is None else answer.stop - answer.start
        pairs = answer.pairs
        is_chunked = fault.chunked and answer.status in (200, 206)
        if is_chunked:
            pairs.append(("transfer-encoding", "chunked"))
        elif answer.status != 304:
            pairs.append(("content-length", str(size + (fault.lying_length if stored is not None else 0))))
        if fault.huge_head:
            pairs.append(("x-filler", "x" * 200_000))
        head = encode_head(answer.status, pairs) + b"\r\n"
        if fault.slow_head:
            for byte in head:
                await self._send(bytes((byte,)))
                await trio.sleep(fault.slow_head)
            head = b""
        if method == "HEAD" or answer.status == 304:
            await self._send(head)
            return True
        if stored is None:
            await self._send(head + answer.body)
            return True
        return await self._write_object(head, stored, answer, fault, seen, bucket, key, is_chunked=is_chunked)

    async def _write_object(
        self,
        head: bytes,
        stored: StoredObject,
        answer: _Answer,
        fault: Fault,
        seen: Seen,
        bucket: str,
        key: str,
        *,
        is_chunked: bool,
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
            pos = end
            sent = pos - answer.start
            if not is_replaced and fault.replace_after is not None and sent >= fault.replace_after:
                is_replaced = True
                self._origin.store.put(bucket, key, fault.new_data or b"")
            if fault.bandwidth is not None:
                await trio.sleep_until(began + sent / fault.bandwidth)
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


def _page(store: ObjectStore, bucket: str, request: ListRequest) -> ListPage:
    after = request.continuation_token or request.start_after
    found: list[Listed] = []
    prefixes: list[str] = []
    last: str | None = None
    for key in sorted(store.buckets[bucket]):
        if not key.startswith(request.prefix) or (after and key <= after):
            continue
        cut = key.find(request.delimiter, len(request.prefix)) if request.delimiter else -1
        common = key[: cut + len(request.delimiter)] if cut >= 0 else None
        if common is not None and (common in prefixes or (after and after.startswith(common))):
            last = key
            continue
        if len(found) + len(prefixes) >= request.max_keys:
            return ListPage(found, prefixes, last, request)
        last = key
        if common is not None:
            prefixes.append(common)
            continue
        stored = store.buckets[bucket][key]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stored.modified_at))
        found.append(Listed(key, stored.size, stored.etag, stamp))
    return ListPage(found, prefixes, None, request)


def main() -> None:
    """`python -m yatagarasu.bench.origin`: the origin alone, for putting any proxy in front of it."""
    parser = argparse.ArgumentParser(prog="python -m yatagarasu.bench.origin", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each head")
    parser.add_argument("--bandwidth", type=parse_size, help="bytes a second of each body")
    parser.add_argument("--cache-control")
    parser.add_argument("--object", action="append", default=[], metavar="BUCKET/KEY=SIZE")
    parser.add_argument("--keys", metavar="BUCKET/PREFIX=COUNT,SIZE", help="many small objects PREFIX0, PREFIX1, …")
    arguments = parser.parse_args()
    store = ObjectStore()
    extra = {"cache-control": arguments.cache_control} if arguments.cache_control else None
    for text in arguments.object:
        name, _, size = text.rpartition("=")
        bucket, _, key = name.partition("/")
        store.put_pattern(bucket, key, parse_size(size), headers=extra)
    if arguments.keys:
        name, _, numbers = arguments.keys.rpartition("=")
        count, _, size = numbers.partition(",")
        bucket, _, prefix = name.partition("/")
        for number in range(int(count)):
            store.put_pattern(bucket, f"{prefix}{number}", parse_size(size), headers=extra)
    credentials = {arguments.access_key: arguments.secret_key} if arguments.access_key else None
    origin = EmbeddedOrigin(store, credentials=credentials, port=arguments.port)
    if arguments.latency or arguments.bandwidth:
        origin.faults.add(Fault(latency=arguments.latency, bandwidth=arguments.bandwidth))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(origin.serve)
            print(f"ready 127.0.0.1:{port}", flush=True)

    try:
        trio.run(run)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
