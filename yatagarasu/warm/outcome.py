"""What becomes of the items of a list, one by one, and who brings that about."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from yatagarasu.warm.item import Item


class Kind(StrEnum):
    """How it ended."""

    WARMED = "warmed"
    """It was not there, or not whole, and is."""
    PRESENT = "present"
    """It was there already; an origin that was asked said that it is still good."""
    SKIPPED = "skipped"
    """A filter kept it out."""
    FAILED = "failed"
    """It is not there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    Args:
        size: bytes that were fetched for it.
        reason: why it was skipped or failed, short, and the same for the same cause.
        is_transient: another try may do better.
        is_overload: somebody asked for less: 503 Slow Down, 429.
        wait_seconds: until then, if they said so.
    """

    kind: Kind
    size: int = 0
    reason: str = ""
    is_transient: bool = False
    is_overload: bool = False
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked for of each object: `range` as in a Range field, None for all of it."""

    method: str = "GET"
    range: str | None = None


WHOLE = (Part(),)
HEAD_ONLY = (Part("HEAD"),)


class Warmer(Protocol):
    """Has objects in a cache."""

    async def warm(self, item: Item, part: Part) -> Outcome:
        """Have this part of an object there. Raises nothing that is the object's or the origin's fault."""
        ...

    async def settle(self) -> None:
        """Return once what was warmed so far would survive this process."""
        ...


def combine(outcomes: list[Outcome]) -> Outcome:
    """One outcome of an item whose parts were asked for in turn, up to the first that did not come."""
    last = outcomes[-1]
    size = sum(outcome.size for outcome in outcomes)
    if last.kind in (Kind.FAILED, Kind.SKIPPED):
        return Outcome(last.kind, size, last.reason, last.is_transient, last.is_overload, last.wait_seconds)
    is_new = any(outcome.kind is Kind.WARMED for outcome in outcomes)
    return Outcome(Kind.WARMED if is_new else Kind.PRESENT, size)
