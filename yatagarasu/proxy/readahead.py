"""Readahead: which clients read an object range by range from front to back, and how far ahead to fetch for them.

A reader whose range begins where one ended a moment ago is sequential; each further step doubles what is fetched ahead,
up to a bound, as file systems do. Random readers get nothing. No I/O, no clock.
"""

from collections import OrderedDict

from yatagarasu.cache.entry import Key

# Objects that are watched, and readers of one object: enough for a busy machine, small enough to forget about.
_MAX_KEYS = 4096
_MAX_READERS = 16
_FIRST_BYTES = 1024 * 1024


class ReadAhead:
    """Positions at which ranges ended, by key: where the next one would begin, and how far to look beyond it."""

    def __init__(self) -> None:
        self._ends: OrderedDict[Key, dict[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def bytes_after(self, key: Key, start: int, stop: int, max_bytes: int) -> int:
        """Note that [start, stop) is read; how many bytes behind `stop` the same reader will want soon, 0 at random."""
        if not max_bytes:
            return 0
        ends = self._ends.get(key)
        if ends is None:
            ends = self._ends[key] = {}
            if len(self._ends) > _MAX_KEYS:
                self._ends.popitem(last=False)
        else:
            self._ends.move_to_end(key)
        ahead = ends.pop(start, None)
        if ahead is None:
            ahead, found = _FIRST_BYTES // 2, 0
        else:
            ahead = found = min(2 * ahead, max_bytes)
        ends.pop(stop, None)
        ends[stop] = ahead
        if len(ends) > _MAX_READERS:
            del ends[next(iter(ends))]
        return found
