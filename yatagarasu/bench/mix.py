"""What a load asks for: a list of targets, many numbered keys with a popularity, ranges of a few objects.

All that is drawn is drawn from seeds: the same plan asks for the same things in the same order.
"""

import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, count, repeat
from typing import TypeVar

from yatagarasu.bench.pattern import seed_of

_BATCH = 1024
# Requests for popular keys are kept ready: about 400 bytes each.
_KEPT_ASKS = 16_384
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Item:
    """A target: `path` is put behind the URL's own; percent-encoded already, its query included.

    `size` (bytes) and `seed` (a pattern of the embedded origin) say what the body must be; None is anything.
    """

    path: str = ""
    size: int | None = None
    seed: int | None = None


@dataclass(slots=True)
class Ask:
    """A request as it is sent, and what its answer must be: `start` is where in the pattern the body starts."""

    wire: bytes
    status: int
    size: int | None
    seed: int | None
    start: int = 0


# Makes the request for an item, whole or the bytes [start, stop) of it.
Maker = Callable[[Item, int | None, int | None], Ask]


@dataclass(frozen=True, slots=True)
class Items:
    """These targets, in turn, or drawn at random: by their weights, or all alike where there are none."""

    items: tuple[Item, ...] = (Item(),)
    weights: tuple[float, ...] = ()
    is_random: bool = False

    def draw(self, rng: random.Random, make: Maker, first: int, step: int) -> Iterator[Ask]:
        """Requests without end; in turn, they are every `step`-th from number `first` on."""
        asks = [make(item, None, None) for item in self.items]
        if len(asks) == 1:
            return repeat(asks[0])
        if self.weights or self.is_random:
            return _choices(rng, asks, list(accumulate(self.weights)) or None)
        return (asks[number % len(asks)] for number in count(first, step))


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys `prefix0`, `prefix1`, …: the lower the number, the more popular.

    Args:
        prefix: behind the URL's path, which ends at the bucket: "/k" for the keys k0, k1, …; `{size}` in it is the
            key's size in bytes.
        exponent: Zipf's: key n is asked for in proportion to 1 / (n + 1) ** exponent; 0 is all alike.
        sizes: pairs (bytes, weight): every key has its size for good, drawn by its number. None is any size.
        is_sequential: one key after the other instead, from number `first` on, then from 0 again; each of them
            `repeat` times before the next.
    """

    prefix: str
    count: int
    exponent: float = 1.0
    sizes: tuple[tuple[int, float], ...] = ()
    is_sequential: bool = False
    first: int = 0
    repeat: int = 1

    def item(self, number: int) -> Item:
        """Key `number`, with the size and the seed that its body must have in the origin."""
        if not self.sizes:
            return Item(f"{self.prefix}{number}")
        bounds = list(accumulate(weight for _, weight in self.sizes))
        # Fibonacci hashing: a key's size has nothing to do with its popularity, and no table of all is needed.
        at = bisect(bounds, number * 0x9E3779B1 % 2**32 / 2**32 * bounds[-1], hi=len(bounds) - 1)
        size = self.sizes[at][0]
        path = f"{self.prefix.replace('{size}', str(size))}{number}"
        return Item(path, size, seed_of(path.removeprefix("/")))

    def draw(self, rng: random.Random, make: Maker, first: int, step: int) -> Iterator[Ask]:
        """Requests without end; where it is sequential, for every `step`-th from number `first` on."""

        def ask(number: int) -> Ask:
            return make(self.item(number), None, None)

        if self.is_sequential:
            numbers = count(self.first * self.repeat + first, step)
            return (ask(number // self.repeat % self.count) for number in numbers)
        cumulative = list(accumulate((rank + 1) ** -self.exponent for rank in range(self.count)))
        return map(lru_cache(_KEPT_ASKS)(ask), _choices(rng, range(self.count), cumulative))


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of `length` bytes of items of known size: at multiples of `align`, or one after the other."""

    items: tuple[Item, ...]
    length: int
    align: int = 1
    is_sequential: bool = False

    def draw(self, rng: random.Random, make: Maker, first: int, step: int) -> Iterator[Ask]:
        """Requests without end; where it is sequential, for every `step`-th from number `first` on."""
        sizes = [item.size or 0 for item in self.items]
        if self.is_sequential:
            bounds = list(accumulate(-(-size // self.length) for size in sizes))
            for number in count(first, step):
                at = bisect(bounds, number % bounds[-1])
                start = (number % bounds[-1] - (bounds[at - 1] if at else 0)) * self.length
                yield make(self.items[at], start, min(start + self.length, sizes[at]))
        while True:
            at = rng.randrange(len(sizes))
            start = rng.randrange(0, max(1, sizes[at] - self.length + 1), self.align)
            yield make(self.items[at], start, min(start + self.length, sizes[at]))


Mix = Items | Keys | Ranges
# The URL itself, again and again.
WHOLE_URL = Items()


def _choices(rng: random.Random, things: Sequence[_T], cumulative: list[float] | None) -> Iterator[_T]:
    while True:
        yield from rng.choices(things, cum_weights=cumulative, k=_BATCH)
