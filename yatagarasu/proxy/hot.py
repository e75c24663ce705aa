"""Hot answers: the head of a complete entry in memory, encoded once and renewed once a second."""

from yatagarasu.cache.body import Bytes, MemoryBody
from yatagarasu.cache.entry import Entry
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlock, encode_head
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.proxy.response import moment_fields, plan
from yatagarasu.proxy.router import Route

_NOTHING_ASKED = HeaderBlock(Headers())


class HotAnswer:
    """What a plain GET or HEAD of one entry is answered with.

    `head` lacks the request id and the empty line; `body` is whole. Valid before `fresh_until`, exact before
    `renew_at` (epoch seconds).
    """

    __slots__ = ("_entry", "_fixed", "body", "bucket", "fresh_until", "head", "renew_at", "size")

    def __init__(self, entry: Entry, bucket: str, fixed: bytes, body: Bytes, fresh_until: float) -> None:
        self._entry = entry
        self._fixed = fixed
        self.bucket = bucket
        self.body = body
        self.size = len(body)
        self.fresh_until = fresh_until
        self.head = b""
        self.renew_at = 0.0

    def renew(self, now: float) -> None:
        """Say Age and the time to live as of epoch `now`."""
        fields = moment_fields(CacheOutcome.HIT, self._entry, now)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.head = self._fixed + lines.encode("latin-1") + b"x-request-id: "
        # The next moment at which the age, counted in whole seconds, is another.
        self.renew_at = now + 1.0 - self._entry.age(now) % 1.0


def hot_answer(entry: Entry, route: Route) -> HotAnswer:
    """Prepare an entry's hot answer; one that is never valid where the entry needs a second look each time."""
    body = entry.body
    is_fit = (
        isinstance(body, MemoryBody)
        and body.is_complete
        and entry.status == 200
        and not entry.selecting
        and not entry.lifetime.always_revalidate
    )
    if not is_fit:
        return HotAnswer(entry, route.bucket, b"", b"", 0.0)
    assert isinstance(body, MemoryBody)
    assert body.data is not None
    pairs = list(plan("GET", _NOTHING_ASKED, entry).pairs)
    if route.cors is not None:
        pairs += route.cors.response_fields(_NOTHING_ASKED.headers)
    fresh_until = entry.response_time + entry.lifetime.fresh_seconds - entry.initial_age
    return HotAnswer(entry, route.bucket, encode_head(200, pairs), body.data, fresh_until)
