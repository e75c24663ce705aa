"""What a job is asked to do, in words: options of the command line, parameters of the admin endpoint."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from yatagarasu.errors import ConfigError
from yatagarasu.units import parse_size
from yatagarasu.warm.filters import Filters, parse_newer_than
from yatagarasu.warm.job import JobSettings
from yatagarasu.warm.outcome import HEAD_ONLY, WHOLE, Part

_MAX_CONCURRENCY = 1024
_RANGES = re.compile(r"(first|last)=(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job as it is ordered; texts as a person writes them, checked by `settings`.

    Args:
        bucket: of items that name none.
        lists: paths of object lists; none of them is the listing of `bucket`.
        format: of the lists, None to see for oneself.
        prefix: what keys begin with; needed where there are no lists ("" is all of the bucket).
        ranges: "first=1MiB,last=64KiB".
        rate: requests per second; `bandwidth` bytes per second.
    """

    bucket: str | None = None
    lists: tuple[str, ...] = ()
    format: str | None = None
    prefix: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    newer_than: str | None = None
    max_bytes: str | None = None
    head_only: bool = False
    ranges: str | None = None
    concurrency: int = 32
    rate: float | None = None
    bandwidth: str | None = None
    strict: bool = False

    def settings(self, now: float) -> JobSettings:
        """What the job goes by, at epoch `now`.

        Raises:
            ConfigError: names the option.
        """
        if not 1 <= self.concurrency <= _MAX_CONCURRENCY:
            raise ConfigError(f"concurrency is a number from 1 to {_MAX_CONCURRENCY}")
        if self.rate is not None and not 0 < self.rate < 1e9:
            raise ConfigError("rate is a number of requests per second, above 0")
        if self.head_only and self.ranges is not None:
            raise ConfigError("head-only and ranges exclude each other")
        parts: tuple[Part, ...] = HEAD_ONLY if self.head_only else WHOLE
        if self.ranges is not None:
            parts = parse_parts(self.ranges)
        return JobSettings(
            filters=self.filters(now),
            parts=parts,
            concurrency=self.concurrency,
            requests_per_second=self.rate,
            bytes_per_second=_size("bandwidth", self.bandwidth) or None,
            is_strict=self.strict,
        )

    def filters(self, now: float) -> Filters:
        """Which items are taken. Raises ConfigError."""
        newer_than = None
        if self.newer_than is not None:
            try:
                newer_than = parse_newer_than(self.newer_than, now)
            except ValueError as exc:
                raise ConfigError(f"newer-than: {exc}") from exc
        return Filters(
            prefix=self.prefix or "",
            include=self.include,
            exclude=self.exclude,
            newer_than=newer_than,
            max_bytes=_size("max-bytes", self.max_bytes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what differs from the defaults."""
        given = asdict(self)
        return {field.name: given[field.name] for field in fields(self) if given[field.name] != field.default}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """The order that `to_dict` gave."""
        values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in found.items()}
        return cls(**values)


def parse_parts(text: str) -> tuple[Part, ...]:
    """The ranges of "first=1MiB,last=64KiB": what readers of Parquet and of video ask for first.

    Raises:
        ConfigError: it is something else.
    """
    parts = []
    for word in text.split(","):
        match = _RANGES.fullmatch(word.strip())
        size = _size("ranges", match[2]) if match is not None else None
        if match is None or not size:
            raise ConfigError(f'ranges: {word.strip()!r} is not "first=SIZE" or "last=SIZE", like "first=1MiB"')
        parts.append(Part(range=f"bytes=0-{size - 1}" if match[1] == "first" else f"bytes=-{size}"))
    return tuple(parts)


def _size(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as exc:
        raise ConfigError(f"{name}: {exc}") from exc
