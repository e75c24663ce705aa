"""When requests are meant to be sent, where that does not depend on answers."""

from collections.abc import Iterator
from itertools import count, islice
from random import Random

from yatagarasu.bench.plan import Herd, Open, Plan, Share

_SECOND = 1_000_000_000
# Later than any time.
NEVER = 1 << 62


def arrival_times(plan: Plan, share: Share, start: int) -> Iterator[int]:
    """Times, in monotonic ns, ascending, of one worker's requests; none for a closed loop.

    Workers' times interleave: at even steps, they are even over all of them.
    """
    rng = Random(f"{plan.seed}/{share.index}/arrivals")
    if isinstance(plan.arrival, Herd):
        jitter = plan.arrival.jitter_seconds * _SECOND
        return iter(sorted(start + int(rng.random() * jitter) for _ in range(share.connections)))
    if not isinstance(plan.arrival, Open):
        return iter(())
    step = _SECOND * share.workers / plan.arrival.rate
    if plan.arrival.is_poisson:
        times = _poisson(rng, start, step)
    else:
        times = (start + int(step * (number + share.index / share.workers)) for number in count())
    return islice(times, share.count)


def _poisson(rng: Random, start: int, mean: float) -> Iterator[int]:
    at = float(start)
    while True:
        at += rng.expovariate(1 / mean)
        yield int(at)
