"""Problems that keys have only together, or that need more than a type to see."""

from pathlib import Path

import pytest

from yatagarasu.config.load import Loaded, load
from yatagarasu.config.report import Problem

S3 = 's3 = { bucket = "some-bucket" }\n'
# A bucket of five lines; rows put their own text before it, or behind it into the bucket.
BUCKET = '\n[[buckets]]\nname = "z"\npath_prefix = "/z"\n' + S3


def bucket(number: int, prefix: str) -> str:
    """A bucket of four lines."""
    return f'[[buckets]]\nname = "b{number}"\npath_prefix = "{prefix}"\n{S3}'


def s3(keys: str) -> str:
    """A bucket whose s3 table stands on line 6, and `keys` from line 7."""
    return BUCKET.replace(
        S3, "[buckets.s3]\n" + ("" if "bucket =" in keys else 'bucket = "some-bucket"\n') + keys + "\n"
    )


def read(text: str) -> Loaded:
    return load("c.toml", text, {}, base=Path("/nonexistent"))


# text, (line, column, code, key), part of the message, part of the hint
ERRORS = {
    "disk-object-larger-than-the-disk": (
        '[cache]\ndisk = { path = "/c", max_size = "1MiB", max_object_size = "2MiB" }\n' + BUCKET,
        (2, 60, "unreachable", "cache.disk.max_object_size"),
        "is larger than cache.disk.max_size",
        None,
    ),
    "address-without-port": (
        '[server]\nlisten = ["127.0.0.1"]\n' + BUCKET,
        (2, 11, "bad-address", "server.listen[0]"),
        "'127.0.0.1' has no port from 0 to 65535",
        'write "host:port" or "unix:/path"',
    ),
    "port-too-large": (
        '[server]\nlisten = ["127.0.0.1:0", "127.0.0.1:65536"]\n' + BUCKET,
        (2, 26, "bad-address", "server.listen[1]"),
        "has no port from 0 to 65535",
        None,
    ),
    "port-of-other-digits": (
        '[server]\nlisten = ["127.0.0.1:²"]\n' + BUCKET,
        (2, 11, "bad-address", "server.listen[0]"),
        "has no port from 0 to 65535",
        None,
    ),
    "ipv6-without-brackets": (
        '[admin]\nlisten = "::1:9090"\n' + BUCKET,
        (2, 10, "bad-address", "admin.listen"),
        "needs brackets around an IPv6 address",
        None,
    ),
    "unix-path-relative": (
        '[server]\nlisten = ["unix:run/s"]\n' + BUCKET,
        (2, 11, "bad-address", "server.listen[0]"),
        "needs an absolute path of at most 107 bytes",
        None,
    ),
    "unix-path-too-long": (
        f'[server]\nlisten = ["unix:/{"ä" * 54}"]\n' + BUCKET,
        (2, 11, "bad-address", "server.listen[0]"),
        "needs an absolute path of at most 107 bytes",
        None,
    ),
    "admin-address-without-port": (
        '[admin]\nlisten = "proxy.test"\n' + BUCKET,
        (2, 10, "bad-address", "admin.listen"),
        "'proxy.test' has no port from 0 to 65535",
        None,
    ),
    "same-address-twice": (
        '[server]\nlisten = ["127.0.0.1:80", "127.0.0.1:80"]\n' + BUCKET,
        (2, 27, "duplicate-listen", "server.listen[1]"),
        "127.0.0.1:80 is taken by server.listen[0] already",
        None,
    ),
    "admin-on-the-public-address": (
        '[admin]\nlisten = "127.0.0.1:8080"\n' + BUCKET,
        (2, 10, "duplicate-listen", "admin.listen"),
        "127.0.0.1:8080 is taken by server.listen[0] already",
        None,
    ),
    "host-with-a-space": (
        '[server]\nlisten = ["a b:80"]\n' + BUCKET,
        (2, 11, "bad-address", "server.listen[0]"),
        "'a b:80' has no host name before its port",
        'write "host:port" or "unix:/path"',
    ),
    "no-host": (
        '[admin]\nlisten = ":9090"\n' + BUCKET,
        (2, 10, "bad-address", "admin.listen"),
        "':9090' has no host",
        'write "0.0.0.0:9090" or "[::]:9090"',
    ),
    "every-interface-beside-one": (
        '[server]\nlisten = ["0.0.0.0:9090"]\n[admin]\nlisten = "127.0.0.1:9090"\n' + BUCKET,
        (4, 10, "duplicate-listen", "admin.listen"),
        "127.0.0.1:9090 is taken by server.listen[0] already: 0.0.0.0:9090 is every interface",
        None,
    ),
    "one-interface-before-every": (
        '[server]\nlisten = ["[::1]:80", "[::]:80"]\n' + BUCKET,
        (2, 23, "duplicate-listen", "server.listen[1]"),
        "[::]:80 is every interface: it takes [::1]:80 from server.listen[0]",
        None,
    ),
    "public-address-of-the-default-admin": (
        '[server]\nlisten = ["127.0.0.1:80", "0.0.0.0:9090"]\n' + BUCKET,
        (2, 27, "duplicate-listen", "server.listen[1]"),
        "it takes 127.0.0.1:9090 from admin.listen",
        None,
    ),
    "disk-path-is-a-file": (
        f'[cache]\ndisk = {{ path = "{__file__}" }}\n' + BUCKET,
        (2, 17, "bad-path", "cache.disk.path"),
        "is a file, not a folder",
        None,
    ),
    "disk-path-within-a-file": (
        f'[cache]\ndisk = {{ path = "{__file__}/cache" }}\n' + BUCKET,
        (2, 17, "bad-path", "cache.disk.path"),
        "lies within a file",
        None,
    ),
    "disk-path-of-no-path": (
        '[cache]\ndisk = { path = "/a\\u0000b" }\n' + BUCKET,
        (2, 17, "bad-path", "cache.disk.path"),
        "holds a character that no path may hold",
        None,
    ),
    "disk-path-too-long": (
        f'[cache]\ndisk = {{ path = "/{"a" * 300}" }}\n' + BUCKET,
        (2, 17, "bad-path", "cache.disk.path"),
        "is too long a path",
        None,
    ),
    "directory-is-a-file": (
        BUCKET.replace(S3, f'directory = "{__file__}"\n'),
        (5, 13, "bad-path", "buckets[0].directory"),
        "is a file, not a folder",
        None,
    ),
    "trusted-proxies": (
        '[server]\ntrusted_proxies = ["10.0.0.0/8", "10.0.0.0/40"]\n' + BUCKET,
        (2, 34, "bad-cidr", "server.trusted_proxies[1]"),
        "'10.0.0.0/40' is not an address or CIDR",
        'write "10.0.0.0/8"',
    ),
    "headers-too-small": (
        '[server]\nmax_header_size = "512B"\n' + BUCKET,
        (2, 19, "bad-value", "server.max_header_size"),
        "below 1KiB no browser gets through",
        None,
    ),
    "object-larger-than-memory": (
        '[cache]\nmemory = { max_size = "1MiB", max_object_size = "2MiB" }\n' + BUCKET,
        (2, 49, "unreachable", "cache.memory.max_object_size"),
        "is larger than cache.memory.max_size: such an object can never be kept",
        None,
    ),
    "memory-smaller-than-the-usual-object": (
        '[cache]\nmemory = { max_size = "512KiB" }\n' + BUCKET,
        (2, 1, "unreachable", "cache.memory.max_object_size"),
        "is larger than cache.memory.max_size",
        None,
    ),
    "backoff-beyond-its-limit": (
        '[origin]\nretry = { backoff = "3s", max_backoff = "2s" }\n' + BUCKET,
        (2, 21, "unreachable", "origin.retry.backoff"),
        "is longer than origin.retry.max_backoff",
        None,
    ),
    "no-time-to-connect": (
        '[origin]\nconnect_timeout = "0s"\n' + BUCKET,
        (2, 19, "bad-value", "origin.connect_timeout"),
        "must be more than zero",
        None,
    ),
    "no-time-for-a-first-byte": (
        '[origin]\nfirst_byte_timeout = "0"\n' + BUCKET,
        (2, 22, "bad-value", "origin.first_byte_timeout"),
        "must be more than zero",
        None,
    ),
    "duplicate-name": (
        bucket(1, "/a") + bucket(2, "/b") + bucket(1, "/c"),
        (10, 8, "duplicate-name", "buckets[2].name"),
        "'b1' is the name of buckets[0] already",
        None,
    ),
    "duplicate-prefix": (
        bucket(1, "/a") + bucket(2, "/a"),
        (7, 15, "duplicate-prefix", "buckets[1].path_prefix"),
        "'/a' is the prefix of buckets[0] already",
        None,
    ),
    "duplicate-prefix-but-for-the-slash": (
        bucket(1, "/a") + bucket(2, "/a/"),
        (7, 15, "duplicate-prefix", "buckets[1].path_prefix"),
        "'/a/' is the prefix of buckets[0] already",
        None,
    ),
    "duplicate-root": (
        bucket(1, "/") + bucket(2, "/"),
        (7, 15, "duplicate-prefix", "buckets[1].path_prefix"),
        "'/' is the prefix of buckets[0] already",
        None,
    ),
    "prefix-without-slash": (
        bucket(1, "a"),
        (3, 15, "bad-prefix", "buckets[0].path_prefix"),
        "'a' must start with a slash",
        'write "/a"',
    ),
    "prefix-empty": (
        bucket(1, ""),
        (3, 15, "bad-prefix", "buckets[0].path_prefix"),
        "'' must start with a slash",
        'write "/"',
    ),
    "prefix-with-dots": (
        bucket(1, "/a/../b"),
        (3, 15, "bad-prefix", "buckets[0].path_prefix"),
        "not a plain path",
        None,
    ),
    "prefix-with-empty-part": (
        bucket(1, "/a//b"),
        (3, 15, "bad-prefix", "buckets[0].path_prefix"),
        "not a plain",
        None,
    ),
    "prefix-with-query": (bucket(1, "/a?b"), (3, 15, "bad-prefix", "buckets[0].path_prefix"), "not a plain path", None),
    "prefix-escaped": (bucket(1, "/a%20b"), (3, 15, "bad-prefix", "buckets[0].path_prefix"), "not a plain path", None),
    "prefix-with-space": (bucket(1, "/a b"), (3, 15, "bad-prefix", "buckets[0].path_prefix"), "not a plain path", None),
    "prefix-of-our-own": (
        bucket(1, "/health"),
        (3, 15, "bad-prefix", "buckets[0].path_prefix"),
        "/health is the proxy's own",
        "choose another prefix",
    ),
    "no-origin": (
        '[[buckets]]\nname = "a"\npath_prefix = "/a"\n',
        (1, 3, "bad-origin", "buckets[0]"),
        "neither s3 nor directory is given",
        "a bucket has exactly one of them",
    ),
    "two-origins": (
        bucket(1, "/a") + 'directory = "."\n',
        (1, 3, "bad-origin", "buckets[0]"),
        "both s3 and directory are given",
        "a bucket has exactly one of them",
    ),
    "not-a-header-to-forward": (
        BUCKET + 'forward_request_headers = ["*", "X Y"]\n',
        (6, 33, "bad-value", "buckets[0].forward_request_headers[1]"),
        "'X Y' is not a header name",
        None,
    ),
    "not-a-header-to-key-by": (
        BUCKET + 'cache_key_headers = ["*"]\n',
        (6, 22, "bad-value", "buckets[0].cache_key_headers[0]"),
        "'*' is not a header name",
        None,
    ),
    "authorization-to-a-signed-origin": (
        BUCKET + 'forward_request_headers = ["authorization"]\n',
        (6, 27, "unreachable", "buckets[0].forward_request_headers"),
        "Authorization goes only to anonymous origins",
        "set s3.anonymous = true, or take it out",
    ),
    "credentials-for-everybody": (
        BUCKET + 'cors = { allow_origins = ["*"], allow_credentials = true }\n',
        (6, 53, "unreachable", "buckets[0].cors.allow_credentials"),
        "browsers refuse credentials for any origin",
        "name the origins",
    ),
    "timing-of-a-cache-turned-off": (
        BUCKET + 'cache = { enabled = false, ttl = "1h" }\n',
        (6, 34, "unreachable", "buckets[0].cache.ttl"),
        "has no effect while cache.enabled = false",
        None,
    ),
    "bucket-name": (
        s3('bucket = "my_bucket/x"'),
        (6, 10, "bad-bucket", "buckets[0].s3.bucket"),
        "'my_bucket/x' is not a bucket name",
        "3 to 63 letters, digits, dots and hyphens",
    ),
    "bucket-name-too-short": (s3('bucket = "ab"'), (6, 10, "bad-bucket", "buckets[0].s3.bucket"), "'ab' is not", None),
    "endpoint-without-scheme": (
        s3('endpoint = "127.0.0.1:9000"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "is not a URL",
        'write "https://host:port"',
    ),
    "endpoint-of-another-scheme": (
        s3('endpoint = "ftp://h"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "is not a URL",
        None,
    ),
    "endpoint-without-host": (
        s3('endpoint = "http://"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "is not a URL",
        None,
    ),
    "endpoint-with-bad-port": (
        s3('endpoint = "http://h:99999"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "is not a URL",
        None,
    ),
    "endpoint-with-half-a-bracket": (
        s3('endpoint = "http://[::1"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "is not a URL",
        None,
    ),
    "endpoint-with-query": (
        s3('endpoint = "http://h/?x=1"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "must have no user, query or fragment",
        None,
    ),
    "endpoint-with-user": (
        s3('endpoint = "http://u:p@h"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "must have no user, query or fragment",
        None,
    ),
    "endpoint-with-fragment": (
        s3('endpoint = "http://h/#x"'),
        (7, 12, "bad-url", "buckets[0].s3.endpoint"),
        "must have no user, query or fragment",
        None,
    ),
    "keys-for-an-anonymous-origin": (
        s3('anonymous = true\nsession_token = "t"'),
        (8, 17, "unreachable", "buckets[0].s3.session_token"),
        "has no effect while anonymous = true",
        "take one of them out",
    ),
    "access-key-alone": (
        s3('access_key = "a"'),
        (7, 14, "unreachable", "buckets[0].s3.access_key"),
        "is given without secret_key",
        "give both, or neither for the AWS chain",
    ),
    "secret-key-alone": (
        s3('secret_key = "a"'),
        (7, 14, "unreachable", "buckets[0].s3.secret_key"),
        "is given without access_key",
        None,
    ),
    "session-token-alone": (
        s3('session_token = "a"'),
        (7, 17, "unreachable", "buckets[0].s3.session_token"),
        "is given without access_key and secret_key",
        None,
    ),
    "key-prefix-with-slash": (
        s3('key_prefix = "/a/"'),
        (7, 14, "bad-prefix", "buckets[0].s3.key_prefix"),
        "must not start with a slash, nor have segments of dots",
        None,
    ),
    "key-prefix-with-dots": (
        s3('key_prefix = "a/../b/"'),
        (7, 14, "bad-prefix", "buckets[0].s3.key_prefix"),
        "must not start with a slash, nor have segments of dots",
        None,
    ),
}

WARNINGS = {
    "overlapping-routes": (
        bucket(1, "/a") + bucket(2, "/a/b"),
        (7, 15, "overlapping-routes", "buckets[1].path_prefix"),
        "/a/b lies within /a of buckets[0]",
        "nothing of /a below /a/b can be reached",
    ),
    "overlapping-routes-the-longer-first": (
        bucket(1, "/a/b") + bucket(2, "/a/"),
        (7, 15, "overlapping-routes", "buckets[1].path_prefix"),
        "/a/b of buckets[0] lies within /a",
        "nothing of /a below /a/b can be reached",
    ),
    "open-admin": (
        '[admin]\nlisten = "0.0.0.0:9090"\n' + BUCKET,
        (2, 10, "open-admin", "admin.listen"),
        "can be reached from elsewhere and has no token",
        "set admin.token",
    ),
    "open-admin-on-every-ipv6-interface": (
        '[admin]\nlisten = "[::]:9090"\n' + BUCKET,
        (2, 10, "open-admin", "admin.listen"),
        "can be reached from elsewhere and has no token",
        "set admin.token",
    ),
    "disk-path-relative": (
        '[cache]\ndisk.path = "var/cache"\n' + BUCKET,
        (2, 13, "relative-path", "cache.disk.path"),
        "'var/cache' depends on the folder that the server is started in",
        "write an absolute path",
    ),
    "disk-path-of-a-shell": (
        '[cache]\ndisk.path = "~/cache"\n' + BUCKET,
        (2, 13, "relative-path", "cache.disk.path"),
        "'~/cache' depends on the folder",
        "~ stands for nothing here",
    ),
    "header-forwarded-but-no-part-of-the-key": (
        BUCKET + 'forward_request_headers = ["Range", "X-Tenant", "x-lang"]\ncache_key_headers = ["X-Lang"]\n',
        (6, 37, "unkeyed-header", "buckets[0].forward_request_headers[1]"),
        "'X-Tenant' reaches the origin but is not in cache_key_headers",
        "add it to cache_key_headers",
    ),
    "every-header-forwarded": (
        BUCKET + 'forward_request_headers = ["*"]\ncache_key_headers = ["X-Lang"]\n',
        (6, 28, "unkeyed-header", "buckets[0].forward_request_headers[0]"),
        "every header reaches the origin",
        "forward by name",
    ),
    "header-of-a-bucket-with-timings": (
        BUCKET + 'forward_request_headers = ["cookie"]\ncache = { ttl = "1m" }\n',
        (6, 28, "unkeyed-header", "buckets[0].forward_request_headers[0]"),
        "'cookie' reaches the origin",
        None,
    ),
    "impatient-clients": (
        '[coalescing]\nwait_timeout = "2s"\n' + BUCKET,
        (2, 16, "unreachable", "coalescing.wait_timeout"),
        "is shorter than origin.connect_timeout",
        None,
    ),
    "ttl-that-is-beaten": (
        BUCKET + 'cache = { ttl = "1m", ttl_override = "1h" }\n',
        (6, 17, "unreachable", "buckets[0].cache.ttl"),
        "is never used: ttl_override beats it",
        None,
    ),
}


def only(loaded: Loaded) -> Problem:
    (problem,) = loaded.problems
    return problem


@pytest.mark.parametrize(("text", "where", "message", "hint"), ERRORS.values(), ids=ERRORS)
def test_error_is_told_with_its_place(
    text: str, where: tuple[int, int, str, str], message: str, hint: str | None
) -> None:
    loaded = read(text)
    problem = only(loaded)
    assert (problem.line, problem.column, problem.code, problem.key) == where
    assert problem.severity == "error"
    assert problem.message.startswith(f"{problem.key}: ")
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")
    assert loaded.config is None


@pytest.mark.parametrize(("text", "where", "message", "hint"), WARNINGS.values(), ids=WARNINGS)
def test_warning_is_told_and_the_config_is_served(
    text: str, where: tuple[int, int, str, str], message: str, hint: str | None
) -> None:
    loaded = read(text)
    problem = only(loaded)
    assert (problem.line, problem.column, problem.code, problem.key) == where
    assert problem.severity == "warning"
    assert message in problem.message
    assert hint is None or hint in (problem.hint or "")
    assert loaded.config is not None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[server]\nlisten = ["127.0.0.1:0", "127.0.0.1:0", "unix:/s"]\n' + BUCKET, id="port-0-twice"),
        pytest.param('[server]\nlisten = ["[::1]:80", "localhost:80"]\n' + BUCKET, id="ipv6-and-names"),
        pytest.param('[admin]\nlisten = ""\n' + BUCKET, id="no-admin-listener"),
        pytest.param('[server]\nlisten = ["0.0.0.0:80", "[::]:80"]\n' + BUCKET, id="every-interface-of-both-kinds"),
        pytest.param(
            '[server]\nlisten = ["0.0.0.0:0"]\n[admin]\nlisten = "127.0.0.1:0"\n' + BUCKET, id="port-0-everywhere"
        ),
        pytest.param('[cache]\ndisk.path = "/nonexistent/cache"\n' + BUCKET, id="disk-path-yet-to-be-made"),
        pytest.param('[cache]\ndisk.path = "/"\n' + BUCKET, id="disk-path-is-a-folder"),
        pytest.param(
            BUCKET
            + 'forward_request_headers = ["If-None-Match", "Range", "TraceParent", "x-request-id", "X-B3-TraceId"]',
            id="headers-that-choose-no-other-object",
        ),
        pytest.param(
            BUCKET + 'forward_request_headers = ["X-Tenant"]\ncache_key_headers = ["x-tenant"]', id="keyed-header"
        ),
        pytest.param(
            BUCKET + 'forward_request_headers = ["*"]\ncache = { enabled = false }', id="every-header-without-a-cache"
        ),
        pytest.param('[admin]\nlisten = "unix:/run/admin"\n' + BUCKET, id="admin-on-a-unix-socket"),
        pytest.param('[admin]\nlisten = "[::1]:9090"\n' + BUCKET, id="admin-on-ipv6-loopback"),
        pytest.param('[admin]\nlisten = "0.0.0.0:9090"\ntoken = "t"\n' + BUCKET, id="open-admin-with-a-token"),
        pytest.param('[server]\ntrusted_proxies = ["10.1.2.3", "10.1.2.3/8", "fd00::/8"]\n' + BUCKET, id="cidrs"),
        pytest.param(bucket(1, "/") + bucket(2, "/a"), id="a-route-within-the-root"),
        pytest.param(bucket(1, "/a") + bucket(2, "/ab"), id="prefixes-alike-but-for-a-segment"),
        pytest.param(bucket(1, "/health/check"), id="below-our-own-paths"),
        pytest.param(s3("anonymous = true") + '[buckets.cors]\nallow_origins = ["*"]\n', id="anonymous"),
        pytest.param(s3('endpoint = "http://[::1]:9000/base"'), id="endpoint-with-path"),
        pytest.param(s3('access_key = "a"\nsecret_key = "b"\nsession_token = "c"'), id="all-keys"),
        pytest.param(BUCKET.replace(S3, 'directory = "./data"\n'), id="directory"),
        pytest.param(BUCKET + "cache = { enabled = false }\n", id="cache-off"),
        pytest.param('[coalescing]\nenabled = false\nwait_timeout = "1s"' + BUCKET, id="impatient-but-alone"),
    ],
)
def test_good_config_draws_no_remark(text: str) -> None:
    loaded = read(text)
    assert loaded.problems == []
    assert loaded.config is not None
