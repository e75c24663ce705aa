"""Retries: which failures are worth another try, and how long to wait for it.

Full jitter, as AWS's "Exponential backoff and jitter" recommends: many proxies must not come back in step.
"""

import random

from yatagarasu.errors import (
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


class RetryBudget:
    """The tries of one fetch.

    Args:
        attempts: tries in all, at least 1.
        backoff: seconds, the bound of the first wait; it doubles with each.
        max_backoff: seconds, the bound of every wait.
        rng: where jitter comes from.
    """

    __slots__ = ("_attempts", "_backoff", "_max_backoff", "_rng", "attempt")

    def __init__(self, attempts: int, backoff: float, max_backoff: float, rng: random.Random) -> None:
        self._attempts = attempts
        self._backoff = backoff
        self._max_backoff = max_backoff
        self._rng = rng
        self.attempt = 1

    def failed(self) -> float | None:
        """Seconds to wait before the next try, None where there is none left."""
        if self.attempt >= self._attempts:
            return None
        bound = min(self._max_backoff, self._backoff * 2 ** (self.attempt - 1))
        self.attempt += 1
        return self._rng.uniform(0, bound)

    def progress(self) -> None:
        """Bytes came: the budget is whole again."""
        self.attempt = 1
