"""From config to parts: every value and object that a config names. `app` puts them together."""

import sys
import time
from pathlib import Path
from typing import IO

from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.share import Share
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.cache.memory import MemoryTier
from yatagarasu.cache.policy import Timing
from yatagarasu.cache.tiers import Tiers
from yatagarasu.config.model import BucketConfig, CacheConfig, Config
from yatagarasu.observe.log import Log, Scrubber
from yatagarasu.origin.client import Origin, S3Origin
from yatagarasu.origin.credentials import Anonymous, AwsChain, CredentialSource, StaticCredentials
from yatagarasu.origin.directory import DirectoryOrigin
from yatagarasu.origin.retry import RetrySettings
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.proxy.cors import Cors
from yatagarasu.proxy.fetch import FlightSettings
from yatagarasu.proxy.router import Route
from yatagarasu.s3.addressing import resolve_address
from yatagarasu.s3.signing import Credentials
from yatagarasu.server.forwarded import parse_networks
from yatagarasu.server.reactor import Limits
from yatagarasu.units import MIB


def timing(base: CacheConfig, bucket: BucketConfig) -> Timing:
    """A bucket's timings: its own where it has them, `[cache]`'s otherwise."""
    own = bucket.cache

    def pick(name: str) -> float:
        value = getattr(own, name, None) if own is not None else None
        return float(getattr(base, name) if value is None else value)

    override = own.ttl_override if own is not None else None
    return Timing(
        ttl=pick("ttl"),
        ttl_override=base.ttl_override if override is None else override,
        stale_while_revalidate=pick("stale_while_revalidate"),
        stale_if_error=pick("stale_if_error"),
        negative_ttl=pick("negative_ttl"),
    )


def flight_settings(config: Config) -> FlightSettings:
    """Numbers that flights go by."""
    coalescing = config.coalescing
    return FlightSettings(
        enabled=coalescing.enabled,
        wait_timeout=coalescing.wait_timeout,
        max_waiters=coalescing.max_waiters,
        join_ahead=coalescing.join_ahead,
        readahead=coalescing.readahead,
        block_size=config.cache.disk.block_size if config.cache.disk is not None else MIB,
        stall_timeout=coalescing.stall_timeout,
        failure_ttl=coalescing.failure_ttl,
        uncacheable_ttl=coalescing.uncacheable_ttl,
        uncacheable_concurrency=coalescing.uncacheable_concurrency,
        finish_abandoned_at=coalescing.finish_abandoned_at,
        retry=retry_settings(config),
    )


def retry_settings(config: Config) -> RetrySettings:
    """How often what the origin does not answer is tried again."""
    retry = config.origin.retry
    return RetrySettings(retry.attempts, retry.backoff, retry.max_backoff)


def limits(config: Config) -> Limits:
    """Numbers that connections go by."""
    server = config.server
    return Limits(
        max_connections=server.max_connections,
        max_head_bytes=server.max_header_size,
        max_target_bytes=server.max_target_size,
        header_timeout=server.header_timeout,
        idle_timeout=server.idle_timeout,
        write_timeout=server.write_timeout,
        trusted_proxies=parse_networks(server.trusted_proxies),
    )


def new_transport(config: Config) -> OriginTransport:
    """The connections to every origin of a config."""
    return OriginTransport(
        connect_timeout=config.origin.connect_timeout,
        first_byte_timeout=config.origin.first_byte_timeout,
        max_connections=config.origin.max_connections,
    )


def disk_settings(config: Config) -> DiskSettings | None:
    """Numbers of the disk tier, None where there is none."""
    disk = config.cache.disk
    if disk is None:
        return None
    return DiskSettings(
        path=disk.path,
        max_size=disk.max_size,
        max_object_size=disk.max_size // 2 if disk.max_object_size is None else disk.max_object_size,
        min_free=disk.min_free,
        block_size=disk.block_size,
        memory_object_size=config.cache.memory.max_object_size,
        open_files=disk.open_files,
    )


