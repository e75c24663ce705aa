"""Origins that cut every answer, over sockets: what arrives in one piece is gone before a reader has seen any of it."""

import httpx
import pytest
import trio

from tests.server.conftest import run_proxy
from yatagarasu.bench.faults import Fault

KIB = 1024


@pytest.mark.parametrize(
    "fault", [Fault(weak_etag=True, cut_after=256 * KIB), Fault(missing_etag=True, cut_after=256 * KIB)]
)
async def test_without_a_strong_etag_bytes_that_are_thrown_away_are_no_progress(fault: Fault):
    """The retry budget comes back with progress only (F3): each fetch begins at the start, so it does not here."""
    failed = []
    async with run_proxy() as proxy:
        proxy.store.put_pattern("bkt", "k", 512 * KIB)
        proxy.faults.add(fault, key="k")

        async def ask() -> None:
            async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                try:
                    answer = await client.get(f"http://127.0.0.1:{proxy.port}/b/k")
                except httpx.HTTPError as exc:
                    failed.append(exc)
                else:
                    assert answer.status_code >= 500

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(16):
                    nursery.start_soon(ask)
        # A reader that has begun is cut; whoever has not may ask once more, with a budget of its own.
        assert proxy.origin.request_count("k") <= 3 * 2
    assert not [exc for exc in failed if isinstance(exc, httpx.TimeoutException)]
