"""How the cache took part in an answer: the names that metrics, logs, X-Cache and Cache-Status share."""

from enum import Enum


class CacheOutcome(Enum):
    """Cache outcomes; the value is the metrics label, upper-case it is X-Cache."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"  # a miss that waited for another client's fetch
    PARTIAL = "partial"  # an entry whose missing bytes had to be fetched
    STALE = "stale"
    REVALIDATED = "revalidated"
    PASS = "pass"  # never stored: private, no-store, or no cache on the route
    NONE = "none"  # no cache was asked: errors, OPTIONS, listings

    @property
    def fwd(self) -> str | None:
        """RFC 9211's reason for going forward, None for a hit."""
        return _FWD.get(self)


_FWD = {
    CacheOutcome.MISS: "uri-miss",
    CacheOutcome.COLLAPSED: "uri-miss",
    CacheOutcome.PARTIAL: "partial",
    CacheOutcome.REVALIDATED: "stale",
    CacheOutcome.PASS: "bypass",
    CacheOutcome.NONE: "bypass",
}
