"""Retries: which failures are worth another try, and how long to wait for it.

Full jitter, as AWS's "Exponential backoff and jitter" recommends: many proxies must not come back in step.
"""

import random
from dataclasses import dataclass

from yatagarasu.errors import (
    ConnectionDied,
    ObjectChanged,
    OriginBroken,
    OriginError,
    OriginLate,
    OriginStatus,
    OriginUnreachable,
    YatagarasuError,
)

_RETRYABLE_STATUSES = frozenset((429, 500, 502, 503, 504))


def mark_final(error: YatagarasuError) -> None:
    """Say that somebody has tried as often as anybody may (F6); every copy for a waiter says so too."""
    error.__dict__["is_final"] = True


def is_final(error: YatagarasuError) -> bool:
    """Whether `mark_final` was called on it."""
    return "is_final" in error.__dict__


def is_retryable(error: OriginError) -> bool:
    """Whether the same request may succeed when it is sent again."""
    if is_final(error):
        return False
    if isinstance(error, OriginStatus):
        return error.origin_status in _RETRYABLE_STATUSES
    if isinstance(error, ObjectChanged):
        return False
    return isinstance(error, OriginBroken | OriginLate | OriginUnreachable)


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Tries in all, at least 1; seconds, the bound of the first wait, which doubles with each, and of every wait."""

    attempts: int = 3
    backoff: float = 0.05
    max_backoff: float = 2.0


class RetryBudget:
    """The tries of one fetch.

    Args:
        rng: where jitter comes from.
    """

    __slots__ = ("_rng", "_settings", "attempt")

    def __init__(self, settings: RetrySettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self.attempt = 1

    def __str__(self) -> str:
        return f"{self.attempt}/{self._settings.attempts}"

    def failed(self, error: OriginError) -> float | None:
        """Seconds to wait before the next try, None where there is none left, or none would help."""
        settings = self._settings
        if not is_retryable(error) or self.attempt >= settings.attempts:
            return None
        bound = min(settings.max_backoff, settings.backoff * 2 ** (self.attempt - 1))
        self.attempt += 1
        if isinstance(error, ConnectionDied):
            return 0.0
        delay = self._rng.uniform(0, bound)
        if isinstance(error, OriginStatus) and error.asked_to_wait:
            delay = max(delay, min(error.retry_after_seconds or 0, settings.max_backoff))
        return delay

    def progress(self) -> None:
        """Bytes came: the budget is whole again."""
        self.attempt = 1
