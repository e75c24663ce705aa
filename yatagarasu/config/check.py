"""What a config's keys mean together: duplicates, contradictions, combinations that can never be reached."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from yatagarasu.config.model import BucketConfig, Config
from yatagarasu.config.positions import Path, Positions, dotted
from yatagarasu.config.report import Problem

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_RESERVED = ("/health", "/ready")

# Tables some of whose findings come of a comparison with another table.
_COMPARED: dict[Path, Path] = {("admin",): ("server",), ("coalescing",): ("origin",)}

# path, code, message, hint, severity
_Finding = tuple[Path, str, str, str | None, str]


def check(name: str, config: Config, positions: Positions, *, without: Sequence[Path] = ()) -> list[Problem]:
    """Every problem of a config whose keys are each good by themselves.

    Args:
        name: stands for the file in problems.
        config: what was read.
        positions: where it stands.
        without: keys that were left out of `config` as bad in themselves; nothing is said about the tables
            around them, where a complaint could come of their absence.
    """
    problems = []
    for path, code, message, hint, severity in _findings(config):
        table = path[:-1] if isinstance(path[-1], str) else path
        around = (table, _COMPARED.get(table, table))
        if any(left_out[: len(outer)] == outer for left_out in without for outer in around):
            continue
        line, column = positions.value(path)
        key = dotted(path)
        problems.append(Problem(name, line, column, code, f"{key}: {message}", hint, severity, key))
    return problems


def _findings(config: Config) -> Iterator[_Finding]:
    yield from _server(config)
    yield from _cache(config)
    yield from _routes(config)
    for index, bucket in enumerate(config.buckets):
        yield from _bucket(("buckets", index), bucket, config)


def _error(path: Path, code: str, message: str, hint: str | None = None) -> _Finding:
    return path, code, message, hint, "error"


def _warning(path: Path, code: str, message: str, hint: str | None = None) -> _Finding:
    return path, code, message, hint, "warning"


def _server(config: Config) -> Iterator[_Finding]:
    server = config.server
    seen: dict[str, Path] = {}
    listens: list[tuple[Path, str]] = [(("server", "listen", index), text) for index, text in enumerate(server.listen)]
    if config.admin.listen:
        listens.append((("admin", "listen"), config.admin.listen))
    for path, text in listens:
        why = _listen_problem(text)
        if why:
            yield _error(path, "bad-address", f"{text!r} {why}", 'write "host:port" or "unix:/path"')
        elif text in seen and not text.endswith(":0"):
            yield _error(path, "duplicate-listen", f"{text} is taken by {dotted(seen[text])} already")
        seen.setdefault(text, path)
    admin = config.admin
    if admin.listen and not _listen_problem(admin.listen) and not admin.token and not _is_local(admin.listen):
        yield _warning(
            ("admin", "listen"),
            "open-admin",
            "the admin listener can be reached from elsewhere and has no token",
            "set admin.token",
        )
    for index, text in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield _error(
                ("server", "trusted_proxies", index),
                "bad-cidr",
                f"{text!r} is not an address or CIDR",
                'write "10.0.0.0/8"',
            )
    if server.max_header_size < 1024:
        yield _error(("server", "max_header_size"), "bad-value", "below 1KiB no browser gets through")


def _listen_problem(text: str) -> str | None:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").encode()
        return None if path.startswith(b"/") and len(path) <= 107 else "needs an absolute path of at most 107 bytes"
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return "has no port from 0 to 65535"
    if host.count(":") and not host.startswith("["):
        return "needs brackets around an IPv6 address"
    return None


def _is_local(listen: str) -> bool:
    """Whether only this machine can connect. No host is every interface."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return listen.startswith("unix:") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cache(config: Config) -> Iterator[_Finding]:
    memory, coalescing, origin = config.cache.memory, config.coalescing, config.origin
    disk = config.cache.disk
    if disk is not None and disk.max_object_size is not None and disk.max_object_size > disk.max_size:
        yield _error(
            ("cache", "disk", "max_object_size"),
            "unreachable",
            "is larger than cache.disk.max_size: such an object can never be kept",
        )
    if memory.max_object_size > memory.max_size:
        yield _error(
            ("cache", "memory", "max_object_size"),
            "unreachable",
            "is larger than cache.memory.max_size: such an object can never be kept",
        )
    if origin.retry.backoff > origin.retry.max_backoff:
        yield _error(("origin", "retry", "backoff"), "unreachable", "is longer than origin.retry.max_backoff")
    if coalescing.enabled and coalescing.wait_timeout < origin.connect_timeout:
        yield _warning(
            ("coalescing", "wait_timeout"),
            "unreachable",
            "is shorter than origin.connect_timeout: clients give up before the origin is given up",
        )
    for name in ("first_byte_timeout", "connect_timeout"):
        if getattr(origin, name) <= 0:
            yield _error(("origin", name), "bad-value", "must be more than zero")


