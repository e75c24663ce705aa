"""The fault matrix as a table: a row a fault, and what has to come of it in every phase.

Outcomes: `new`, the object as it is now, every byte; `old`, the stored one, every byte; `cut`, a beginning of one of
them and an end that nobody takes for clean; `short`, the beginning that a lying origin says is all; a number, that
status with an error document. Where two may come, both stand there: which one is a matter of who was first.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.clock import HOUR, YEAR
from yatagarasu.bench.faults import Fault

SIZE = 300_000
# What is stored beforehand where something is, what the origin has when the fault strikes, and what it may have then.
OLD_DATA, NEW_DATA, NEXT_DATA = (random.Random(seed).randbytes(SIZE) for seed in (1, 2, 3))
# Within the object, and within the range that clients ask for.
HALF = 120_000
RANGE = (40_000, 240_000)

PHASES = ("cold", "following", "range", "revalidating", "stale", "warming")
Network = Literal["refused", "no name", "bad certificate"]


@dataclass(frozen=True)
class Row:
    """A fault and its expected outcomes.

    Attributes:
        faults: of the first requests for a key, and how many each is for; None: all that follow.
        network: what goes wrong before any request can.
        jump: seconds by which the wall clock jumps in the middle of the bodies.
        skew: seconds by which our clock, but not the origin's, is wrong before anybody asks.
        fresh: where nothing is stored: phases cold, following, range and warming.
        stored: where an expired entry is, and may not be used stale.
        stale: where it may.
        ranged: in phase range, where that differs from `fresh`.
        requests: what the origin may see per key and client's request.
        ranged_requests: the same in phase range, where that differs.
        job_requests: the same per item of a warming job; None: `requests` for each of its three tries.
    """

    name: str
    faults: Sequence[tuple[Fault, int | None]] = ()
    network: Network | None = None
    jump: float = 0.0
    skew: float = 0.0
    fresh: tuple[str, ...] = ("new",)
    stored: tuple[str, ...] | None = None
    stale: tuple[str, ...] | None = None
    ranged: tuple[str, ...] | None = None
    requests: int = 1
    ranged_requests: int | None = None
    job_requests: int | None = None

    @property
    def is_throttling(self) -> bool:
        """Whether the origin asks for fewer requests for ever: a warming job does not give up soon then."""
        return any(fault.status in (429, 503) and count is None for fault, count in self.faults)

    def expected(self, phase: str) -> tuple[str, ...]:
        """The outcomes that are right in a phase."""
        if phase == "range":
            return self.ranged or self.fresh
        if phase == "revalidating":
            return self.stored or self.fresh
        if phase == "stale":
            return self.stale or self.stored or self.fresh
        return self.fresh


def _always(fault: Fault) -> tuple[tuple[Fault, None], ...]:
    return ((fault, None),)


def _once(fault: Fault) -> tuple[tuple[Fault, int], ...]:
    return ((fault, 1),)


_CUT = Fault(cut_after=HALF)
_TRICKLE = Fault(bandwidth=1_000_000)
OLD = ("old",)

ROWS = (
    # Before any request
    Row("origin refuses", network="refused", fresh=("502",), stale=OLD, requests=0),
    Row("no such name", network="no name", fresh=("502",), stale=OLD, requests=0),
    Row("TLS fails", network="bad certificate", fresh=("502",), stale=OLD, requests=0),
    Row("our clock is half an hour ahead", skew=HOUR / 2, fresh=("502",), stale=OLD),
    Row("our clock is half an hour behind", skew=-HOUR / 2, fresh=("502",), stale=OLD),
    # Before the head
    Row("reset before head, once", _once(Fault(reset_before_head=True)), requests=2),
    Row("reset before head", _always(Fault(reset_before_head=True)), fresh=("502",), stale=OLD, requests=3),
    Row("closed before head", _always(Fault(close_before_head=True)), fresh=("502",), stale=OLD, requests=3),
    Row("reset in head, once", _once(Fault(reset_in_head=True)), requests=2),
    Row("reset in head", _always(Fault(reset_in_head=True)), fresh=("502",), stale=OLD, requests=3),
    Row("slow head", _always(Fault(slow_head=0.00002))),
    Row("head too late, once", _once(Fault(latency=5.0)), requests=2),
    Row("head too late", _always(Fault(latency=5.0)), fresh=("504",), stale=OLD, requests=3),
    Row("garbage", _always(Fault(garbage=True)), fresh=("502",), stale=OLD, requests=3),
    Row("head too large", _always(Fault(huge_head=True)), fresh=("502",), stale=OLD, requests=3),
    # Instead of the object
    Row("500, once", _once(Fault(status=500)), requests=2),
    Row("500", _always(Fault(status=500)), fresh=("502",), stale=OLD, requests=3),
    Row("503 once, Retry-After", _once(Fault(status=503, retry_after=1)), requests=2),
    Row("503, Retry-After", _always(Fault(status=503, retry_after=1)), fresh=("503",), stale=OLD, requests=3),
    Row("429", _always(Fault(status=429, code="SlowDown")), fresh=("503",), stale=OLD, requests=3),
    Row("403, credentials expired", _always(Fault(status=403, code="ExpiredToken")), fresh=("502",), stale=OLD),
    Row("403, access denied", _always(Fault(status=403, code="AccessDenied")), fresh=("403",)),
    Row("404", _always(Fault(status=404, code="NoSuchKey")), fresh=("404",)),
    # In the body
    Row(
        "length lies: too long",
        _always(Fault(lying_length=1000)),
        fresh=("cut",),
        ranged=("new",),
        requests=4,
        job_requests=6,
    ),
    # Nobody can know that a shorter object was not meant; what is sent beyond it is nobody's next answer.
    Row(
        "length lies: too short",
        _always(Fault(lying_length=-1000)),
        fresh=("short",),
        ranged=("new",),
        ranged_requests=3,
    ),
    Row("cut, once", _once(_CUT), requests=2),
    Row("cut", _always(_CUT), requests=3),
    Row("reset, once", _once(Fault(reset_after=HALF)), requests=2),
    Row("reset", _always(Fault(reset_after=HALF)), requests=3),
    Row("stall, once", _once(Fault(stall_after=HALF)), requests=2),
    Row("stall", _always(Fault(stall_after=HALF)), requests=3),
    Row("trickle", _always(_TRICKLE)),
    *(
        Row(f"the clock jumps by {jump:+g} s", _always(_TRICKLE), jump=jump)
        for jump in (HOUR, -HOUR, 20 * YEAR, -20 * YEAR)
    ),
    Row("chunked", _always(Fault(chunked=True))),
    # Of a range its size is known.
    Row("chunked, but for the last chunk", _always(Fault(chunked=True, cut_after=SIZE)), ranged=("new",), requests=2),
    Row("chunked, cut once", _once(Fault(chunked=True, cut_after=HALF)), requests=2),
    Row("weak ETag, cut once", _once(Fault(weak_etag=True, cut_after=HALF)), fresh=("cut", "new"), requests=2),
    Row("no ETag, cut once", _once(Fault(missing_etag=True, cut_after=HALF)), fresh=("cut", "new"), requests=2),
    # While it is resumed
    Row("resumed under another ETag", ((_CUT, 1), (Fault(wrong_etag=True), 1)), fresh=("cut", "new"), requests=3),
    Row("resumed with 200", ((_CUT, 1), (Fault(ignore_range=True), None)), requests=2),
    Row("resumed with a wrong Content-Range", ((_CUT, 1), (Fault(wrong_content_range=True), 1)), requests=3),
    Row("resumed after 503", ((_CUT, 1), (Fault(status=503), 1)), requests=3),
    Row("resumed into 503s", ((_CUT, 1), (Fault(status=503), None)), fresh=("cut", "503"), requests=3),
    Row(
        "replaced under a cut",
        _once(Fault(cut_after=HALF, replace_after=HALF // 2, new_data=NEXT_DATA)),
        fresh=("cut", "new"),
        requests=3,
    ),
    Row(
        "deleted while cut", ((_CUT, 1), (Fault(status=404, code="NoSuchKey"), None)), fresh=("cut", "404"), requests=3
    ),
)
