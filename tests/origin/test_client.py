"""S3 as an origin: signatures, odd keys, prefixes, and what S3 says when something is wrong."""

import time

import pytest

from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.errors import BadRequest, OriginRefused, OriginStatus
from yatagarasu.origin.client import OriginRequest, S3Origin
from yatagarasu.origin.credentials import Anonymous, StaticCredentials
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.s3.addressing import resolve_address
from yatagarasu.s3.signing import Credentials

KEYS = ["plain", "a b", "a+b", "a%2Fb", "100%", "烏/λ", "a//b", "/lead", "x[1]{2}|^`", "q?a=b&c", "~-._", "a:b@c"]


@pytest.fixture
async def server(nursery):
    origin = EmbeddedOrigin(credentials={"AK": "SK"})
    origin.store.make_bucket("bkt")
    await nursery.start(origin.serve)
    return origin


def client(server: EmbeddedOrigin, *, secret: str = "SK", bucket: str = "bkt", prefix: str = "", clock=time.time):
    return S3Origin(
        bucket=bucket,
        region="us-east-1",
        address=resolve_address(bucket, "us-east-1", server.endpoint, "path"),
        key_prefix=prefix,
        credentials=StaticCredentials(Credentials("AK", secret)) if secret else Anonymous(),
        transport=OriginTransport(),
        clock=clock,
    )


async def read(response) -> bytes:
    body = response.take_buffered()
    while data := await response.receive_some():
        body += data
    await response.aclose()
    return body


@pytest.mark.parametrize("key", KEYS)
async def test_keys_reach_s3_as_they_are(server, key):
    server.store.put("bkt", key, key.encode())
    response = await client(server).open(OriginRequest("GET", key))
    assert (response.status, await read(response)) == (200, key.encode())


async def test_a_key_prefix_goes_before_every_key(server):
    server.store.put("bkt", "in/ner/k", b"inside")
    assert await read(await client(server, prefix="in/ner/").open(OriginRequest("GET", "k"))) == b"inside"


async def test_ranges_and_conditions_are_signed_along(server):
    server.store.put("bkt", "k", b"0123456789")
    fields = (("range", "bytes=2-4"), ("if-match", '"781e5e245d69b566979b86e28d23f2c7"'))
    response = await client(server).open(OriginRequest("GET", "k", "", fields))
    assert (response.status, await read(response)) == (206, b"234")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"bucket": "missing"}, "no bucket missing"),
        ({"clock": lambda: time.time() - 3600}, "RequestTimeTooSkewed"),
    ],
    ids=["secret", "bucket", "clock"],
)
async def test_check_names_what_is_wrong(server, arguments, code):
    with pytest.raises(OriginRefused, match=code):
        await client(server, **arguments).check()


async def test_check_passes_where_all_is_well_and_tells_of_a_5xx(server):
    await client(server).check()
    server.faults.add(Fault(status=503))
    with pytest.raises(OriginStatus):
        await client(server).check()


async def test_fields_that_would_split_the_request_are_refused(server):
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\0b"):
        with pytest.raises(BadRequest):
            await client(server).open(OriginRequest("GET", "k", "", (("x-thing", value),)))
    assert server.request_count() == 0
