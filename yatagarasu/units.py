"""Sizes and durations as people write them: "64KiB", "250ms", and back."""

import re
from decimal import Decimal

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZES = {
    "": 1, "b": 1,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024 * GIB,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# What people write for our units of time; case matters to us ("M" could be months), so capitals are here too.
_MEANT = {
    "": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m",
    "minutes": "m", "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
} | {unit: unit for unit in _DURATIONS}  # fmt: skip
_NUMBER = re.compile(r"([0-9](?:[0-9_]*[0-9])?(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes of "64KiB" (1,024), "10MB" (1,000,000) or a bare number. Raises ValueError with a hint."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a size; write it as "64KiB", "256MiB" or "10GiB"')
    number, unit = match.groups()
    if unit.lower() not in _SIZES:
        hint = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}.get(unit[:1].lower(), "KiB")
        raise ValueError(f'{unit!r} is not a unit of size; did you mean "{number}{hint}"?')
    return int(Decimal(number.replace("_", "")) * _SIZES[unit.lower()])


def parse_duration(text: str) -> float:
    """Seconds of "250ms", "10s", "1h30m", or "0". Raises ValueError with a hint."""
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    total, pos = 0.0, 0
    while (match := _NUMBER.match(stripped, pos)) is not None:
        number, unit = match.groups()
        if unit not in _DURATIONS:
            meant = _MEANT.get(unit.lower())
            if meant is None:
                raise ValueError(f"{unit!r} is not a unit of time; use ms, s, m, h or d")
            raise ValueError(f'{text!r} has no unit we know; did you mean "{number}{meant}"?')
        total += float(number.replace("_", "")) * _DURATIONS[unit]
        pos = match.end()
    if pos != len(stripped) or not stripped:
        raise ValueError(f'{text!r} is not a duration; write it as "250ms", "10s" or "1h"')
    return total


def format_size(size: int) -> str:
    """The shortest exact form: 65536 is "64KiB"."""
    for unit, factor in (("TiB", 1024 * GIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def format_duration(seconds: float) -> str:
    """The largest unit that needs no fraction, to the microsecond: 0.25 is "250ms", 3600 is "1h", 0 is "0s"."""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds % factor == 0 and (seconds or unit == "s"):
            return f"{int(seconds) // factor}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def readable_size(size: float) -> str:
    """Bytes as a person reads them: "1.5 GiB"."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} B"
