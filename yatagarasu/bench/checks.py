"""What can be wrong with an answer, and whether a body is the one that the embedded origin holds."""

from enum import StrEnum
from functools import lru_cache

from yatagarasu.bench.pattern import pattern_bytes

# A load often asks for a few small things again and again: what they must be is kept, 4 MiB of it at the most.
_KEPT_BYTES = 64 * 1024
_kept = lru_cache(64)(pattern_bytes)


class ErrorKind(StrEnum):
    """Why a request counts as failed: each one has one kind."""

    CONNECT = "connect"
    """No connection: refused, unreachable, no file descriptor."""
    TLS = "tls"
    """The handshake failed."""
    RESET = "reset"
    """The connection was reset."""
    CLOSED = "closed"
    """The connection ended before the first byte of an answer."""
    SHORT = "short"
    """The connection ended within an answer."""
    GARBAGE = "garbage"
    """Not HTTP/1, or bytes beyond the end of the answer."""
    TIMEOUT = "timeout"
    """Not answered in time."""
    STATUS = "status"
    """Another status than the one expected."""
    LENGTH = "length"
    """A whole body of another size than expected."""
    BODY = "body"
    """A whole body with other bytes than expected."""


def is_pattern(seed: int, pos: int, buffer: bytearray, start: int, stop: int) -> bool:
    """Whether `buffer[start:stop]` are the bytes from `pos` on of the pattern of `seed`."""
    size = stop - start
    expected = _kept(seed, pos, pos + size) if size <= _KEPT_BYTES else pattern_bytes(seed, pos, pos + size)
    # startswith compares in place; comparing memoryviews goes value by value through their format.
    return buffer.startswith(expected, start, stop)
