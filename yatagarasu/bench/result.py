"""What a run of the load generator found, in the words of a report."""

from dataclasses import dataclass, field
from typing import Any

from yatagarasu.bench.plan import Plan
from yatagarasu.bench.tally import Tally

# Past this share of a core, a process has no more to give.
_SATURATED = 0.9


@dataclass(frozen=True, slots=True)
class Result:
    """A run.

    `tally` has the measured requests: those that began in the window. `server_share` is how much of a core the
    busiest process of the server used in it; None where no process was given.
    """

    plan: Plan
    tally: Tally
    workers: int
    server_share: float | None = field(default=None)

    @property
    def requests(self) -> int:
        """Measured requests, answered or not."""
        return self.good + self.failed

    @property
    def good(self) -> int:
        """Those whose answer was as it must be; latencies are of these alone."""
        return self.tally.latency.count

    @property
    def failed(self) -> int:
        """The others, each with one kind in `tally.errors`."""
        return self.tally.errors.total()

    @property
    def rate(self) -> float:
        """Answers per second of the window, whatever they said."""
        return self.tally.answers / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def throughput(self) -> float:
        """Body bytes per second of the window, of whole answers or not."""
        return self.tally.body_bytes / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def generator_share(self) -> float:
        """How much of a core each worker used, on average."""
        return self.tally.cpu_seconds / self.workers / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def core_share(self) -> float:
        """How busy the workers' cores were, with whatever else ran there."""
        return self.tally.core_seconds / self.workers / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def limit(self) -> str | None:
        """Who could do no more: "server", "generator", or "core", where others took the generator's cores from it.

        None where nobody is known to have been at its end.
        """
        if self.server_share is not None and self.server_share >= _SATURATED:
            return "server"
        if self.generator_share > _SATURATED:
            return "generator"
        return "core" if self.core_share > _SATURATED else None

    def percentiles(self) -> dict[str, float]:
        """Latencies in seconds: p50, p90, p99, p99.9 and max."""
        latency = self.tally.latency
        found = {f"p{percent:g}": latency.percentile(percent) / 1e9 for percent in (50, 90, 99, 99.9)}
        return found | {"max": latency.max / 1e9}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the numbers above, and all that was counted."""
        names = ("requests", "good", "failed", "rate", "throughput", "generator_share", "core_share", "limit")
        found: dict[str, Any] = {name: getattr(self, name) for name in (*names, "workers", "server_share")}
        return found | {"percentiles": self.percentiles(), "tally": self.tally.to_dict()}
