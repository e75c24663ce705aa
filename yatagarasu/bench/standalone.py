"""`python -m yatagarasu.bench.standalone`: the embedded origin alone, for putting any proxy in front of it."""

import argparse

import trio

from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import seed_of
from yatagarasu.bench.store import ObjectStore
from yatagarasu.units import parse_size


def main() -> None:
    """Serve until interrupted; the ready line has the port."""
    parser = argparse.ArgumentParser(prog="python -m yatagarasu.bench.standalone", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each head")
    parser.add_argument("--bandwidth", type=parse_size, help="bytes a second of each body")
    parser.add_argument("--cache-control")
    parser.add_argument("--object", action="append", default=[], metavar="BUCKET/KEY=SIZE")
    parser.add_argument(
        "--keys",
        action="append",
        default=[],
        metavar="BUCKET/PREFIX=COUNT,SIZE",
        help="many small objects PREFIX0, PREFIX1, …",
    )
    arguments = parser.parse_args()
    store = ObjectStore()
    extra = {"cache-control": arguments.cache_control} if arguments.cache_control else None
    for text in arguments.object:
        name, _, size = text.rpartition("=")
        bucket, _, key = name.partition("/")
        store.put_pattern(bucket, key, parse_size(size), seed=seed_of(key), headers=extra)
    for text in arguments.keys:
        name, _, numbers = text.rpartition("=")
        count, _, size = numbers.partition(",")
        bucket, _, prefix = name.partition("/")
        for number in range(int(count)):
            key = f"{prefix}{number}"
            store.put_pattern(bucket, key, parse_size(size), seed=seed_of(key), headers=extra)
    credentials = {arguments.access_key: arguments.secret_key} if arguments.access_key else None
    origin = EmbeddedOrigin(store, credentials=credentials, port=arguments.port)
    if arguments.latency or arguments.bandwidth:
        origin.faults.add(Fault(latency=arguments.latency, bandwidth=arguments.bandwidth))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(origin.serve)
            print(f"ready 127.0.0.1:{port}", flush=True)

    try:
        trio.run(run)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
