"""What an origin's head means for the cache: an entry to fill, a freshened one, or bytes for one client only."""

from collections.abc import Callable
from dataclasses import dataclass

from yatagarasu.cache.body import Body, NoBody, WindowBody
from yatagarasu.cache.entry import Entry, Key, Lifetime
from yatagarasu.cache.policy import NotStorable, freshened, make_entry, storable
from yatagarasu.cache.variants import variant_key
from yatagarasu.http.messages import ResponseHead
from yatagarasu.http.numbers import parse_count
from yatagarasu.http.ranges import parse_content_range
from yatagarasu.http.vary import selecting_values, varying_names
from yatagarasu.proxy.fetch import Fetch


@dataclass(frozen=True, slots=True)
class Shared:
    """May be stored and shared; `varies_by` are the request fields that select it."""

    entry: Entry
    varies_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unshared:
    """For the client that asked alone (F7); `reason` says why."""

    reason: str


def size_of(head: ResponseHead) -> int | None:
    """Bytes of the whole representation that a head speaks of, None where it does not say."""
    if head.status == 206:
        found = parse_content_range(head.headers.get("content-range"))
        return found.size if found is not None else None
    return parse_count(head.headers.get("content-length"))


def lifetime_of(fetch: Fetch, head: ResponseHead, now: float) -> Lifetime | NotStorable:
    """How long the answer may be used, or why it may not be stored (RFC 9111, section 3)."""
    if not fetch.storable:
        return NotStorable("the route has no cache")
    return storable(
        method="GET",
        request=fetch.directives,
        response=head,
        authorized=fetch.authorized,
        timing=fetch.timing,
        now=now,
    )


def understand(
    fetch: Fetch,
    method: str,
    head: ResponseHead,
    request_time: float,
    now: float,
    new_body: Callable[[Key, int | None], Body],
) -> Shared | Unshared:
    """Read a first head: 2xx, 404 or 410.

    Args:
        method: GET or HEAD; a HEAD, like a negative answer, makes a head-only entry.
        request_time: epoch seconds at which the request left.
        new_body: makes an empty body for a cache key and a size in bytes, None where unknown.
    """
    names = varying_names(head.headers)
    if names is None:
        return Unshared("Vary: *")
    lifetime = lifetime_of(fetch, head, now)
    if isinstance(lifetime, NotStorable):
        return Unshared(lifetime.reason)
    size = size_of(head)
    key = variant_key(fetch.primary, selecting_values(names, fetch.request_headers))
    body: Body
    if head.status in (404, 410):
        body = NoBody(0)
    elif method == "HEAD":
        body = NoBody(size)
    else:
        body = new_body(key, size)
    entry = make_entry(
        key,
        head,
        body,
        size=size,
        request_time=request_time,
        response_time=now,
        lifetime=lifetime,
        request_headers=fetch.request_headers,
    )
    return Shared(entry, names)


def relay(fetch: Fetch, method: str, head: ResponseHead, request_time: float, now: float, start: int) -> Entry:
    """An entry for one client: nothing of it is stored, its bytes pass through a window from `start` on."""
    size = size_of(head)
    is_bodiless = method == "HEAD" or head.status in (204, 304)
    return make_entry(
        fetch.key,
        head,
        NoBody(size) if is_bodiless else WindowBody(size, start=start),
        size=size,
        request_time=request_time,
        response_time=now,
        lifetime=Lifetime(0.0),
        request_headers=fetch.request_headers,
    )


def refreshed(fetch: Fetch, stored: Entry, head: ResponseHead, request_time: float, now: float) -> tuple[Entry, bool]:
    """The stored entry after a 304, and whether it may stay stored (RFC 9111, section 4.3.4)."""
    merged = ResponseHead(stored.status, stored.headers.replace(head.headers.end_to_end()))
    lifetime = lifetime_of(fetch, merged, now)
    if isinstance(lifetime, NotStorable):
        return freshened(stored, head, request_time, now, Lifetime(0.0)), False
    return freshened(stored, head, request_time, now, lifetime), True
