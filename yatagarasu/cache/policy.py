"""What a shared cache may do with a response (RFC 9111), as pure functions of request, entry and `now`.

Three questions, in the order a request meets them: may this response be stored, and for how long (section 3,
4.2)? May the stored one answer this request as it is (section 4)? What does a 304 change (section 4.3.4)?
Operators' timings apply where a response says nothing, since S3 objects mostly carry no Cache-Control;
`ttl_override` beats what the origin says about freshness, never what it says about privacy.
"""

from dataclasses import dataclass, replace
from enum import Enum

from yatagarasu.cache.body import Body
from yatagarasu.cache.entry import Entry, Key, Lifetime
from yatagarasu.http.cache_control import (
    RequestDirectives,
    ResponseDirectives,
    parse_response_directives,
    targeted_directives,
)
from yatagarasu.http.freshness import explicit_freshness, initial_age
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.messages import ResponseHead
from yatagarasu.http.vary import selecting_values, varying_names

# RFC 9110, section 15.1: cacheable by heuristics, so by `ttl` too. 206 stands for the 200 it is part of.
_CACHEABLE = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
_NEGATIVE = frozenset((404, 410))
# RFC 9111, section 3.2: what a 304 does not replace, because it describes the bytes that are stored.
_KEPT_ON_UPDATE = frozenset(("content-encoding", "content-length", "content-range", "content-type", "etag"))


@dataclass(frozen=True, slots=True)
class Timing:
    """An operator's timings, in seconds, for responses that say nothing themselves.

    `ttl_override`, where it is set, is for all of them.
    """

    ttl: float = 0.0
    ttl_override: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    negative_ttl: float = 1.0


@dataclass(frozen=True, slots=True)
class NotStorable:
    """Why a response must not be stored."""

    reason: str


class Decision(Enum):
    """What a stored entry, or the lack of one, means for a request."""

    HIT = "hit"
    STALE = "stale"  # serve at once, revalidate in the background
    REVALIDATE = "revalidate"
    MISS = "miss"
    PASS = "pass"  # fetch for this client alone, store nothing
    UNAVAILABLE = "unavailable"  # only-if-cached: 504


def storable(
    *,
    method: str,
    request: RequestDirectives,
    response: ResponseHead,
    authorized: bool,
    timing: Timing,
    now: float,
) -> Lifetime | NotStorable:
    """Whether a response may be stored, and for how long it may be used (RFC 9111, section 3).

    Args:
        authorized: an Authorization field went to the origin (section 3.5).
        now: epoch seconds at which the response came.
    """
    headers, status = response.headers, response.status
    targeted = targeted_directives(headers)
    directives = targeted or parse_response_directives(headers)
    if method not in ("GET", "HEAD"):
        return NotStorable("method")
    if request.no_store:
        return NotStorable("request no-store")
    refusal = _refusal(headers, directives, authorized=authorized)
    if refusal is not None:
        return NotStorable(refusal)
    # RFC 9213, section 2.2: beside a targeted field, Expires is ignored as Cache-Control is.
    stated = headers if targeted is None else headers.without(("expires",))
    explicit = explicit_freshness(stated, directives, now)
    if status >= 500 or status < 200 or (status not in _CACHEABLE and explicit is None):
        return NotStorable(f"status {status}")
    if status not in _CACHEABLE and directives.must_understand:
        return NotStorable(f"status {status} is not understood")
    fresh = _fresh_seconds(status, directives, explicit, timing)
    if fresh is None:
        return NotStorable("negative_ttl is zero")
    return Lifetime(
        fresh_seconds=fresh,
        stale_while_revalidate_seconds=_or(directives.stale_while_revalidate, timing.stale_while_revalidate),
        stale_if_error_seconds=_or(directives.stale_if_error, timing.stale_if_error),
        # Section 5.2.2.10: s-maxage implies proxy-revalidate.
        must_revalidate=directives.must_revalidate or directives.proxy_revalidate or directives.s_maxage is not None,
        always_revalidate=timing.ttl_override is None and (directives.no_cache or bool(directives.no_cache_fields)),
    )


def _refusal(headers: Headers, directives: ResponseDirectives, *, authorized: bool) -> str | None:
    if directives.no_store and not directives.must_understand:
        return "no-store"
    if directives.private or directives.private_fields:
        return "private"
    if "set-cookie" in headers:
        return "Set-Cookie"
    if varying_names(headers) is None:
        return "Vary: *"
    may_share = directives.public or directives.must_revalidate or directives.s_maxage is not None
    if authorized and not may_share:
        return "Authorization"
    return None