def new_tiers(
    config: Config, log: Log, *, share: Share | None = None, count: int = 1, has_clients: bool = True
) -> Tiers:
    """The cache: memory, and disk where the config has one.

    Args:
        share: of the disk, where several processes use it.
        count: of processes that have the memory between them.
        has_clients: somebody waits for this process' answers.
    """
    memory = MemoryTier(config.cache.memory.max_size // count, config.cache.memory.max_object_size)
    limit, settings = config.cache.memory.max_object_size, disk_settings(config)
    if settings is None:
        return Tiers(memory, max_memory_object=limit)
    disk = DiskTier(settings, log=log, share=share)
    tiers = Tiers(memory, disk, Flusher(disk, has_time=not has_clients), max_memory_object=limit)
    memory.on_evict = tiers.demote
    return tiers


def credentials_of(bucket: BucketConfig, chain: AwsChain) -> CredentialSource:
    """Where a bucket's credentials come from; `chain` is shared, so that each of its sources is asked once."""
    s3 = bucket.s3
    assert s3 is not None
    if s3.anonymous:
        return Anonymous()
    if s3.access_key is not None and s3.secret_key is not None:
        token = s3.session_token.get_secret_value() if s3.session_token is not None else None
        return StaticCredentials(Credentials(s3.access_key.get_secret_value(), s3.secret_key.get_secret_value(), token))
    return chain


def new_origin(bucket: BucketConfig, transport: OriginTransport, chain: AwsChain) -> Origin:
    """A bucket's origin: S3, or a local folder."""
    if bucket.s3 is None:
        assert bucket.directory is not None
        return DirectoryOrigin(Path(bucket.directory), name=bucket.name)
    s3 = bucket.s3
    return S3Origin(
        bucket=s3.bucket,
        region=s3.region,
        address=resolve_address(s3.bucket, s3.region, s3.endpoint, s3.addressing),
        key_prefix=s3.key_prefix,
        credentials=credentials_of(bucket, chain),
        transport=transport,
        clock=time.time,
    )


def new_route(config: Config, bucket: BucketConfig, transport: OriginTransport, chain: AwsChain) -> Route:
    """A bucket's route."""
    cors = None
    if bucket.cors is not None:
        cors = Cors(
            allow_origins=tuple(bucket.cors.allow_origins),
            allow_methods=tuple(bucket.cors.allow_methods),
            allow_headers=tuple(bucket.cors.allow_headers),
            expose_headers=tuple(bucket.cors.expose_headers),
            max_age_seconds=int(bucket.cors.max_age),
            allow_credentials=bucket.cors.allow_credentials,
        )
    return Route(
        bucket=bucket.name,
        path_prefix=bucket.path_prefix.rstrip("/"),
        origin=new_origin(bucket, transport, chain),
        timing=timing(config.cache, bucket),
        caches=bucket.cache is None or bucket.cache.enabled,
        lists=bucket.list,
        forwarded=frozenset(name.lower() for name in bucket.forward_request_headers),
        keyed=tuple(name.lower() for name in bucket.cache_key_headers),
        query_mode=bucket.forward_query,
        is_signed=bucket.s3 is not None and not bucket.s3.anonymous,
        cors=cors,
        retry=retry_settings(config),
    )


def secrets_of(config: Config) -> list[str]:
    """Every secret that must never be printed."""
    found = [config.admin.token.get_secret_value()] if config.admin.token is not None else []
    for bucket in config.buckets:
        if bucket.s3 is not None:
            secrets = (bucket.s3.secret_key, bucket.s3.session_token)
            found.extend(secret.get_secret_value() for secret in secrets if secret is not None)
    return [secret for secret in found if secret]


def access_format(config: Config, stream: IO[str]) -> str:
    """A log's format with `auto` decided: console where `stream` is a terminal, JSON otherwise."""
    if config.log.format != "auto":
        return config.log.format
    return "console" if stream.isatty() else "json"


def new_log(config: Config) -> Log:
    """The error log on stderr, which knows the config's secrets."""
    return Log(level=config.log.level, format=access_format(config, sys.stderr), scrubber=Scrubber(secrets_of(config)))
