"""Conditional requests (RFC 9110, section 13), evaluated against one representation's validators."""

import re
from enum import Enum

from yatagarasu.http.dates import parse_http_date
from yatagarasu.http.headers import Headers

_ETAG = re.compile(r'[ \t]*(?P<tag>(?:W/)?"[^"\x00-\x20\x7f]*")[ \t]*(?:,|$)|[ \t]*(?:,|$)')
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


class Outcome(Enum):
    """What the conditions of a request say."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    PRECONDITION_FAILED = "precondition failed"


def parse_etags(text: str) -> tuple[str, ...] | None:
    """The entity tags of a list, as written; ("*",) for the star; None where it is no such list.

    A single value without quotes, which S3 clients send and S3 takes, is read as if it had them.
    """
    text = text.strip()
    if text == "*":
        return ("*",)
    if text and re.fullmatch(r"[!#-+\--~]+", text):
        return (f'"{text}"',)
    tags: list[str] = []
    pos = 0
    while pos < len(text):
        match = _ETAG.match(text, pos)
        if match is None:
            return None
        if match["tag"]:
            tags.append(match["tag"])
        pos = match.end()
    return tuple(tags) or None


def has_conditions(headers: Headers) -> bool:
    """Whether a request has any condition but If-Range, which only goes with Range."""
    return any(name in headers for name in _CONDITIONS)


def _is_strong(etag: str) -> bool:
    return not etag.startswith("W/")


def _opaque(etag: str) -> str:
    return etag[2:] if etag.startswith("W/") else etag


def _matches_strongly(tags: tuple[str, ...], etag: str | None) -> bool:
    return etag is not None and _is_strong(etag) and etag in tags


def _matches_weakly(tags: tuple[str, ...], etag: str | None) -> bool:
    return etag is not None and _opaque(etag) in {_opaque(tag) for tag in tags}


def evaluate(
    method: str, headers: Headers, *, etag: str | None, last_modified: str | None, exists: bool = True
) -> Outcome:
    """Evaluate a request's conditions in the order of RFC 9110, section 13.2.2 (If-Range aside).

    Args:
        method: GET and HEAD turn a failing If-None-Match into "not modified".
        etag: the representation's, as written, None where it has none.
        last_modified: an HTTP date, None where it has none.
        exists: whether there is a representation at all.
    """
    modified = parse_http_date(last_modified) if last_modified is not None else None
    if_match = headers.get("if-match")
    if if_match is not None:
        tags = parse_etags(if_match)
        holds = exists if tags == ("*",) else tags is not None and _matches_strongly(tags, etag)
        if not holds:
            return Outcome.PRECONDITION_FAILED
    else:
        limit = parse_http_date(headers.get("if-unmodified-since", ""))
        if limit is not None and modified is not None and modified > limit:
            return Outcome.PRECONDITION_FAILED
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None:
        tags = parse_etags(if_none_match)
        if tags is not None and (exists if tags == ("*",) else _matches_weakly(tags, etag)):
            return Outcome.NOT_MODIFIED if method in ("GET", "HEAD") else Outcome.PRECONDITION_FAILED
    elif method in ("GET", "HEAD"):
        since = parse_http_date(headers.get("if-modified-since", ""))
        if since is not None and modified is not None and modified <= since:
            return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def if_range_holds(headers: Headers, *, etag: str | None, last_modified: str | None, date: str | None) -> bool:
    """Whether a Range may be honoured: no If-Range, or its strong validator matches (section 13.1.5).

    A date is strong where the representation was a minute old when it was sent (section 8.8.2.2).
    """
    text = headers.get("if-range")
    if text is None:
        return True
    text = text.strip()
    if text.startswith(('"', "W/")):
        return _is_strong(text) and _matches_strongly((text,), etag)
    asked = parse_http_date(text)
    modified = parse_http_date(last_modified) if last_modified is not None else None
    if asked is None or modified is None or asked != modified:
        return False
    sent = parse_http_date(date) if date is not None else None
    return sent is None or sent - modified >= 60