def _fresh_seconds(status: int, directives: ResponseDirectives, explicit: float | None, timing: Timing) -> float | None:
    if status in _NEGATIVE and explicit is None:
        return timing.negative_ttl if timing.negative_ttl > 0 else None
    if timing.ttl_override is not None and status not in _NEGATIVE:
        return timing.ttl_override
    if explicit is not None:
        return explicit
    if directives.no_cache or directives.no_cache_fields:
        return 0.0
    return timing.ttl


def _or(stated: float | None, default: float) -> float:
    return default if stated is None else stated


def decide(request: RequestDirectives, entry: Entry | None, now: float) -> Decision:
    """What answers a request (RFC 9111, section 4). The entry already matches its Vary."""
    if request.no_store and not request.only_if_cached:
        return Decision.PASS
    if entry is None:
        return Decision.UNAVAILABLE if request.only_if_cached else Decision.MISS
    if _may_use_as_is(request, entry, now):
        return Decision.HIT
    if request.only_if_cached:
        return Decision.UNAVAILABLE
    takes_stale = not request.no_cache and request.max_age is None and request.min_fresh is None
    if takes_stale and may_serve_while_revalidating(entry, now):
        return Decision.STALE
    return Decision.REVALIDATE if validators(entry) else Decision.MISS


def _may_use_as_is(request: RequestDirectives, entry: Entry, now: float) -> bool:
    if entry.lifetime.always_revalidate or request.no_cache:
        return False
    if request.max_age is not None and entry.age(now) > request.max_age:
        return False
    left = entry.fresh_for(now)
    if left > (request.min_fresh or 0.0) or (left > 0 and left == request.min_fresh):
        return True
    # Section 5.2.1.2: a request may take what is stale, unless the response forbids it.
    return (
        request.max_stale is not None
        and request.min_fresh is None
        and not entry.lifetime.must_revalidate
        and -left <= request.max_stale
    )


def may_serve_while_revalidating(entry: Entry, now: float) -> bool:
    """Within the stale-while-revalidate window (RFC 5861, section 3)."""
    lifetime = entry.lifetime
    return (
        not lifetime.must_revalidate
        and not lifetime.always_revalidate
        and -entry.fresh_for(now) < lifetime.stale_while_revalidate_seconds
    )


def may_serve_on_error(request: RequestDirectives, entry: Entry, now: float) -> bool:
    """Within a stale-if-error window, the response's or the request's (RFC 5861, section 4)."""
    lifetime = entry.lifetime
    if lifetime.must_revalidate or lifetime.always_revalidate or request.no_cache:
        return False
    window = max(lifetime.stale_if_error_seconds, request.stale_if_error or 0.0)
    return -entry.fresh_for(now) < window


def validators(entry: Entry) -> tuple[Pair, ...]:
    """The conditions that ask whether an entry is still good (RFC 9111, section 4.3.1)."""
    pairs: list[Pair] = []
    if entry.status in _NEGATIVE:
        return ()
    if entry.etag is not None:
        pairs.append(("if-none-match", entry.etag))
    if entry.last_modified is not None:
        pairs.append(("if-modified-since", entry.last_modified))
    return tuple(pairs)


def make_entry(
    key: Key,
    response: ResponseHead,
    body: Body,
    *,
    size: int | None,
    request_time: float,
    response_time: float,
    lifetime: Lifetime,
    request_headers: Headers,
) -> Entry:
    """An entry of a first head. A 206 becomes the 200 it is part of; fields of the moment are left out."""
    headers = response.headers.end_to_end().without(("age", "content-length", "content-range"))
    return Entry(
        key=key,
        status=200 if response.status == 206 else response.status,
        headers=headers,
        body=body,
        size=size,
        response_time=response_time,
        initial_age=initial_age(response.headers, request_time, response_time),
        lifetime=lifetime,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        selecting=selecting_values(varying_names(headers), request_headers),
    )


def freshened(
    entry: Entry, response: ResponseHead, request_time: float, response_time: float, lifetime: Lifetime
) -> Entry:
    """The entry as a 304 leaves it: newer fields over the same body (RFC 9111, sections 3.2, 4.3.4)."""
    news = response.headers.end_to_end().without(_KEPT_ON_UPDATE | {"age"})
    headers = entry.headers.replace(news)
    return replace(
        entry,
        headers=headers,
        response_time=response_time,
        initial_age=initial_age(response.headers, request_time, response_time),
        lifetime=lifetime,
        last_modified=headers.get("last-modified"),
        derived={},
    )
