"""Variants: which request fields select among the responses of one primary key (RFC 9111, section 4.1).

Knows names and keys; what a field's value means, and whether it matches, is `http.vary`'s.
"""

from collections.abc import Sequence

from yatagarasu.cache.entry import Key

# Field names are a few bytes and a spec is learnt again by the next miss: enough for a large working set.
MAX_SPECS = 64 * 1024


def variant_key(primary: Key, selecting: Sequence[tuple[str, str | None]]) -> Key:
    """The cache key of a variant; `primary` itself where nothing selects.

    Args:
        primary: the key without variant; the number of its NULs is the same throughout a bucket.
        selecting: n pairs (lower-case name, normalised value or None where absent), sorted by name.
    """
    if not selecting:
        return primary
    # Neither NUL nor, in a name, "=" can come from a parsed request: no two variants share a key.
    fields = (name if value is None else f"{name}={value}" for name, value in selecting)
    return "\0".join((primary, *fields))


class Variants:
    """The field names that the last response of each primary key varied by.

    Bounded: two generations of at most half of `max_specs` each. When the young one is full it becomes the
    old one, and what is looked up there moves back, so that a spec in use stays.
    """

    __slots__ = ("_generation_max", "_old", "_young")

    def __init__(self, max_specs: int = MAX_SPECS) -> None:
        self._generation_max = max(1, max_specs // 2)
        self._young: dict[Key, tuple[str, ...]] = {}
        self._old: dict[Key, tuple[str, ...]] = {}

    def remember_vary(self, primary: Key, names: tuple[str, ...]) -> None:
        """Note that `primary` varies by `names` (lower case, sorted); `()` is as good as forgetting."""
        if not names:
            self.forget(primary)
            return
        self._old.pop(primary, None)
        self._young[primary] = names
        if len(self._young) > self._generation_max:
            # The newest starts the next generation, which keeps both within their half.
            del self._young[primary]
            self._old, self._young = self._young, {primary: names}

    def vary_of(self, primary: Key) -> tuple[str, ...] | None:
        """Names that `primary` varies by; None where it does not, or nobody remembers."""
        names = self._young.get(primary)
        if names is None and self._old:
            names = self._old.get(primary)
            if names is not None:
                self.remember_vary(primary, names)
        return names

    def forget(self, primary: Key) -> None:
        """Drop the names of `primary`."""
        self._young.pop(primary, None)
        self._old.pop(primary, None)

    def clear(self) -> None:
        """Drop everything."""
        self._young.clear()
        self._old.clear()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
