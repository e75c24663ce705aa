"""Objects that are there because their key describes them, faults included: any proxy can be put in front of them.

    SIZE[,FACT…][;ANSWER]…/whatever

`10KiB/k17` is 10 KiB of the pattern of its key. FACTs hold for every answer: `1MiB,latency=100ms/x`. Each ANSWER
is what goes wrong with one of them, in turn, after which all is well: `1MiB;cut=300KiB;status=503/x` is cut at
300 KiB once, then a 503, then whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from yatagarasu.bench.faults import NO_FAULT, Fault
from yatagarasu.bench.pattern import pattern_bytes, seed_of
from yatagarasu.http.headers import Pair
from yatagarasu.units import parse_duration, parse_size

# Names in keys, the field of `Fault` that each sets, and how its value is read.
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "latency": ("latency", parse_duration),
    "slow_head": ("slow_head", parse_duration),
    "bandwidth": ("bandwidth", parse_size),
    "cut": ("cut_after", parse_size),
    "reset": ("reset_after", parse_size),
    "stall": ("stall_after", parse_size),
    "change": ("replace_after", parse_size),
    "status": ("status", int),
    "retry_after": ("retry_after", int),
    "lie": ("lying_length", int),
}
_FLAGS = {
    "reset_head": "reset_before_head",
    "close_head": "close_before_head",
    "garbage": "garbage",
    "huge_head": "huge_head",
    "no_etag": "missing_etag",
    "weak_etag": "weak_etag",
    "wrong_etag": "wrong_etag",
    "ignore_range": "ignore_range",
    "wrong_range": "wrong_content_range",
    "chunked": "chunked",
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a key says about its object: `facts` of every answer, `answers` on top of them of the first few."""

    size: int
    facts: Fault = NO_FAULT
    answers: tuple[Fault, ...] = ()
    headers: tuple[Pair, ...] = field(default=())

    def fault(self, key: str, number: int) -> Fault:
        """The fault of the `number`-th answer, counted from 1."""
        fault = self.answers[number - 1] if 0 < number <= len(self.answers) else self.facts
        if fault.replace_after is None:
            return fault
        return replace(fault, new_data=pattern_bytes(seed_of(key) + 1, 0, self.size))


def describe(key: str) -> Described | None:
    """What a key describes; None where it does not."""
    first, slash, rest = key.partition("/")
    return _parse(first) if slash and rest else None


@lru_cache(4096)
def _parse(text: str) -> Described | None:
    always, *once = text.split(";")
    size, *facts = always.split(",")
    headers = tuple(("cache-control", f"max-age={fact[4:]}") for fact in facts if fact.startswith("ttl="))
    try:
        named = _fields([fact for fact in facts if not fact.startswith("ttl=")])
        answers = tuple(Fault(**named | _fields(answer.split(","))) for answer in once)
        return Described(parse_size(size), Fault(**named), answers, headers)
    except ValueError:
        return None


def _fields(facts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fact in facts:
        name, equals, value = fact.partition("=")
        if equals and name in _VALUES:
            field_name, parse = _VALUES[name]
            found[field_name] = parse(value)
        elif fact in _FLAGS:
            found[_FLAGS[fact]] = True
        else:
            raise ValueError(f"no such fact: {fact}")
    return found
