"""The folders are the architecture: who may import whom, what stays pure, how many broad excepts there are."""

import ast
from pathlib import Path

import pytest

import yatagarasu

ROOT = Path(yatagarasu.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# cli -> fleet -> app -> {server, admin, warm, bench} -> proxy -> {cache, origin, access} -> {http, s3} ->
# {errors, units}; observe lies below all that count and log; config is for those above `proxy` that put parts together.
LEVELS = {
    "errors": 0,
    "units": 0,
    "http": 1,
    "s3": 2,
    "observe": 3,
    "cache": 4,
    "origin": 4,
    "access": 4,
    "proxy": 5,
    "server": 6,
    "admin": 7,
    "warm": 6,  # below admin, which starts its jobs
    "bench": 6,
    "parts": 7,
    "warmup": 8,
    "checks": 8,
    "gauges": 8,
    "peering": 8,
    "app": 9,
    "fleet": 10,
    "cli": 11,
    "__main__": 12,
}
PURE = {"http", "s3", "cache/policy.py", "cache/eviction.py", "cache/extents.py", "cache/entry.py"}
IMPURE_IMPORTS = {"trio", "socket", "ssl", "time", "random", "logging", "os"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_every_part_has_its_level():
    assert {part_of(path) for path in MODULES} - set(LEVELS) == {"__init__", "config"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path):
    part = part_of(path)
    for name in imports(path):
        if not name.startswith("yatagarasu."):
            continue
        other = name.split(".")[1]
        if other == part:
            continue
        if other == "config":
            assert part in ("cli", "fleet", "app", "peering", "parts", "checks", "warmup"), (
                f"{name_of(path)} reads config"
            )
        elif part == "config":
            assert other in ("errors", "units"), f"config imports {name}"
        elif part != "__init__":
            assert LEVELS[other] < LEVELS[part], f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sans_io_parts_stay_pure(path: Path):
    name = name_of(path)
    if name in PURE or name.split("/")[0] in PURE:
        assert {module.split(".")[0] for module in imports(path)} & IMPURE_IMPORTS == set()


def test_broad_excepts_are_where_work_for_one_must_not_cost_others():
    """One per flight; one per connection, in both of the places where its code runs: its task, the reactor's turn."""
    found = [
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id == "Exception"
    ]
    assert sorted(found) == ["proxy/flight.py", "server/connection.py", "server/reactor.py"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_what_is_exported_is_there():
    import importlib

    for path in MODULES:
        module = importlib.import_module("yatagarasu." + ".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_raised_within_except_star(path: Path):
    """With Debian 12's Python 3.11.2 it comes out in a group, whatever it is (python/cpython issue 103590)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.TryStar):
            raised = [
                inner.lineno for handler in node.handlers for inner in ast.walk(handler) if isinstance(inner, ast.Raise)
            ]
            assert raised == []
