"""The running proxy of the server tests, for herds over real sockets."""

from tests.server.conftest import proxy

__all__ = ["proxy"]
