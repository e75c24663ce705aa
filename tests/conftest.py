"""Fixtures for everybody."""

from typing import Any

import pytest
import trio

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
