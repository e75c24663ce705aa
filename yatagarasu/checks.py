"""Ask every bucket of a config whether its origin answers: `validate-config --check-origins`."""

from dataclasses import dataclass

import trio

from yatagarasu.config.model import BucketConfig, Config
from yatagarasu.errors import YatagarasuError, describe
from yatagarasu.observe.log import Scrubber
from yatagarasu.origin.credentials import AwsChain
from yatagarasu.parts import new_origin, new_transport, secrets_of

# What a bucket check may take, connect and retries included.
_CHECK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class OriginCheck:
    """What one bucket's origin said to a signed HEAD; `answer` is a sentence, `elapsed_seconds` how long it took."""

    bucket: str
    endpoint: str
    ok: bool
    answer: str
    elapsed_seconds: float


async def check_origins(config: Config) -> list[OriginCheck]:
    """Ask every bucket's origin a signed HEAD, all at once; results in the config's order."""
    transport, chain = new_transport(config), AwsChain()
    checks: dict[str, OriginCheck] = {}

    async def check(bucket: BucketConfig) -> None:
        began = trio.current_time()
        origin = new_origin(bucket, transport, chain)
        try:
            with trio.fail_after(_CHECK_SECONDS):
                await origin.check()
            ok, answer = True, "the bucket answers"
        except YatagarasuError as exc:
            ok, answer = False, describe(exc)
        except trio.TooSlowError:
            ok, answer = False, f"no answer within {_CHECK_SECONDS:g} s"
        checks[bucket.name] = OriginCheck(
            bucket.name,
            origin.endpoint,
            ok,
            Scrubber(secrets_of(config)).scrub(answer),
            trio.current_time() - began,
        )

    try:
        async with trio.open_nursery() as nursery:
            for bucket in config.buckets:
                nursery.start_soon(check, bucket)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await transport.aclose()
    return [checks[bucket.name] for bucket in config.buckets]
