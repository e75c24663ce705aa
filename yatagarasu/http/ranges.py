"""Byte ranges (RFC 9110, section 14): Range, Content-Range, multipart/byteranges. Ends are half open here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from yatagarasu.http.numbers import MAX_DIGITS

# More than any player or archive tool asks for; beyond it a Range is ignored, as section 14.2 allows.
MAX_RANGES = 100

_SPEC = re.compile(r"[ \t]*(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+))?[ \t]*")
_N = rf"[0-9]{{1,{MAX_DIGITS}}}"
_CONTENT_RANGE = re.compile(rf"bytes[ \t]+(?:(?P<first>{_N})-(?P<last>{_N})|\*)/(?P<size>{_N}|\*)")


@dataclass(frozen=True, slots=True)
class RangeSpec:
    """One range as asked: `first`-`last` inclusive; `last` None is open; `first` None is the last `last` bytes."""

    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A Content-Range: bytes [start, stop) of `size`; start and stop None for `*`, size None for `*`."""

    start: int | None
    stop: int | None
    size: int | None


def parse_range(text: str | None) -> tuple[RangeSpec, ...] | None:
    """The ranges of a Range field, in order; None where there is none to honour (absent, invalid, another unit)."""
    if text is None:
        return None
    unit, equals, rest = text.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs: list[RangeSpec] = []
    for part in rest.split(","):
        match = _SPEC.fullmatch(part)
        if match is None or len(part) > 2 * MAX_DIGITS + 8:
            return None
        if match["suffix"] is not None:
            specs.append(RangeSpec(None, int(match["suffix"])))
        elif match["first"] is not None:
            first, last = int(match["first"]), int(match["last"]) if match["last"] else None
            if last is not None and last < first:
                return None
            specs.append(RangeSpec(first, last))
    return tuple(specs) or None


def resolve(specs: Sequence[RangeSpec], size: int) -> tuple[tuple[int, int], ...]:
    """The satisfiable ranges over `size` bytes, half open, in request order; () is 416.

    Neighbours that overlap or touch are joined. More than MAX_RANGES, more than two that overlap, or more bytes than
    there are, are answered with the whole: ((0, size),) (RFC 9110, section 14.2).
    """
    if len(specs) > MAX_RANGES:
        return ((0, size),) if size else ()
    found: list[tuple[int, int]] = []
    for spec in specs:
        if spec.first is None:
            start, stop = max(0, size - (spec.last or 0)), size
        else:
            start, stop = spec.first, size if spec.last is None else min(spec.last + 1, size)
        if start < stop:
            found.append((start, stop))
    ordered = sorted(found)
    overlaps = sum(1 for (_, stop), (start, _) in pairwise(ordered) if start < stop)
    if overlaps > 2:
        return ((0, size),)
    joined: list[tuple[int, int]] = []
    for start, stop in found:
        if joined and joined[-1][0] <= start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    if sum(stop - start for start, stop in joined) > size:
        return ((0, size),)
    return tuple(joined)


def format_content_range(start: int, stop: int, size: int | None) -> str:
    """The Content-Range of bytes [start, stop)."""
    return f"bytes {start}-{stop - 1}/{'*' if size is None else size}"


def parse_content_range(text: str | None) -> ContentRange | None:
    """A Content-Range; None where it is absent, invalid or contradicts itself (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(text.strip()) if text is not None else None
    if match is None:
        return None
    size = None if match["size"] == "*" else int(match["size"])
    if match["first"] is None:
        return None if size is None else ContentRange(None, None, size)
    start, stop = int(match["first"]), int(match["last"]) + 1
    if stop <= start or (size is not None and stop > size):
        return None
    return ContentRange(start, stop, size)


def part_head(boundary: str, content_type: str | None, start: int, stop: int, size: int) -> bytes:
    """What goes before one part of multipart/byteranges (RFC 9110, section 14.6)."""
    type_line = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
    return (f"\r\n--{boundary}\r\n{type_line}Content-Range: {format_content_range(start, stop, size)}\r\n\r\n").encode(
        "latin-1"
    )


def closing(boundary: str) -> bytes:
    """What goes behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")


def multipart_length(boundary: str, content_type: str | None, ranges: Sequence[tuple[int, int]], size: int) -> int:
    """Content-Length of a multipart/byteranges of `ranges`."""
    heads = sum(len(part_head(boundary, content_type, start, stop, size)) for start, stop in ranges)
    return heads + sum(stop - start for start, stop in ranges) + len(closing(boundary))
