"""The config's shape: every key, its type, its default and, where it is not plain, why that default.

Sizes are bytes and durations seconds once read. Unknown keys are errors. Secrets print as asterisks.
"""

from builtins import list as List
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from yatagarasu.units import GIB, KIB, MIB, parse_duration, parse_size

# No size or duration needs more; beyond this, sums of them would overflow what the operating system takes.
_LARGEST_SIZE = 2**62
_LONGEST_SECONDS = 10 * 365 * 86400.0
# Nobody writes a longer one; what is longer may be too large for arithmetic.
_LONGEST_TEXT = 1000
_MOST_WORKERS = 1024


def _size(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("size_type", "not a size")
    if isinstance(value, int):
        return value
    if len(value) > _LONGEST_TEXT:
        raise PydanticCustomError("bad_unit", "is too long for a size")
    try:
        return parse_size(value)
    except ValueError as exc:
        raise PydanticCustomError("bad_unit", "{why}", {"why": str(exc)}) from exc


def _duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("duration_type", "not a duration")
    if not isinstance(value, str):
        # Only zero needs no unit, so this ends in a complaint; not every number has a short spelling.
        value = f"{value:.15g}" if abs(value) < 1e15 else "a number like this"
    if len(value) > _LONGEST_TEXT:
        raise PydanticCustomError("bad_unit", "is too long for a duration")
    try:
        return parse_duration(value)
    except ValueError as exc:
        raise PydanticCustomError("bad_unit", "{why}", {"why": str(exc)}) from exc


def _workers(value: Any) -> Any:
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise PydanticCustomError("bad_value", 'must be a whole number from 1, or "auto"')
    if value != "auto" and value > _MOST_WORKERS:
        raise PydanticCustomError("bad_value", "must be at most 1024: one per core is plenty")
    return value


Size = Annotated[
    int,
    Field(ge=0, le=_LARGEST_SIZE),
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["64KiB"], "description": "a size"}),
]
Duration = Annotated[
    float,
    Field(ge=0, le=_LONGEST_SECONDS),
    BeforeValidator(_duration),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["250ms"], "description": "a duration"}),
]
# An empty secret is none: "${NAME:-}" is how a file says "if there is one".
Secret = Annotated[SecretStr | None, BeforeValidator(lambda value: None if value == "" else value)]
Count = Annotated[int, Field(ge=1, le=2**31)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ServerConfig(_Section):
    """The public listener."""

    listen: Annotated[list[str], Field(min_length=1)] = ["127.0.0.1:8080"]
    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = 1
    max_connections: Count = 10_000
    max_header_size: Size = 16 * KIB
    max_target_size: Size = 8 * KIB
    header_timeout: Duration = 10.0
    idle_timeout: Duration = 75.0  # nginx's keepalive_timeout
    write_timeout: Duration = 30.0
    drain_timeout: Duration = 30.0
    trusted_proxies: list[str] = []


class AdminConfig(_Section):
    """The admin listener; an empty `listen` is none."""

    listen: str = "127.0.0.1:9090"
    token: Secret = None


class LogConfig(_Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    access: bool = True


class MemoryConfig(_Section):
    """The memory tier."""

    max_size: Size = 256 * MIB
    max_object_size: Size = MIB


class DiskConfig(_Section):
    """The disk tier. Without `max_object_size`, what is larger than half of `max_size` is not kept."""

    path: Annotated[str, Field(min_length=1)]
    max_size: Size = 10 * GIB
    max_object_size: Size | None = None
    min_free: Size = 256 * MIB  # a full file system hurts everybody on the machine, logs first
    block_size: Annotated[Size, Field(ge=4 * KIB)] = MIB
    open_files: Count = 1024


class CacheConfig(_Section):
    """Timings for responses that say nothing themselves, and the tiers."""

    ttl: Duration = 0.0
    ttl_override: Duration | None = None
    stale_while_revalidate: Duration = 0.0
    stale_if_error: Duration = 0.0
    negative_ttl: Duration = 1.0
    memory: MemoryConfig = MemoryConfig()
    disk: DiskConfig | None = None


class CoalescingConfig(_Section):
    """Flights."""

    enabled: bool = True
    wait_timeout: Duration = 30.0
    max_waiters: Count = 10_000
    join_ahead: Size = 8 * MIB
    readahead: Size = 8 * MIB
    stall_timeout: Duration = 10.0
    failure_ttl: Duration = 1.0
    uncacheable_ttl: Duration = 120.0  # Varnish's hit-for-miss
    uncacheable_concurrency: Count = 64
    finish_abandoned_at: Annotated[float, Field(ge=0, le=1)] = 0.5


class RetryConfig(_Section):
    """Tries of one fetch."""

    attempts: Count = 3
    backoff: Duration = 0.05
    max_backoff: Duration = 2.0


class OriginConfig(_Section):
    """Connections to origins."""

    connect_timeout: Duration = 5.0
    first_byte_timeout: Duration = 30.0
    max_connections: Count = 256
    retry: RetryConfig = RetryConfig()


class BucketCacheConfig(_Section):
    """A bucket's own timings."""

    enabled: bool = True
    ttl: Duration | None = None
    ttl_override: Duration | None = None
    stale_while_revalidate: Duration | None = None
    stale_if_error: Duration | None = None
    negative_ttl: Duration | None = None


class CorsConfig(_Section):
    """Other web origins that may read a bucket."""

    allow_origins: Annotated[list[str], Field(min_length=1)]
    allow_methods: list[str] = ["GET", "HEAD"]
    allow_headers: list[str] = ["*"]
    expose_headers: list[str] = ["ETag", "Content-Range", "Accept-Ranges"]
    max_age: Duration = 600.0
    allow_credentials: bool = False


class S3Config(_Section):
    """A bucket's origin. Without keys the usual AWS chain is asked."""

    bucket: str
    region: str = "us-east-1"
    endpoint: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    key_prefix: str = ""
    access_key: Secret = None
    secret_key: Secret = None
    session_token: Secret = None
    anonymous: bool = False


class BucketConfig(_Section):
    """One bucket under one path prefix: `s3`, or a local `directory`."""

    name: Annotated[str, Field(min_length=1)]
    path_prefix: str
    list: bool = False
    forward_request_headers: List[str] = []  # the field `list` hides the type of that name
    cache_key_headers: List[str] = []
    forward_query: Literal["s3", "all"] = "s3"
    cache: BucketCacheConfig | None = None
    cors: CorsConfig | None = None
    s3: S3Config | None = None
    directory: str | None = None


class Config(_Section):
    """A whole file."""

    server: ServerConfig = ServerConfig()
    admin: AdminConfig = AdminConfig()
    log: LogConfig = LogConfig()
    cache: CacheConfig = CacheConfig()
    coalescing: CoalescingConfig = CoalescingConfig()
    origin: OriginConfig = OriginConfig()
    buckets: Annotated[list[BucketConfig], Field(min_length=1)]
