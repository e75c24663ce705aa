"""An origin of moods: what S3 would answer, and everything that a network does to that."""

import random
from collections import Counter
from dataclasses import replace

import trio

from tests.simulation.clients import LIES
from tests.simulation.streams import MemoryConnection
from yatagarasu.bench.answers import Answer, answer_request, read_target
from yatagarasu.bench.faults import NO_FAULT, Fault
from yatagarasu.bench.store import ObjectStore
from yatagarasu.errors import OriginBroken, OriginUnreachable
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import HeaderBlocks, encode_head, parse_request_line

EPOCH = 1_790_000_000.0
BUCKET = "bkt"
SIZES = (0, 1, 700, 5_000, 40_000, 70_000, 150_000)
_FIELDS: tuple[tuple[Pair, ...], ...] = (
    (("cache-control", "private"),),
    (("cache-control", "no-store"),),
    (("cache-control", "max-age=1"),),
    (("cache-control", "max-age=0, stale-if-error=5"),),
    (("cache-control", "no-cache"),),
    (("vary", "accept-language"),),
    (("set-cookie", "a=b"),),
)


class Origin:
    """A bucket whose objects change, behind connections that fail.

    Attributes:
        versions: by object key, every content that it has ever had.
        requests: how often each key was asked for.
        trouble: probability that an answer has a fault.
    """

    _blocks = HeaderBlocks()

    def __init__(self, rng: random.Random, nursery: trio.Nursery, keys: list[str]) -> None:
        self._rng, self._nursery = rng, nursery
        self.trouble = rng.choice([0.0, 0.1, 0.4, 0.8])
        self.store = ObjectStore()
        self.store.make_bucket(BUCKET)
        self.versions: dict[str, list[bytes]] = {key: [] for key in keys}
        self.fields = {key: rng.choice(_FIELDS) if rng.random() < 0.25 else () for key in keys}
        self.requests: Counter[str] = Counter()
        self.open_connections = 0
        for key in keys:
            self.change(key)

    def change(self, key: str) -> None:
        """Give an object another content."""
        data = self._rng.randbytes(self._rng.choice(SIZES))
        self.versions[key].append(data)
        when = EPOCH + trio.current_time() - 1_000
        self.store.put(BUCKET, key, data, headers=dict(self.fields[key]), modified_at=when)

    def delete(self, key: str) -> None:
        """Take an object away."""
        self.store.buckets[BUCKET].pop(key, None)

    async def connect(self, host: str, port: int, **_: object) -> MemoryConnection:
        """A connection, or none; see `yatagarasu.origin.connect.open_connection`."""
        await trio.lowlevel.checkpoint()
        if self._rng.random() < self.trouble / 8:
            await trio.sleep(self._rng.random())
            raise OriginUnreachable(f"cannot connect to {host}:{port}", endpoint=host)
        connection = MemoryConnection()
        self._nursery.start_soon(self._serve, connection)
        return connection

    async def _serve(self, connection: MemoryConnection) -> None:
        self.open_connections += 1
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = await connection.up.get(65_536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                if not await self._answer(connection, head):
                    return
        except OriginBroken:
            return  # The proxy has closed.
        finally:
            self.open_connections -= 1
            connection.down.close()

    async def _answer(self, connection: MemoryConnection, head: bytes) -> bool:
        rng, down = self._rng, connection.down
        raw_line, _, raw_block = head.partition(b"\r\n")
        method, target, _ = parse_request_line(raw_line)
        headers: Headers = self._blocks.parse(raw_block + b"\r\n").headers
        asked = read_target(self.store, method, target, headers)
        self.requests[asked.key] += 1
        fault = self._fault(asked.headers) if rng.random() < self.trouble else NO_FAULT
        await trio.sleep(fault.latency or rng.choice([0.0, 0.001, 0.05]))
        if fault.close_before_head:
            return False
        if fault.reset_before_head:
            down.close(reset=True)
            return False
        if fault.garbage:
            down.put(rng.randbytes(200))
            return False
        answer = answer_request(self.store, None, asked, fault, EPOCH + trio.current_time())
        return await self._send(connection, method, answer, fault)

    def _fault(self, headers: Headers) -> Fault:
        rng = self._rng
        kind = rng.randrange(15)
        cut = rng.choice([0, 1, 500, 4_000, 20_000, 66_000, 120_000])
        faults = (
            Fault(latency=rng.choice([0.5, 4.0])),
            Fault(reset_before_head=True),
            Fault(close_before_head=True),
            Fault(reset_in_head=True),
            Fault(garbage=True),
            Fault(status=rng.choice([500, 503, 429])),
            Fault(status=404, code="NoSuchKey") if rng.random() < 0.5 else Fault(status=403, code="AccessDenied"),
            Fault(cut_after=cut),
            Fault(reset_after=cut),
            Fault(stall_after=cut),
            Fault(lying_length=rng.choice(LIES)),
            Fault(ignore_range=True),
            # Of a suffix nobody can tell where it should have begun.
            Fault(wrong_content_range=not headers.get("range", "").startswith("bytes=-")),
            Fault(headers=(("etag", f'"{rng.randbytes(8).hex()}"'),)),
            Fault(weak_etag=True) if rng.random() < 0.5 else Fault(missing_etag=True),
        )
        fault = faults[kind]
        return replace(fault, chunked=True) if rng.random() < 0.15 else fault

    async def _send(self, connection: MemoryConnection, method: str, answer: Answer, fault: Fault) -> bool:
        rng, down = self._rng, connection.down
        stored, pairs = answer.stored, answer.pairs
        is_chunked = fault.chunked and answer.status in (200, 206)
        if is_chunked:
            pairs.append(("transfer-encoding", "chunked"))
        elif answer.status != 304:
            pairs.append(("content-length", str(answer.size + (fault.lying_length if stored is not None else 0))))
        head = encode_head(answer.status, pairs) + b"\r\n"
        if fault.reset_in_head:
            down.put(head[: rng.randrange(len(head))])
            await trio.sleep(0.01)
            down.close(reset=True)
            return False
        if method == "HEAD" or answer.status == 304:
            down.put(head)
            return True
        if stored is None:
            down.put(head + answer.body)
            return True
        data = bytes(stored.read(answer.start, answer.stop))
        limits = [limit for limit in (fault.cut_after, fault.reset_after, fault.stall_after) if limit is not None]
        stop = min([len(data), *limits])
        is_in_one = rng.random() < 0.5
        out, pos = head, 0
        while pos < stop or out:
            if pos < stop:
                piece = data[pos : min(stop, pos + rng.choice([1, 1_000, 16_384, 65_536]))]
                pos += len(piece)
                out += b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece
                if is_in_one and pos < stop:
                    continue
            if down.is_closed:
                return False
            down.put(out)
            out = b""
            if rng.random() < 0.3:
                await trio.sleep(rng.choice([0.0, 0.01, 0.3]))
        if stop < len(data) or limits:
            if fault.stall_after is not None:
                await connection.up.get(1)  # Until the proxy has had enough.
            down.close(reset=fault.reset_after is not None)
            return False
        if is_chunked:
            down.put(b"0\r\n\r\n")
        return fault.lying_length == 0 and rng.random() < 0.9
