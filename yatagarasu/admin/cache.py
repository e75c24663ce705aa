"""Cache control: /cache and what is below it. Parameters in, JSON values out; what it means is the inventory's.

Several workers have one cache between them: whoever is asked asks the others, and answers for all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from yatagarasu.errors import BadRequest
from yatagarasu.proxy.inventory import Inventory, Selection, order_of

# Asks every other worker (method, target, seconds): their values, and how many have not answered.
Everyone = Callable[[str, str, float], Awaitable[tuple[list[Any], int]]]

_LOOK_SECONDS = 5.0
_PURGE_SECONDS = 60.0
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
_SELECTION = frozenset(("bucket", "key", "prefix", "tag"))
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be done: which parameters it takes."""

    name: str
    parameters: frozenset[str]


_STATISTICS = Operation("statistics", frozenset())
_LIST = Operation("list", _SELECTION - {"key"} | {"after", "limit"})
_LOOK = Operation("look", frozenset(("bucket", "key")))
_PURGE = Operation("purge", _SELECTION | {"all", "soft"})
OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "/cache": {"GET": _STATISTICS},
    "/cache/entries": {"GET": _LIST, "DELETE": _PURGE},
    "/cache/entry": {"GET": _LOOK, "DELETE": _PURGE},
    "/cache/purge": {"POST": _PURGE},
}


async def _nobody(method: str, target: str, seconds: float) -> tuple[list[Any], int]:
    return [], 0


class CacheControl:
    """Answers for the cache.

    Args:
        inventory: this process's.
        everyone: asks the other workers; None where there are none.
    """

    def __init__(self, inventory: Inventory, everyone: Everyone | None = None) -> None:
        self._inventory = inventory
        self._everyone = everyone or _nobody

    async def answer(self, operation: Operation, method: str, path: str, query: str) -> tuple[int, Any]:
        """Status and value, for the whole machine.

        Raises:
            BadRequest: names the parameter.
        """
        given = _read(operation, query)
        target = f"{path}?{urlencode(given)}"
        if operation is _PURGE:
            return await self._purge(given, method, target)
        values = [await self._value(operation, given)]
        others, missing = await self._everyone("GET", target, _LOOK_SECONDS)
        values += others
        if operation is _STATISTICS:
            return 200, await self._statistics(values, missing)
        entries = merge_entries(values)
        if operation is _LOOK:
            if not entries:
                return 404, {"error": "nothing of this object is in the cache", "workers_missing": missing}
            return 200, {"entries": entries, "workers_missing": missing}
        limit = _limit(given)
        following = entries[limit - 1]["cache_key"] if len(entries) >= limit else None
        return 200, {"entries": entries[:limit], "next": following, "workers_missing": missing}

    async def answer_peer(self, operation: Operation, query: str) -> tuple[int, Any]:
        """Status and value, of this process alone. Raises BadRequest."""
        return 200, await self._value(operation, _read(operation, query))

    async def _value(self, operation: Operation, given: Mapping[str, str]) -> Any:
        inventory = self._inventory
        if operation is _STATISTICS:
            return inventory.statistics()
        selection = Selection(given.get("bucket"), given.get("key"), given.get("prefix"), given.get("tag"))
        if operation is _LOOK:
            assert selection.bucket is not None
            assert selection.object_key is not None
            return await inventory.look(selection.bucket, selection.object_key)
        if operation is _LIST:
            return await inventory.page(selection, after=given.get("after", ""), limit=_limit(given))
        return await inventory.purge(selection, soft=_truth(given, "soft"))

    async def _purge(self, given: Mapping[str, str], method: str, target: str) -> tuple[int, Any]:
        """Twice: the first time a worker that is done may still get what another has not purged yet."""
        total: dict[str, Any] = {}
        missing = 0
        for _ in range(2):
            others, missing = await self._everyone(method, target, _PURGE_SECONDS)
            for counts in (await self._value(_PURGE, given), *others):
                add(total, counts)
            if not others and not missing:
                break
        if missing:
            return 503, {"error": "not every worker has answered: purge again", "purged": total}
        return 200, {"purged": total, "is_soft": _truth(given, "soft")}

    async def _statistics(self, values: list[Any], missing: int) -> dict[str, Any]:
        total: dict[str, Any] = {}
        for numbers in values:
            add(total, numbers)
        for bucket, numbers in (await self._inventory.totals_on_disk()).items():
            total["buckets"].setdefault(bucket, {})["disk"] = numbers
        return {**total, "workers": len(values), "workers_missing": missing}


def add(total: dict[str, Any], numbers: Mapping[str, Any]) -> None:
    """Add numbers in nested dictionaries to those of the same names."""
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def merge_entries(lists: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One list of what several processes know of the same keys, in order; the fullest account of each counts."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for entries in lists for entry in entries):
        known = found.get(entry["cache_key"])
        if known is None:
            found[entry["cache_key"]] = entry
            continue
        fuller, other = (entry, known) if entry["present"] > known["present"] else (known, entry)
        merged = {**fuller, "tiers": sorted({*fuller["tiers"], *other["tiers"]}, reverse=True)}
        if "in_flight" in fuller:
            merged["in_flight"] = fuller["in_flight"] or other["in_flight"]
        found[entry["cache_key"]] = merged
    return [found[key] for key in sorted(found, key=order_of)]


def _read(operation: Operation, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeDecodeError) as exc:
        raise BadRequest("the query cannot be read") from exc
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in operation.parameters:
            known = ", ".join(sorted(operation.parameters)) or "none"
            raise BadRequest(f"unknown parameter {name!r}; there are: {known}")
        if name in given:
            raise BadRequest(f"{name} is given twice")
        given[name] = value
    _check(operation, given)
    return given


def _check(operation: Operation, given: Mapping[str, str]) -> None:
    for name in ("key", "prefix"):
        if name in given and "bucket" not in given:
            raise BadRequest(f"{name} needs bucket")
    if operation is _LOOK:
        for name in ("bucket", "key"):
            if not given.get(name):
                raise BadRequest(f"{name} is needed")
    elif operation is _LIST:
        _limit(given)
    elif operation is _PURGE:
        _check_purge(given)


def _check_purge(given: Mapping[str, str]) -> None:
    conditions = _SELECTION & given.keys()
    for name in conditions:
        # A script's empty variable must not purge more than was meant.
        if not given[name]:
            raise BadRequest(f"{name} is empty")
    _truth(given, "soft")
    if _truth(given, "all"):
        if conditions:
            raise BadRequest("all takes no other condition")
    elif not conditions:
        raise BadRequest("say what to purge: bucket and key, bucket and prefix, bucket, tag, or all=1")
    if {"key", "prefix"} <= conditions:
        raise BadRequest("key and prefix exclude each other")


def _truth(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "").lower()
    if text not in _TRUTHS:
        raise BadRequest(f"{name} is 1 or 0")
    return _TRUTHS[text]


def _limit(given: Mapping[str, str]) -> int:
    text = given.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= _MAX_LIMIT):
        raise BadRequest(f"limit is a number from 1 to {_MAX_LIMIT}")
    return int(text)
