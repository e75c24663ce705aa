"""Sizes and durations as people write them: "64KiB", "250ms", and back."""

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZES = {
    "": 1, "b": 1,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024 * GIB,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
}  # fmt: skip
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"([0-9](?:[0-9_]*[0-9])?(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes of "64KiB" (1,024), "10MB" (1,000,000) or a bare number. Raises ValueError with a hint."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a size; write it as "64KiB", "256MiB" or "10GiB"')
    unit = match[2].lower()
    if unit not in _SIZES:
        hint = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}.get(unit[:1], "KiB")
        raise ValueError(f'{match[2]!r} is not a unit of size; did you mean "{match[1]}{hint}"?')
    return int(float(match[1].replace("_", "")) * _SIZES[unit])


def parse_duration(text: str) -> float:
    """Seconds of "250ms", "10s", "1h30m", or "0". Raises ValueError with a hint."""
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    total, pos = 0.0, 0
    for match in _NUMBER.finditer(stripped):
        if match.start() != pos:
            break
        if match[2] not in _DURATIONS:
            if match[2].lower() in _DURATIONS or match[2].lower() in (
                "sec",
                "min",
                "hour",
                "hours",
                "seconds",
                "minutes",
                "",
            ):
                unit = {"min": "m", "minutes": "m", "hour": "h", "hours": "h"}.get(
                    match[2].lower(),
                    match[2].lower()[:2] if match[2].lower() == "ms" else match[2].lower()[:1] or "s",
                )
                raise ValueError(f'{text!r} has no unit we know; did you mean "{match[1]}{unit}"?')
            raise ValueError(f"{match[2]!r} is not a unit of time; use ms, s, m, h or d")
        total += float(match[1].replace("_", "")) * _DURATIONS[match[2]]
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
    """The shortest exact form: 0.25 is "250ms", 3600 is "1h"."""
    if seconds and seconds != int(seconds):
        return f"{seconds * 1000:g}ms"
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{int(seconds) // factor}{unit}"
    return f"{seconds:g}s"
