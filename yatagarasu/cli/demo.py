"""`serve --demo`: the embedded S3 origin with a few objects, and the proxy in front of it."""

import trio

from yatagarasu.app import System, banner, serve
from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.store import ObjectStore
from yatagarasu.cli.serve import say
from yatagarasu.config.model import AdminConfig, BucketConfig, Config, S3Config, ServerConfig

# Not a secret: the origin is this process, and only this process knows where it listens.
_ACCESS_KEY, _SECRET_KEY = "demo-access-key", "demo-secret-key"

_PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Yatagarasu</title>
<body style="font-family: sans-serif; max-width: 40rem; margin: 4rem auto">
<h1>Yatagarasu</h1><p>This page came out of an S3 bucket, through the cache.</p></body></html>
"""


def demo_store() -> ObjectStore:
    """The demo's objects: a page, a small file, a slow one, and one too large for the memory tier."""
    store = ObjectStore()
    store.put("demo-bucket", "index.html", _PAGE, content_type="text/html; charset=utf-8")
    store.put("demo-bucket", "hello.txt", b"Hello from S3.\n", content_type="text/plain")
    store.put("demo-bucket", "slow.txt", b"This took a second, once.\n", content_type="text/plain")
    store.put("demo-bucket", "private.json", b'{"shared": false}\n', headers={"cache-control": "private"})
    store.put_pattern("demo-bucket", "large.bin", 64 * 1024 * 1024)
    return store


def demo_config(listen: str, endpoint: str) -> Config:
    """The demo's config: one bucket at /demo, kept for a minute."""
    s3 = S3Config.model_validate(
        {
            "bucket": "demo-bucket",
            "endpoint": endpoint,
            "access_key": _ACCESS_KEY,
            "secret_key": _SECRET_KEY,
        }
    )
    bucket = BucketConfig.model_validate(
        {"name": "demo", "path_prefix": "/demo", "list": True, "cache": {"ttl": "1m"}, "s3": s3}
    )
    return Config(server=ServerConfig(listen=[listen]), admin=AdminConfig(listen="127.0.0.1:0"), buckets=[bucket])


def _announce(system: System) -> None:
    base, admin = f"http://{system.addresses[0]}", f"http://{system.admin_address}"
    say(
        f"""{banner(system)}

Try:
  curl -i {base}/demo/hello.txt            # twice: X-Cache says MISS, then HIT
  seq 50 | xargs -P 50 -I{{}} curl -s {base}/demo/slow.txt   # 50 clients, one origin request
  curl -r 0-99 -o /dev/null -D - {base}/demo/large.bin      # a range of 64 MiB
  curl '{base}/demo?list-type=2'           # what is in the bucket
  curl -s {admin}/metrics | grep coalesced # what sharing has saved
Ctrl-C ends it.
"""
    )


async def serve_demo(listen: str) -> int:
    """Serve the demo until a signal ends it; returns the exit code."""
    origin = EmbeddedOrigin(demo_store(), credentials={_ACCESS_KEY: _SECRET_KEY})
    origin.faults.add(Fault(latency=1.0), key="slow.txt")
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.serve)
        code = await serve(demo_config(listen, origin.endpoint), on_ready=_announce)
        nursery.cancel_scope.cancel()
    return code
