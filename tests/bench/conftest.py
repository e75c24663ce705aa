"""The embedded origin, serving, with objects whose bytes the load generator knows."""

import trio
from pytest_trio import trio_fixture

from yatagarasu.bench.origin import EmbeddedOrigin


@trio_fixture
async def served(nursery: trio.Nursery) -> EmbeddedOrigin:
    made = EmbeddedOrigin()
    made.store.put_pattern("b", "small", 1000, seed=5)
    made.store.put_pattern("b", "large", 2 * 1024 * 1024 + 11, seed=6)
    await nursery.start(made.serve)
    return made