def _routes(config: Config) -> Iterator[_Finding]:
    names: dict[str, int] = {}
    prefixes: dict[str, int] = {}
    for index, bucket in enumerate(config.buckets):
        path: Path = ("buckets", index)
        if bucket.name in names:
            yield _error(
                (*path, "name"),
                "duplicate-name",
                f"{bucket.name!r} is the name of buckets[{names[bucket.name]}] already",
            )
        names.setdefault(bucket.name, index)
        prefix = bucket.path_prefix.rstrip("/")
        if not bucket.path_prefix.startswith("/"):
            yield _error(
                (*path, "path_prefix"),
                "bad-prefix",
                f"{bucket.path_prefix!r} must start with a slash",
                f'write "/{bucket.path_prefix}"',
            )
        elif any(part in ("", ".", "..") for part in prefix.split("/")[1:]) or re.search(r"[?#%\s]", prefix):
            yield _error((*path, "path_prefix"), "bad-prefix", f"{bucket.path_prefix!r} is not a plain path")
        elif prefix in prefixes:
            yield _error(
                (*path, "path_prefix"),
                "duplicate-prefix",
                f"{bucket.path_prefix!r} is the prefix of buckets[{prefixes[prefix]}] already",
            )
        elif prefix in _RESERVED:
            yield _error((*path, "path_prefix"), "bad-prefix", f"{prefix} is the proxy's own", "choose another prefix")
        else:
            for other, at in prefixes.items():
                inner, outer = (prefix, other) if prefix.startswith(other + "/") else (other, prefix)
                if inner.startswith(outer + "/") and outer:
                    where = f"buckets[{at}]"
                    yield _warning(
                        (*path, "path_prefix"),
                        "overlapping-routes",
                        f"{inner} lies within {outer} of {where}"
                        if inner == prefix
                        else f"{inner} of {where} lies within {outer}",
                        f"the longer prefix wins: nothing of {outer} below {inner} can be reached",
                    )
        prefixes.setdefault(prefix, index)


def _bucket(path: Path, bucket: BucketConfig, config: Config) -> Iterator[_Finding]:
    if (bucket.s3 is None) == (bucket.directory is None):
        what = "both s3 and directory are given" if bucket.s3 is not None else "neither s3 nor directory is given"
        yield _error(path, "bad-origin", what, "a bucket has exactly one of them")
    for name in ("forward_request_headers", "cache_key_headers"):
        for index, field in enumerate(getattr(bucket, name)):
            if not _TOKEN.fullmatch(field) or (field == "*" and name == "cache_key_headers"):
                yield _error((*path, name, index), "bad-value", f"{field!r} is not a header name")
    signs = bucket.s3 is not None and not bucket.s3.anonymous
    if signs and "authorization" in (field.lower() for field in bucket.forward_request_headers):
        yield _error(
            (*path, "forward_request_headers"),
            "unreachable",
            "Authorization goes only to anonymous origins",
            "set s3.anonymous = true, or take it out",
        )
    if bucket.cors is not None and bucket.cors.allow_credentials and "*" in bucket.cors.allow_origins:
        yield _error(
            (*path, "cors", "allow_credentials"),
            "unreachable",
            "browsers refuse credentials for any origin",
            "name the origins",
        )
    own = bucket.cache
    if own is not None and not own.enabled:
        for name in sorted(own.model_fields_set - {"enabled"}):
            yield _error((*path, "cache", name), "unreachable", "has no effect while cache.enabled = false")
    if own is not None and own.ttl_override is not None and own.ttl is not None:
        yield _warning((*path, "cache", "ttl"), "unreachable", "is never used: ttl_override beats it")
    if bucket.s3 is not None:
        yield from _s3((*path, "s3"), bucket)


def _s3(path: Path, bucket: BucketConfig) -> Iterator[_Finding]:
    s3 = bucket.s3
    assert s3 is not None
    if not _BUCKET.fullmatch(s3.bucket):
        yield _error(
            (*path, "bucket"),
            "bad-bucket",
            f"{s3.bucket!r} is not a bucket name",
            "3 to 63 letters, digits, dots and hyphens",
        )
    if s3.endpoint is not None:
        try:
            parts = urlsplit(s3.endpoint)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        # A URL may hold a password: it is not repeated.
        if not is_url:
            yield _error((*path, "endpoint"), "bad-url", "is not a URL", 'write "https://host:port"')
        elif parts.query or parts.fragment or "@" in parts.netloc:
            yield _error((*path, "endpoint"), "bad-url", "must have no user, query or fragment")
    if s3.anonymous:
        for name in ("access_key", "secret_key", "session_token"):
            if getattr(s3, name) is not None:
                yield _error(
                    (*path, name),
                    "unreachable",
                    "has no effect while anonymous = true",
                    "take one of them out",
                )
    elif (s3.access_key is None) != (s3.secret_key is None):
        given, missing = ("access_key", "secret_key") if s3.access_key is not None else ("secret_key", "access_key")
        yield _error(
            (*path, given),
            "unreachable",
            f"is given without {missing}",
            "give both, or neither for the AWS chain",
        )
    elif s3.session_token is not None and s3.access_key is None:
        yield _error(
            (*path, "session_token"),
            "unreachable",
            "is given without access_key and secret_key",
            "give all three, or none for the AWS chain",
        )
    if s3.key_prefix.startswith("/") or any(part in (".", "..") for part in s3.key_prefix.split("/")):
        yield _error((*path, "key_prefix"), "bad-prefix", "must not start with a slash, nor have segments of dots")
