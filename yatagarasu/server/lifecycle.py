"""Signals: drain on the first SIGTERM or SIGINT, end at once on the second, reload on SIGHUP."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from yatagarasu.errors import ConfigError
from yatagarasu.observe.log import Log


def take_reloads() -> None:
    """Let SIGHUP in, which waits while a process starts; one that has come already is a reload."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


class Lifecycle:
    """What the process does when it is told something.

    Args:
        drain_timeout: seconds that responses under way get, asked when the drain begins.
    """

    def __init__(self, log: Log, *, drain_timeout: Callable[[], float]) -> None:
        self._log = log
        self._drain_timeout = drain_timeout

    async def run(
        self,
        signals: AsyncIterator[int],
        *,
        drain: Callable[[], Awaitable[None]],
        reload: Callable[[], None],
    ) -> int:
        """Obey signals until the end; returns the exit code, 1 where the drain was cut short."""
        code = 0
        async with trio.open_nursery() as nursery:

            async def finish() -> None:
                nonlocal code
                seconds = self._drain_timeout()
                with trio.move_on_after(seconds) as scope:
                    await drain()
                if scope.cancelled_caught:
                    code = 1
                    self._log.warning("drain_cut_short", seconds=seconds)
                nursery.cancel_scope.cancel()

            is_draining = False
            async for number in signals:
                name = signal.Signals(number).name
                if number == signal.SIGHUP:
                    self._reload(reload)
                elif is_draining:
                    self._log.warning("ended_at_once", signal=name)
                    code = 1
                    nursery.cancel_scope.cancel()
                    break
                else:
                    is_draining = True
                    self._log.info("draining", signal=name)
                    nursery.start_soon(finish)
        return code

    def _reload(self, reload: Callable[[], None]) -> None:
        try:
            reload()
        except ConfigError as exc:
            self._log.error("reload_refused", exc=exc)
