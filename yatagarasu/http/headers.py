"""Header fields as an immutable list of pairs (RFC 9110, section 5).

Names are lower-case `str`, values `str` decoded as latin-1, both in wire order. Nothing here knows what a
field means.
"""

from collections.abc import Iterable, Iterator
from typing import overload

Pair = tuple[str, str]

# RFC 9110, section 7.6.1, and the fields RFC 9111, section 3.1, forbids to store.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class Headers:
    """Immutable header fields.

    Args:
        pairs: n pairs (name, value), wire order; names in any case.
    """

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs: tuple[Pair, ...] = tuple((name.lower(), value) for name, value in pairs)
        self._index: dict[str, str] | None = None

    @classmethod
    def from_raw(cls, pairs: Iterable[tuple[bytes, bytes]]) -> "Headers":
        """Decode pairs of bytes, as a parser hands them out."""
        # llhttp leaves a tab behind a value, which is no part of it (RFC 9110, section 5.5).
        return cls._of(
            tuple([(name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")) for name, value in pairs])
        )

    def _combined(self) -> dict[str, str]:
        index: dict[str, str] = {}
        for name, value in self.pairs:
            index[name] = f"{index[name]}, {value}" if name in index else value
        self._index = index
        return index

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """All values of a lower-case `name` combined with ", " (RFC 9110, section 5.3), or `default`."""
        index = self._index
        return (self._combined() if index is None else index).get(name, default)

    @classmethod
    def _of(cls, pairs: tuple[Pair, ...]) -> "Headers":
        """Wrap pairs whose names are lower-case already."""
        made = cls.__new__(cls)
        made.pairs, made._index = pairs, None
        return made

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every field line's value for a lower-case `name`, wire order."""
        return tuple(value for key, value in self.pairs if key == name)

    def without(self, names: Iterable[str]) -> "Headers":
        """A copy less the lower-case `names`."""
        gone = names if isinstance(names, frozenset) else frozenset(names)
        return Headers._of(tuple([pair for pair in self.pairs if pair[0] not in gone]))

    def replace(self, pairs: Iterable[Pair]) -> "Headers":
        """A copy in which every name in `pairs` has just the values given there, at the end."""
        new = Headers(pairs)
        gone = {name for name, _ in new.pairs}
        return Headers._of((*[pair for pair in self.pairs if pair[0] not in gone], *new.pairs))

    def end_to_end(self) -> "Headers":
        """A copy less hop-by-hop fields and those that `Connection` names (RFC 9110, section 7.6.1)."""
        connection = self.get("connection")
        if connection is None:
            return self.without(HOP_BY_HOP)
        return self.without(HOP_BY_HOP | {token.strip().lower() for token in connection.split(",")})

    def __contains__(self, name: object) -> bool:
        index = self._index
        return name in (self._combined() if index is None else index)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"
