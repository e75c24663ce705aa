"""Every transport that a test makes is closed with it."""

from collections.abc import Iterator

import pytest

from yatagarasu.origin.transport import OriginTransport


@pytest.fixture(autouse=True)
def _close_transports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what is left idle, by hand: the loop that could do it has ended, and pytest-trio has no such fixtures."""
    made: list[OriginTransport] = []
    init = OriginTransport.__init__

    def remember(self: OriginTransport, **arguments: object) -> None:
        init(self, **arguments)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(OriginTransport, "__init__", remember)
    yield
    for transport in made:
        for pool in transport._pools.values():
            assert pool.statistics().in_use == 0
            for pooled in pool._idle:
                connection = getattr(pooled.connection, "_plain", pooled.connection)
                connection._sock.close()
