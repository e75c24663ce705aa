"""Mutations: small, seeded, with a dictionary of what a grammar is made of and pieces of other inputs."""

import random
from collections.abc import Sequence

_MAX_BYTES = 64 * 1024
_INTERESTING = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\xff",
    b"\x80",
    b"%",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"\xe7\x83\x8f",
)


class Mutator:
    """Makes inputs out of a corpus.

    Args:
        corpus: at least one input.
        dictionary: tokens of the grammar.
    """

    def __init__(self, rng: random.Random, corpus: Sequence[bytes], dictionary: Sequence[bytes]) -> None:
        self._rng = rng
        self.corpus = list(corpus)
        self._tokens = (*dictionary, *_INTERESTING)

    def next(self) -> bytes:
        """One input: a few changes away from one of the corpus."""
        rng = self._rng
        data = rng.choice(self.corpus)
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            data = self._change(data)
        return data[:_MAX_BYTES]

    def _change(self, data: bytes) -> bytes:
        rng = self._rng
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
        kind = rng.randrange(8)
        if kind == 0:
            return data[:at] + data[to:]
        if kind == 1:
            return data[:at] + rng.choice(self._tokens) + data[at:]
        if kind == 2:
            return data[:at] + rng.choice(self._tokens) + data[to:]
        if kind == 3:
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        if kind == 4:
            return data[:to] + data[at:to] * rng.choice((1, 2, 50)) + data[to:]
        if kind == 5:
            other = rng.choice(self.corpus)
            cut = rng.randrange(len(other) + 1)
            return data[:at] + other[cut : cut + rng.choice((4, 32, 10_000))] + data[to:]
        if kind == 6:
            return data[:at] + data[at:to].swapcase() + data[to:]
        return data[:at]
