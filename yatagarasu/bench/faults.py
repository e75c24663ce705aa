"""Faults that the embedded origin commits on demand, and the script that says when."""

from collections.abc import Sequence
from dataclasses import dataclass

from yatagarasu.http.headers import Pair


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer; several may at once.

    Seconds: `latency` before the head, `slow_head` between its bytes. Bytes: `bandwidth` per second,
    `cut_after`, `reset_after` and `stall_after` count body bytes; `lying_length` is added to Content-Length.
    `reset_in_head` resets after half of the head. `replace_after` puts `new_data` in the object's place once that
    many body bytes have gone out, and `new_data` alone does so before the answer; the answer under way goes on with
    the old bytes.
    """

    latency: float = 0.0
    slow_head: float = 0.0
    bandwidth: float | None = None
    cut_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    status: int | None = None
    retry_after: int | None = None
    code: str | None = None
    reset_before_head: bool = False
    close_before_head: bool = False
    reset_in_head: bool = False
    garbage: bool = False
    huge_head: bool = False
    missing_etag: bool = False
    weak_etag: bool = False
    wrong_etag: bool = False
    lying_length: int = 0
    ignore_range: bool = False
    wrong_content_range: bool = False
    chunked: bool = False
    headers: Sequence[Pair] = ()
    new_data: bytes | None = None
    replace_after: int | None = None


NO_FAULT = Fault()


@dataclass(slots=True)
class _Rule:
    fault: Fault
    key: str | None
    left: int | None
    method: str | None
    after: int


class FaultScript:
    """Rules, tried in order; the first that fits a request decides."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(
        self,
        fault: Fault,
        *,
        key: str | None = None,
        count: int | None = None,
        method: str | None = None,
        after: int = 0,
    ) -> None:
        """Add a rule.

        Args:
            key: object key it is for, None for all.
            count: requests it is for, None for all; then it is used up.
            method: GET or HEAD, None for both.
            after: requests that fit are let through first.
        """
        self._rules.append(_Rule(fault, key, count, method, after))

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def take(self, method: str, key: str) -> Fault:
        """The fault for a request, counted against its rule."""
        for rule in self._rules:
            if rule.key not in (None, key) or rule.method not in (None, method) or rule.left == 0:
                continue
            if rule.after > 0:
                rule.after -= 1
                continue
            if rule.left is not None:
                rule.left -= 1
            return rule.fault
        return NO_FAULT
