"""Bytes that everybody can make again: an endless pattern for each seed, and the seed of each key."""

import hashlib
import zlib

_BLOCK = 64 * 1024
_SEEDS = 61


def seed_of(key: str) -> int:
    """The seed of the pattern that benchmarks give to an object: few, for each costs memory; a mix-up still shows."""
    return zlib.crc32(key.encode()) % _SEEDS


def pattern_bytes(seed: int, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of the endless pattern of `seed`: blocks of 64 KiB that differ by their number."""
    parts = []
    pos = start
    while pos < stop:
        number, offset = divmod(pos, _BLOCK)
        end = min(stop, (number + 1) * _BLOCK)
        parts.append(_piece(seed, number, offset, offset + end - pos))
        pos = end
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _piece(seed: int, number: int, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of one block: its number in eight bytes, then the base from an offset of its own."""
    base = _BASES.get(seed)
    if base is None:
        base = _BASES[seed] = hashlib.shake_128(seed.to_bytes(8, "big", signed=True)).digest(_BLOCK + 4096)
    shift = number * 37 % 4096
    if start >= 8:
        return base[shift + start : shift + stop]
    return number.to_bytes(8, "big")[start:stop] + base[shift + 8 : max(shift + 8, shift + stop)]


_BASES: dict[int, bytes] = {}
