"""What the keys of one bucket mean together, and buckets beside each other."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from urllib.parse import urlsplit

from yatagarasu.config.findings import Finding, error, warning
from yatagarasu.config.model import BucketConfig, Config
from yatagarasu.config.positions import Path
from yatagarasu.config.redact import quoted

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_RESERVED = ("/health", "/ready")

# Conditions and ranges choose how much of an object is sent, tracing what is written down about it: not which object.
# Who sends Authorization gets an answer of his own unless the origin says it is for all (RFC 9111, section 3.5).
_NEUTRAL_HEADERS = {
    "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range", "authorization",
    "traceparent", "tracestate", "baggage", "b3", "uber-trace-id", "sentry-trace", "elastic-apm-traceparent",
    "x-request-id", "x-correlation-id", "request-id", "correlation-id", "x-amzn-trace-id", "x-cloud-trace-context",
}  # fmt: skip
_NEUTRAL_PREFIXES = ("x-b3-", "x-datadog-")


def check_buckets(config: Config) -> Iterator[Finding]:
    """Everything about the buckets of a config."""
    yield from _routes(config)
    for index, bucket in enumerate(config.buckets):
        yield from _bucket(("buckets", index), bucket)


def folder_problem(path: str) -> str | None:
    """What stands against a path as a folder, if that can be told; one that is not there may be made yet."""
    try:
        return None if stat.S_ISDIR(os.stat(path).st_mode) else "is a file, not a folder"
    except NotADirectoryError:
        return "lies within a file"
    except OSError as exc:
        # Anything else, a lack of permission first, may be another user's matter.
        return {errno.ELOOP: "is a link to itself", errno.ENAMETOOLONG: "is too long a path"}.get(exc.errno or 0)
    except ValueError:
        return "holds a character that no path may hold"


def _routes(config: Config) -> Iterator[Finding]:
    names: dict[str, int] = {}
    prefixes: dict[str, int] = {}
    for index, bucket in enumerate(config.buckets):
        path: Path = ("buckets", index)
        if bucket.name in names:
            yield error(
                (*path, "name"),
                "duplicate-name",
                f"{quoted(bucket.name)} is the name of buckets[{names[bucket.name]}] already",
            )
        names.setdefault(bucket.name, index)
        prefix = bucket.path_prefix.rstrip("/")
        if not bucket.path_prefix.startswith("/"):
            yield error(
                (*path, "path_prefix"),
                "bad-prefix",
                f"{quoted(bucket.path_prefix)} must start with a slash",
                f'write "/{bucket.path_prefix}"',
            )
        elif any(part in ("", ".", "..") for part in prefix.split("/")[1:]) or re.search(r"[?#%\s]", prefix):
            yield error((*path, "path_prefix"), "bad-prefix", f"{quoted(bucket.path_prefix)} is not a plain path")
        elif prefix in prefixes:
            yield error(
                (*path, "path_prefix"),
                "duplicate-prefix",
                f"{quoted(bucket.path_prefix)} is the prefix of buckets[{prefixes[prefix]}] already",
            )
        elif prefix in _RESERVED:
            yield error((*path, "path_prefix"), "bad-prefix", f"{prefix} is the proxy's own", "choose another prefix")
        else:
            for other, at in prefixes.items():
                inner, outer = (prefix, other) if prefix.startswith(other + "/") else (other, prefix)
                if inner.startswith(outer + "/") and outer:
                    where = f"buckets[{at}]"
                    yield warning(
                        (*path, "path_prefix"),
                        "overlapping-routes",
                        f"{inner} lies within {outer} of {where}"
                        if inner == prefix
                        else f"{inner} of {where} lies within {outer}",
                        f"the longer prefix wins: nothing of {outer} below {inner} can be reached",
                    )
        prefixes.setdefault(prefix, index)


def _bucket(path: Path, bucket: BucketConfig) -> Iterator[Finding]:
    if (bucket.s3 is None) == (bucket.directory is None):
        what = "both s3 and directory are given" if bucket.s3 is not None else "neither s3 nor directory is given"
        yield error(path, "bad-origin", what, "a bucket has exactly one of them")
    for name in ("forward_request_headers", "cache_key_headers"):
        for index, field in enumerate(getattr(bucket, name)):
            if not _TOKEN.fullmatch(field) or (field == "*" and name == "cache_key_headers"):
                yield error((*path, name, index), "bad-value", f"{quoted(field)} is not a header name")
    yield from _unkeyed(path, bucket)
    if bucket.directory is not None:
        why = folder_problem(bucket.directory)
        if why is not None:
            yield error((*path, "directory"), "bad-path", f"{quoted(bucket.directory)} {why}")
    signs = bucket.s3 is not None and not bucket.s3.anonymous
    if signs and "authorization" in (field.lower() for field in bucket.forward_request_headers):
        yield error(
            (*path, "forward_request_headers"),
            "unreachable",
            "Authorization goes only to anonymous origins",
            "set s3.anonymous = true, or take it out",
        )
    if bucket.cors is not None and bucket.cors.allow_credentials and "*" in bucket.cors.allow_origins:
        yield error(
            (*path, "cors", "allow_credentials"),
            "unreachable",
            "browsers refuse credentials for any origin",
            "name the origins",
        )
    own = bucket.cache
    if own is not None and not own.enabled:
        for name in sorted(own.model_fields_set - {"enabled"}):
            yield error((*path, "cache", name), "unreachable", "has no effect while cache.enabled = false")
    if own is not None and own.ttl_override is not None and own.ttl is not None:
        yield warning((*path, "cache", "ttl"), "unreachable", "is never used: ttl_override beats it")
    if bucket.s3 is not None:
        yield from _s3((*path, "s3"), bucket)


def _unkeyed(path: Path, bucket: BucketConfig) -> Iterator[Finding]:
    """Forwarded headers by which an origin may answer one client what it would not answer the next."""
    is_cached = bucket.cache is None or bucket.cache.enabled
    if not is_cached or not all(map(_TOKEN.fullmatch, bucket.forward_request_headers)):
        return
    keyed = {name.lower() for name in bucket.cache_key_headers}
    for index, name in enumerate(bucket.forward_request_headers):
        lower = name.lower()
        if lower in keyed or lower in _NEUTRAL_HEADERS or lower.startswith(_NEUTRAL_PREFIXES):
            continue
        what = "every header" if name == "*" else quoted(name)
        yield warning(
            (*path, "forward_request_headers", index),
            "unkeyed-header",
            f"{what} reaches the origin but is not in cache_key_headers: what one client was answered, others may get",
            "forward by name, and name the headers in cache_key_headers as well"
            if name == "*"
            else "add it to cache_key_headers, unless the origin's Vary names it or its answer does not depend on it",
        )


def _s3(path: Path, bucket: BucketConfig) -> Iterator[Finding]:
    s3 = bucket.s3
    assert s3 is not None
    if not _BUCKET.fullmatch(s3.bucket):
        yield error(
            (*path, "bucket"),
            "bad-bucket",
            f"{quoted(s3.bucket)} is not a bucket name",
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
            yield error((*path, "endpoint"), "bad-url", "is not a URL", 'write "https://host:port"')
        elif parts.query or parts.fragment or "@" in parts.netloc:
            yield error((*path, "endpoint"), "bad-url", "must have no user, query or fragment")
    if s3.anonymous:
        for name in ("access_key", "secret_key", "session_token"):
            if getattr(s3, name) is not None:
                yield error(
                    (*path, name),
                    "unreachable",
                    "has no effect while anonymous = true",
                    "take one of them out",
                )
    elif (s3.access_key is None) != (s3.secret_key is None):
        given, missing = ("access_key", "secret_key") if s3.access_key is not None else ("secret_key", "access_key")
        yield error(
            (*path, given),
            "unreachable",
            f"is given without {missing}",
            "give both, or neither for the AWS chain",
        )
    elif s3.session_token is not None and s3.access_key is None:
        yield error(
            (*path, "session_token"),
            "unreachable",
            "is given without access_key and secret_key",
            "give all three, or none for the AWS chain",
        )
    if s3.key_prefix.startswith("/") or any(part in (".", "..") for part in s3.key_prefix.split("/")):
        yield error((*path, "key_prefix"), "bad-prefix", "must not start with a slash, nor have segments of dots")
