"""What a flight is asked to fetch, and how it may end."""

from dataclasses import dataclass, field
from enum import Enum

from yatagarasu.cache.entry import Key
from yatagarasu.cache.policy import Timing
from yatagarasu.http.cache_control import NO_REQUEST_DIRECTIVES, RequestDirectives
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.origin.client import Origin
from yatagarasu.origin.retry import RetrySettings

NO_HEADERS = Headers()


# Not frozen, which would make each one several microseconds dearer; nobody changes one all the same.
@dataclass(slots=True, eq=False)
class Fetch:
    """One object of one origin, as the first client asked for it.

    `primary` is the cache key before Vary, `key` the one with its variant; `headers` go to the origin;
    `request_headers` are the client's, which Vary selects by; `authorized` says whether an Authorization field
    goes to the origin; `storable` is off for routes without a cache.
    """

    origin: Origin
    bucket: str
    object_key: str
    query: str
    primary: Key
    key: Key
    timing: Timing
    headers: tuple[Pair, ...] = ()
    request_headers: Headers = NO_HEADERS
    directives: RequestDirectives = NO_REQUEST_DIRECTIVES
    authorized: bool = False
    storable: bool = True
    request_id: str = ""

    def context(self) -> dict[str, object]:
        """Fields that name this fetch in a log line."""
        return {
            "bucket": self.bucket,
            "key": self.object_key,
            "endpoint": self.origin.endpoint,
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes to ask for: half open; `stop` None is to the end; `suffix` counts from the end instead."""

    start: int = 0
    stop: int | None = None
    suffix: int | None = None

    @property
    def is_whole(self) -> bool:
        """The whole object, no Range field needed."""
        return self.start == 0 and self.stop is None and self.suffix is None

    def field(self, pos: int | None = None) -> str:
        """The Range field's value, from `pos` on where a flight resumes (RFC 9110, section 14.2)."""
        if pos is None and self.suffix is not None:
            return f"bytes=-{self.suffix}"
        first = self.start if pos is None else pos
        return f"bytes={first}-" if self.stop is None else f"bytes={first}-{self.stop - 1}"


WHOLE = Span()


class Verdict(Enum):
    """How a flight ended."""

    COMPLETE = "complete"
    NOT_MODIFIED = "not_modified"
    UNCACHEABLE = "uncacheable"
    CHANGED = "changed"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class FlightSettings:
    """Numbers of `[coalescing]`, `[origin] retry` and the cache that flights go by: bytes and seconds."""

    enabled: bool = True
    wait_timeout: float = 30.0
    max_waiters: int = 10_000
    join_ahead: int = 8 * 1024 * 1024
    readahead: int = 8 * 1024 * 1024
    stall_timeout: float = 10.0
    failure_ttl: float = 1.0
    uncacheable_ttl: float = 120.0
    uncacheable_concurrency: int = 64
    finish_abandoned_at: float = 0.5
    abandon_grace: float = 1.0
    block_size: int = 1024 * 1024
    retry: RetrySettings = field(default_factory=RetrySettings)
