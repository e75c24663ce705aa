"""Fixtures for everybody."""

import os
from typing import Any

import pytest
import trio
from xdist.scheduler import LoadScopeScheduling

from tests.fakes import Rig, ScriptedOrigin


@pytest.fixture
def origin() -> ScriptedOrigin:
    return ScriptedOrigin()


@pytest.fixture
def make_rig(nursery: trio.Nursery, origin: ScriptedOrigin) -> Any:
    """Build a `Rig`; a test that takes it takes `autojump_clock` too, which pytest-trio must see by itself."""

    def make(**arguments: Any) -> Rig:
        return Rig(nursery, origin, **arguments)

    return make


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out where nobody asked for them; the summary counts them as deselected."""
    if os.environ.get("YATAGARASU_SLOW") or "slow" in config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


class _Schedule(LoadScopeScheduling):  # type: ignore[misc]
    """What one process runs one after the other: end-to-end tests by file, for what they share.

    Benchmarks want the machine: those of different files stay together too. (xdist's own groups need pytest < 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if "/test_bench" in path or "stampede_of_five" in nodeid:
            return "benchmarks"
        return path if path.startswith("tests/e2e/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Called by pytest-xdist where it runs."""
    config.option.loadscopereorder = False
    return _Schedule(config, log)
