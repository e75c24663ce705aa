"""One line of an object list, understood or not."""

from dataclasses import dataclass

_LONGEST_TEXT = 100
# AWS: "Creating object key names": at most 1,024 bytes of UTF-8.
_MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Item:
    """An object of a list.

    Args:
        key: literal, not percent-encoded.
        bucket: S3's name of its bucket, where the list says it.
        size: bytes, where the list says it.
        modified: epoch seconds, where the list says it.
        source: the list's name.
        line: in the list, from 1; 0 where it has none.
    """

    key: str
    bucket: str | None = None
    size: int | None = None
    modified: float | None = None
    source: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is no object: why, and how it begins, printable."""

    source: str
    line: int
    reason: str
    text: str = ""


def excerpt(text: str | bytes) -> str:
    """The beginning of a line as it may be printed anywhere."""
    if isinstance(text, bytes):
        text = text[: 4 * _LONGEST_TEXT].decode("utf-8", "backslashreplace")
    cut = text[:_LONGEST_TEXT]
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in cut)
    return shown + "..." if len(text) > len(cut) else shown


def fault_of(key: str) -> str | None:
    """Why a key is none that S3 and this proxy serve; None where it is one."""
    if not key:
        return "an empty key"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "a key that is not UTF-8"
    if size > _MAX_KEY_BYTES:
        return f"a key of {size} bytes: S3 takes {_MAX_KEY_BYTES}"
    if "." in key and any(segment in (".", "..") for segment in key.split("/")):
        return "a key with a segment of dots only"
    return None
