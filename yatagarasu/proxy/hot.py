"""Hot answers: the heads of a complete entry, encoded once and renewed once a second."""

from collections.abc import Sequence
from typing import NamedTuple

from yatagarasu.cache.body import Body, Bytes, MemoryBody
from yatagarasu.cache.entry import CLOCK_TOLERANCE_SECONDS, Entry
from yatagarasu.errors import StoreError
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import HeaderBlock, encode_head
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.response import is_checksum, moment_fields, plan
from yatagarasu.proxy.router import Line, Route

_NOTHING_ASKED = HeaderBlock(Headers())


class HotAnswer:
    """What a plain GET or HEAD of one entry is answered with, or a GET of one range of it.

    `head` lacks the request id and the empty line; `body` is whole, and where it is in a file, `data` is empty.
    Valid from `fresh_from` until before `fresh_until`, exact before `renew_at` (epoch seconds).
    """

    __slots__ = (
        "_fixed",
        "_fixed_part",
        "_moment",
        "body",
        "bucket",
        "data",
        "fresh_from",
        "fresh_until",
        "head",
        "renew_at",
        "size",
    )

    def __init__(self, entry: Entry, bucket: str, pairs: Sequence[Pair], data: Bytes, fresh_until: float) -> None:
        self._fixed = encode_head(200, pairs)
        self._fixed_part = encode_head(206, [pair for pair in pairs if not _is_of_the_whole(pair[0])])
        self._moment = b""
        self.bucket = bucket
        self.body = entry.body
        self.data = data
        self.size = entry.body.size or 0
        self.fresh_from = entry.response_time - CLOCK_TOLERANCE_SECONDS
        self.fresh_until = fresh_until
        self.head = b""
        self.renew_at = 0.0

    def renew(self, entry: Entry, now: float) -> None:
        """Say Age and the time to live of its entry as of epoch `now`. It holds none: that would be a cycle."""
        fields = moment_fields(CacheOutcome.HIT, entry, now)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self._moment = lines.encode("latin-1") + b"x-request-id: "
        self.head = self._fixed + self._moment
        # The next moment at which the age, counted in whole seconds, is another.
        self.renew_at = now + 1.0 - entry.age(now) % 1.0

    def part_head(self, start: int, stop: int) -> bytes:
        """The head of a 206 with bytes [start, stop)."""
        fields = b"content-range: bytes %d-%d/%d\r\ncontent-length: %d\r\n" % (start, stop - 1, self.size, stop - start)
        return self._fixed_part + fields + self._moment


class Ready(NamedTuple):
    """An answer of which every byte is there: head as `HotAnswer` has it, then `data`, or bytes of `body`'s file."""

    status: int
    head: bytes
    data: Bytes
    body: Body
    start: int
    stop: int


def hot_answer(entry: Entry, route: Route) -> HotAnswer:
    """Prepare an entry's hot answer; one that is never valid where the entry needs a second look each time."""
    body = entry.body
    is_fit = body.is_complete and entry.status == 200 and not entry.selecting and not entry.lifetime.always_revalidate
    if not is_fit:
        return HotAnswer(entry, route.bucket, (), b"", 0.0)
    pairs = list(plan("GET", _NOTHING_ASKED, entry).pairs)
    if route.cors is not None:
        pairs += route.cors.response_fields(_NOTHING_ASKED.headers)
    fresh_until = entry.response_time + entry.lifetime.fresh_seconds - entry.initial_age
    data = body.data if isinstance(body, MemoryBody) else None
    return HotAnswer(entry, route.bucket, pairs, data or b"", fresh_until)


def ready_part(answer: HotAnswer, first: int | None, last: int | None) -> Ready | None:
    """The range that `http.wire.split_range` has found; None where that takes the long way: it is 416, or no range."""
    size = answer.size
    if first is None:
        start, stop = max(0, size - (last or 0)), size
    else:
        start, stop = first, size if last is None else min(last + 1, size)
        if last is not None and last < first:
            return None
    if start >= stop:
        return None
    data = memoryview(answer.data)[start:stop] if answer.data else b""
    return Ready(206, answer.part_head(start, stop), data, answer.body, start, stop)


def _is_of_the_whole(name: str) -> bool:
    """Whether a field says something of all bytes: an SDK would hold a part against the checksum, and reject it."""
    return name == "content-length" or is_checksum(name)


class NeverHot:
    """The part of a `server.reactor.Handler` of one that takes the long way with everything."""

    def seen(self, raw: bytes) -> Line | None:
        """Nothing is remembered."""
        return None

    def hot(self, line: Line, now: float) -> HotAnswer | None:
        """Nothing is."""
        return None

    def ready(self, line: Line, part: tuple[int | None, int | None] | None, now: float) -> Ready | None:
        """Nothing is."""
        return None

    def record_hot(
        self,
        line: Line,
        block: HeaderBlock,
        request_id: str,
        peer: str,
        now: float,
        seconds: float,
        size: int,
        status: int = 200,
        cause: str = "",
    ) -> None:
        """Nothing to record."""

    def lose(self, line: Line, cause: StoreError) -> None:
        """Nothing was ready."""
