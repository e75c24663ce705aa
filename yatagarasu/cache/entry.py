"""An entry: a stored response, its head, its times and (by reference) its body.

Plain data. What may be done with an entry at a given time is decided in `cache.policy`.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yatagarasu.http.headers import Headers

if TYPE_CHECKING:
    from yatagarasu.cache.body import Body

# A cache key: bucket name, object key, kept query and keyed header values, joined with NUL; a variant
# (RFC 9111, section 4.1) appends its selecting header values after another NUL.
Key = str

# Clocks are corrected by a little all the time. An entry from further in the future was stored before the clock was
# set back; how old it is nobody knows.
CLOCK_TOLERANCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a response may be used. All in seconds from the moment its age was zero.

    `always_revalidate` stands for no-cache; `must_revalidate` forbids every stale use (RFC 9111, section
    5.2.2.2). A window of zero is no window.
    """

    fresh_seconds: float
    stale_while_revalidate_seconds: float = 0.0
    stale_if_error_seconds: float = 0.0
    must_revalidate: bool = False
    always_revalidate: bool = False


# Not frozen, which would make each one several microseconds dearer; `derived` alone changes.
@dataclass(slots=True, eq=False)
class Entry:
    """A stored response. Immutable: a 304 makes a new entry over the same body.

    `headers` are the origin's end-to-end fields; `size` the bytes of the whole representation, None while
    unknown; `response_time` epoch seconds; `initial_age` seconds (RFC 9111, section 4.2.3, corrected);
    `selecting` the request fields named by Vary with the values this response was selected by.
    """

    key: Key
    status: int
    headers: Headers
    body: "Body"
    size: int | None
    response_time: float
    initial_age: float
    lifetime: Lifetime
    etag: str | None = None
    last_modified: str | None = None
    selecting: tuple[tuple[str, str | None], ...] = ()
    # What the proxy derives from the fields above, made once: encoded heads and the like.
    derived: dict[str, object] = field(default_factory=dict, repr=False)

    def age(self, now: float) -> float:
        """Current age in seconds at epoch `now`, never negative (RFC 9111, section 4.2.3)."""
        return max(0.0, self.initial_age + now - self.response_time)

    def fresh_for(self, now: float) -> float:
        """Seconds of freshness left at epoch `now`; zero or less is stale, as is what comes from the future."""
        if now < self.response_time - CLOCK_TOLERANCE_SECONDS:
            return min(0.0, self.lifetime.fresh_seconds)
        return self.lifetime.fresh_seconds - self.age(now)

    @property
    def strong_etag(self) -> str | None:
        """The ETag if it is strong, so that bytes of two answers may be joined (RFC 9110, section 8.8.3.2)."""
        return self.etag if self.etag is not None and self.etag.startswith('"') else None

    def with_body(self, body: "Body") -> "Entry":
        """The same response over another body."""
        return replace(self, body=body, derived={})
