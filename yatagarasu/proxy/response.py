"""Answers: from a request and an entry to a status, header fields and the stretches of body to send.

Conditions come before ranges (RFC 9110, section 13.2.2). Nothing here does I/O.
"""

import secrets
from dataclasses import dataclass
from itertools import count

from yatagarasu.cache.entry import Entry
from yatagarasu.errors import PreconditionFailed, RangeNotSatisfiable, YatagarasuError
from yatagarasu.http.cache_status import format_cache_status
from yatagarasu.http.conditional import Outcome, evaluate, if_range_holds
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.ranges import (
    closing,
    format_content_range,
    multipart_length,
    parse_range,
    part_head,
    resolve,
)
from yatagarasu.http.wire import HeaderBlock
from yatagarasu.proxy.outcome import CacheOutcome
from yatagarasu.s3.errors import render_error_json, render_error_xml

CACHE_NAME = "yatagarasu"
VIA = "1.1 yatagarasu"

# What the proxy says itself in every answer.
_OWN_FIELDS = frozenset(
    ("age", "accept-ranges", "cache-status", "content-length", "via", "x-cache", "x-request-id", "trailer")
)
# RFC 9110, section 15.4.5: what a 304 carries; the rest describes a body that is not there.
_KEPT_IN_304 = frozenset(
    (
        "cache-control",
        "cdn-cache-control",
        "content-location",
        "date",
        "etag",
        "expires",
        "last-modified",
        "vary",
    )
)


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer before its bytes.

    `pairs` are all fields but the ones of the moment (Age, cache, connection, request id); `stretches` the
    body's half-open ranges to send, `stop` None for an end that is not known, none of them for no body;
    `part_heads` goes before each stretch of a multipart, `tail` behind the last. `is_chunked` is a body of
    unknown length.
    """

    status: int
    pairs: tuple[Pair, ...]
    stretches: tuple[tuple[int, int | None], ...] = ()
    part_heads: tuple[bytes, ...] = ()
    tail: bytes = b""
    is_chunked: bool = False


def plan(method: str, block: HeaderBlock, entry: Entry) -> Plan:
    """Decide what of an entry answers a request.

    Raises:
        PreconditionFailed: a condition of the request does not hold.
        RangeNotSatisfiable: with `size` in its context.
    """
    base = _fields(entry)
    if entry.status == 304:
        return Plan(304, _only(base, _KEPT_IN_304))
    status = 200 if entry.status == 206 else entry.status
    if status == 200 and block.has_conditions:
        outcome = evaluate(method, block.headers, etag=entry.etag, last_modified=entry.last_modified)
        if outcome is Outcome.NOT_MODIFIED:
            return Plan(304, _only(base, _KEPT_IN_304))
        if outcome is Outcome.PRECONDITION_FAILED:
            raise PreconditionFailed
    size = entry.body.size if entry.size is None else entry.size
    if size is None:
        return Plan(status, base, ((0, None),) if method == "GET" else (), is_chunked=method == "GET")
    if status == 200:
        base = (*base, ("accept-ranges", "bytes"))
        if block.range is not None and method == "GET":
            ranged = _ranged(block, entry, base, size)
            if ranged is not None:
                return ranged
    stretches = ((0, size),) if method == "GET" and size else ()
    return Plan(status, (*base, ("content-length", str(size))), stretches)


def _ranged(block: HeaderBlock, entry: Entry, base: tuple[Pair, ...], size: int) -> Plan | None:
    """The 206 a Range asks for, None where it is to be ignored (RFC 9110, section 14.2)."""
    specs = parse_range(block.range)
    date = entry.headers.get("date") or format_http_date(entry.response_time)
    if specs is None or not if_range_holds(
        block.headers, etag=entry.etag, last_modified=entry.last_modified, date=date
    ):
        return None
    found = resolve(specs, size)
    if not found:
        raise RangeNotSatisfiable(size=size)
    if found == ((0, size),) and len(specs) > 1:
        return None
    # A checksum of the whole over a part would make every SDK reject the part.
    base = tuple(pair for pair in base if not is_checksum(pair[0]))
    if len(found) == 1:
        start, stop = found[0]
        fields = (
            ("content-range", format_content_range(start, stop, size)),
            ("content-length", str(stop - start)),
        )
        return Plan(206, (*base, *fields), found)
    boundary = secrets.token_hex(16)
    content_type = entry.headers.get("content-type")
    heads = tuple(part_head(boundary, content_type, start, stop, size) for start, stop in found)
    length = multipart_length(boundary, content_type, found, size)
    fields = (
        ("content-type", f"multipart/byteranges; boundary={boundary}"),
        ("content-length", str(length)),
    )
    kept = tuple(pair for pair in base if pair[0] != "content-type")
    return Plan(206, (*kept, *fields), found, heads, closing(boundary))


def is_checksum(name: str) -> bool:
    """Whether a field holds a checksum of the whole object."""
    return name == "content-md5" or name.startswith("x-amz-checksum-")


def _fields(entry: Entry) -> tuple[Pair, ...]:
    """The entry's fields as every answer has them, made once."""
    known = entry.derived.get("fields")
    if known is None:
        pairs = [pair for pair in entry.headers.end_to_end() if pair[0] not in _OWN_FIELDS]
        if "date" not in entry.headers:
            pairs.append(("date", format_http_date(entry.response_time)))
        via = entry.headers.get("via")
        pairs.append(("via", f"{via}, {VIA}" if via else VIA))
        known = entry.derived["fields"] = tuple(pairs)
    return known  # type: ignore[return-value]  # `derived` holds what each name says


