"""Which items of a list are taken."""

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from yatagarasu.units import parse_duration
from yatagarasu.warm.item import Item
from yatagarasu.warm.lists import epoch_of


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that an item meets to be taken.

    Args:
        prefix: what its key begins with.
        include: globs over the whole key, `*` also over slashes, as the AWS command line has them; one of them matches.
        exclude: none of these does.
        newer_than: epoch seconds; it was modified then or later.
        max_bytes: it is no larger.
    """

    prefix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    newer_than: float | None = None
    max_bytes: int | None = None

    def refuses(self, item: Item) -> str | None:
        """Why an item is not taken, None where it is, as far as its list says; the rest shows with its head."""
        if not item.key.startswith(self.prefix):
            return "outside the prefix"
        if self.include and not _matches(self.include, item.key):
            return "not included"
        if self.exclude and _matches(self.exclude, item.key):
            return "excluded"
        return self.refuses_head(item.size, item.modified)

    def refuses_head(self, size: int | None, modified: float | None) -> str | None:
        """Why an object of this size (bytes) and time (epoch seconds) is not taken; what is not known is no reason."""
        if self.max_bytes is not None and size is not None and size > self.max_bytes:
            return "larger than max-bytes"
        if self.newer_than is not None and modified is not None and modified < self.newer_than:
            return "older than newer-than"
        return None


def _matches(globs: tuple[str, ...], key: str) -> bool:
    return _pattern(globs).match(key) is not None


@lru_cache(64)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs))


def parse_newer_than(text: str, now: float) -> float:
    """Epoch seconds of an age before `now` ("7d", "12h"), or of an ISO 8601 date, of UTC where it says no zone.

    Raises:
        ValueError: it is neither.
    """
    if re.match(r"\d{4}-", text):
        found = epoch_of(text)
        assert found is not None
        return found
    try:
        return now - parse_duration(text)
    except ValueError as exc:
        raise ValueError(f'{text!r} is neither an age ("7d", "12h") nor a date ("2026-01-31")') from exc
