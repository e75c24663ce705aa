"""One module a scenario, or a few that are alike; each has what `bench.catalogue` lists."""

from typing import Any

from yatagarasu.bench.mix import Item
from yatagarasu.bench.pattern import seed_of
from yatagarasu.bench.scenario import Parameter
from yatagarasu.units import parse_duration, parse_size


def size(name: str, default: str, help: str) -> Parameter:
    """A parameter in bytes."""
    return Parameter(name, default, _positive(parse_size), help)


def duration(name: str, default: str, help: str) -> Parameter:
    """A parameter in seconds."""
    return Parameter(name, default, parse_duration, help)


def number(name: str, default: str, help: str) -> Parameter:
    """A parameter that counts something, at least one."""
    return Parameter(name, default, _positive(int), help)


def sizes(name: str, default: str, help: str) -> Parameter:
    """A mix of sizes with weights: "4KiB:60,1MiB:2"."""
    return Parameter(name, default, _parse_sizes, help)


def share(name: str, default: str, help: str) -> Parameter:
    """A parameter of at least 0."""
    return Parameter(name, default, _parse_share, help)


def optional_rate(name: str = "rate") -> Parameter:
    """Requests per second of an open loop; 0 is a closed loop."""
    return Parameter(name, "0", _parse_share, "requests per second of an open loop; 0: as fast as answers come")


def item(description: str, tag: str, name: str) -> Item:
    """An object on demand, with the size and the bytes that it must have."""
    key = f"{description}/{tag}/{name}"
    return Item(f"/{key}", parse_size(description.partition(";")[0].partition(",")[0]), seed_of(key))


def _positive(parse: Any) -> Any:
    def read(text: str) -> Any:
        value = parse(text)
        if value < 1:
            raise ValueError("it must be at least 1")
        return value

    return read


def _parse_share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("it must be at least 0")
    return value


def _parse_sizes(text: str) -> tuple[tuple[int, float], ...]:
    found = []
    for part in text.split(","):
        size_text, _, weight = part.partition(":")
        found.append((parse_size(size_text), float(weight or 1)))
    if not all(size > 0 and weight > 0 for size, weight in found):
        raise ValueError("sizes and weights must be positive")
    return tuple(found)