def _only(pairs: tuple[Pair, ...], names: frozenset[str]) -> tuple[Pair, ...]:
    return tuple(pair for pair in pairs if pair[0] in names or pair[0] == "via")


def moment_fields(
    outcome: CacheOutcome,
    entry: Entry | None,
    now: float,
    *,
    is_stored: bool = False,
    fwd_status: int | None = None,
) -> list[Pair]:
    """The fields that say how the cache took part, at epoch `now`: Age, X-Cache, Cache-Status (RFC 9211)."""
    pairs: list[Pair] = []
    ttl = None
    if entry is not None and outcome is not CacheOutcome.PASS:
        pairs.append(("age", str(int(entry.age(now)))))
        ttl = int(entry.fresh_for(now))
    is_hit = outcome in (CacheOutcome.HIT, CacheOutcome.STALE)
    status = format_cache_status(
        CACHE_NAME,
        hit=is_hit,
        fwd=outcome.fwd,
        fwd_status=fwd_status,
        ttl=ttl,
        stored=is_stored,
        collapsed=outcome is CacheOutcome.COLLAPSED,
    )
    pairs += [("x-cache", outcome.name), ("cache-status", status)]
    return pairs


def error_answer(
    error: YatagarasuError, headers: Headers, resource: str, request_id: str
) -> tuple[int, list[Pair], bytes]:
    """Status, fields and body that tell a client of an error: S3's XML, or JSON where it prefers that.

    Only what the error's class declares public gets out, never its message or context.
    """
    arguments = (error.code, error.public, resource, request_id)
    if _prefers_json(headers.get("accept", "")):
        content_type, body = "application/json", render_error_json(*arguments)
    else:
        content_type, body = "application/xml", render_error_xml(*arguments)
    pairs: list[Pair] = [("content-type", content_type), ("content-length", str(len(body)))]
    if isinstance(error, RangeNotSatisfiable) and "size" in error.context:
        pairs.append(("content-range", f"bytes */{error.context['size']}"))
    if error.http_status == 405:
        pairs.append(("allow", "GET, HEAD, OPTIONS"))
    if error.retry_after_seconds is not None:
        pairs.append(("retry-after", str(error.retry_after_seconds)))
    return error.http_status, pairs, body


def _prefers_json(accept: str) -> bool:
    json_at, xml_at = accept.find("json"), accept.find("xml")
    return json_at >= 0 and (xml_at < 0 or json_at < xml_at)


class RequestIds:
    """Request ids: 16 random digits for the process, 8 that count; unique, cheap, and safe in a header."""

    __slots__ = ("_next", "_prefix")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._next = count(1).__next__

    def new(self) -> str:
        """The next id."""
        return f"{self._prefix}{self._next():08x}"
