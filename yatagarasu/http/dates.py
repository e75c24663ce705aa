"""HTTP dates (RFC 9110, section 5.6.7). No clock here: epoch seconds in and out."""

import re
from calendar import timegm
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name: number for number, name in enumerate(_MONTHS, 1)}
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMATS = (
    # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(
        rf"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_CLOCK} GMT"
    ),
    # rfc850-date: Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>[0-9]{2}) "
        rf"{_CLOCK} GMT"
    ),
    # asctime-date: Sun Nov  6 08:49:37 1994
    re.compile(rf"(?:{'|'.join(_DAYS)}) (?P<month>[A-Z][a-z]{{2}}) (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})"),
)


@lru_cache(maxsize=4096)
def parse_http_date(text: str) -> float | None:
    """Epoch seconds of a date in any of the three formats, None where it is none.

    A two-digit year is read as 1970-2069: this cache meets no response older than HTTP.
    """
    for pattern in _FORMATS:
        match = pattern.fullmatch(text.strip())
        if match is not None:
            break
    else:
        return None
    month = _MONTH.get(match["month"])
    day, hour, minute, second = (int(match[name]) for name in ("day", "hour", "minute", "second"))
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 2000 if year < 70 else 1900
    if month is None or not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60 or year < 1:
        return None
    epoch = timegm((year, month, day, hour, minute, min(second, 59)))
    if format_http_date(epoch)[5:7] != f"{day:02d}":
        return None  # 30 February
    return float(epoch)


@lru_cache(maxsize=256)
def _format(second: int) -> str:
    days, rest = divmod(second, 86400)
    # Civil date from days since the epoch, over eras of 400 years (H. Hinnant, "chrono-compatible low-level
    # date algorithms").
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return (
        f"{_DAYS[(days + 3) % 7]}, {day:02d} {_MONTHS[month - 1]} {year:04d} "
        f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d} GMT"
    )


def format_http_date(epoch_seconds: float) -> str:
    """An IMF-fixdate; fractions of a second are dropped."""
    return _format(int(epoch_seconds // 1))
