"""Cache directives: Cache-Control (RFC 9111, section 5.2), its 5861 extensions, and targeted fields (RFC 9213).

Only what they say. What a cache does about it is in `freshness` and `cache.policy`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import inf

from yatagarasu.http.headers import Headers

# RFC 9111, section 1.2.2: a number too large to hold is treated as this, at least.
_MAX_DELTA_SECONDS = 2**31

_DIRECTIVE = re.compile(
    r"""[ \t]*(?:
        (?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)
        (?:=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^",\s]*)))?
    )?[ \t]*(?:,|$)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """What a request asks of caches (RFC 9111, section 5.2.1). Seconds; None where not said.

    `max_stale` without a value is infinite.
    """

    no_cache: bool = False
    no_store: bool = False
    no_transform: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    min_fresh: float | None = None
    max_stale: float | None = None
    stale_if_error: float | None = None


NO_REQUEST_DIRECTIVES = RequestDirectives()


@dataclass(frozen=True, slots=True)
class ResponseDirectives:
    """What a response tells caches (RFC 9111, section 5.2.2; RFC 5861). Seconds; None where not said.

    `no_cache_fields` and `private_fields` are the qualified forms; the plain flag is False for those.
    """

    no_cache: bool = False
    no_store: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    immutable: bool = False
    no_cache_fields: tuple[str, ...] = ()
    private_fields: tuple[str, ...] = ()
    max_age: float | None = None
    s_maxage: float | None = None
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None


def _directives(text: str) -> Iterator[tuple[str, str | None]]:
    """Pairs (lower-case name, argument or None); what cannot be read is passed over up to the next comma."""
    pos = 0
    while pos < len(text):
        match = _DIRECTIVE.match(text, pos)
        if match is None:
            comma = text.find(",", pos)
            if comma < 0:
                return
            pos = comma + 1
            continue
        pos = match.end()
        if match["name"]:
            quoted = match["quoted"]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["token"]
            yield match["name"].lower(), value


def _seconds(value: str | None) -> float | None:
    """Delta-seconds; None where invalid (RFC 9111, section 1.2.2)."""
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return float(min(int(value[:20]), _MAX_DELTA_SECONDS))


def _strictest(known: float | None, value: str | None) -> float:
    """Freshness that is said twice, or badly: the smaller, or stale (RFC 9111, section 4.2.1)."""
    seconds = _seconds(value)
    if seconds is None:
        return 0.0
    return seconds if known is None else min(known, seconds)


def parse_request_directives(headers: Headers) -> RequestDirectives:
    """Read a request's Cache-Control, or Pragma where there is none (RFC 9111, section 5.4)."""
    text = headers.get("cache-control")
    if text is None:
        if "no-cache" in {part.strip().lower() for part in headers.get("pragma", "").split(",")}:
            return RequestDirectives(no_cache=True)
        return NO_REQUEST_DIRECTIVES
    return _parse_request(text)


@lru_cache(maxsize=1024)
def _parse_request(text: str) -> RequestDirectives:
    flags = {"no-cache": False, "no-store": False, "no-transform": False, "only-if-cached": False}
    numbers: dict[str, float | None] = {}
    for name, value in _directives(text):
        if name in flags:
            flags[name] = True
        elif name == "max-age":
            numbers[name] = _strictest(numbers.get(name), value)
        elif name == "max-stale":
            # An argument that cannot be read allows nothing; none at all allows everything.
            numbers[name] = inf if value is None else _strictest(numbers.get(name), value)
        elif name in ("min-fresh", "stale-if-error"):
            seconds = _seconds(value)
            if seconds is not None:
                numbers[name] = seconds
    return RequestDirectives(
        no_cache=flags["no-cache"],
        no_store=flags["no-store"],
        no_transform=flags["no-transform"],
        only_if_cached=flags["only-if-cached"],
        max_age=numbers.get("max-age"),
        min_fresh=numbers.get("min-fresh"),
        max_stale=numbers.get("max-stale"),
        stale_if_error=numbers.get("stale-if-error"),
    )


def parse_response_directives(headers: Headers) -> ResponseDirectives:
    """Read a response's Cache-Control."""
    return _parse_response(headers.get("cache-control", ""))


@lru_cache(maxsize=1024)
def _parse_response(text: str) -> ResponseDirectives:
    return _collect(_directives(text))


def _collect(directives: Iterator[tuple[str, str | None]]) -> ResponseDirectives:
    flags: set[str] = set()
    fields: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, float] = {}
    for name, value in directives:
        if name in ("no-cache", "private") and value:
            named = tuple(part.strip().lower() for part in value.split(",") if part.strip())
            fields[name] = fields.get(name, ()) + named
        elif name in ("max-age", "s-maxage") or name in ("stale-while-revalidate", "stale-if-error"):
            numbers[name] = _strictest(numbers.get(name), value)
        else:
            flags.add(name)
    return ResponseDirectives(
        no_cache="no-cache" in flags,
        no_store="no-store" in flags,
        private="private" in flags,
        public="public" in flags,
        must_revalidate="must-revalidate" in flags,
        proxy_revalidate="proxy-revalidate" in flags,
        must_understand="must-understand" in flags,
        no_transform="no-transform" in flags,
        immutable="immutable" in flags,
        no_cache_fields=() if "no-cache" in flags else fields.get("no-cache", ()),
        private_fields=() if "private" in flags else fields.get("private", ()),
        max_age=numbers.get("max-age"),
        s_maxage=numbers.get("s-maxage"),
        stale_while_revalidate=numbers.get("stale-while-revalidate"),
        stale_if_error=numbers.get("stale-if-error"),
    )


# RFC 8941, section 3.2: dictionary members. Decimals, byte sequences, inner lists (of anything but strings) and
# parameters mean nothing to a directive, but do not spoil the field.
_MEMBER = re.compile(
    r"""[ ]*(?P<key>[a-z*][a-z0-9_\-.*]*)
        (?:=(?:-?[0-9]{1,12}\.[0-9]{1,3}|:[A-Za-z0-9+/=]*:|\([^()"]*\)
            |(?P<integer>-?[0-9]{1,15})|(?P<boolean>\?[01])|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*)"
            |(?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)))?
        (?:;[ ]*[a-z*][a-z0-9_\-.*]*(?:=(?:-?[0-9.]+|\?[01]|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][^ ,;]*))?)*
        [ \t]*(?P<comma>,[ \t]*|$)""",
    re.VERBOSE,
)


def targeted_directives(headers: Headers, names: tuple[str, ...] = ("cdn-cache-control",)) -> ResponseDirectives | None:
    """The directives of the first of `names` that is there, valid and not empty (RFC 9213, section 2.2).

    None means: use Cache-Control.
    """
    for name in names:
        text = headers.get(name)
        if text is not None and text.strip():
            found = _parse_targeted(text.strip())
            if found is not None:
                return found
    return None


@lru_cache(maxsize=1024)
def _parse_targeted(text: str) -> ResponseDirectives | None:
    members: dict[str, str | None] = {}
    pos = 0
    while pos < len(text):
        match = _MEMBER.match(text, pos)
        if match is None or (match["comma"] and match.end() == len(text)):
            return None  # A structured field that does not parse is ignored as a whole.
        pos = match.end()
        key = match["key"]
        if match["boolean"] == "?0":
            members.pop(key, None)
            continue
        value = match["integer"] or match["string"] or match["token"]
        is_number = match["integer"] is not None and not match["integer"].startswith("-")
        if key in ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error") and not is_number:
            continue  # RFC 9213, section 2.1: a parameter of another type is ignored.
        members[key] = value
    return _collect(iter(members.items()))
