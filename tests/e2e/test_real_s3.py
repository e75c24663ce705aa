"""The proxy between real clients and a real S3 server that checks signatures."""

import hashlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.e2e.conftest import BUCKET, SECRET_KEY, RealS3, Served, bucket_section, s3_client, system_program

pytestmark = pytest.mark.e2e

DATA = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(64 * 1024 * 1024)
ODD_KEYS = [
    "a b",
    "a+b",
    "a%2Fb",
    "100%",
    "烏/λ.txt",
    "a//b",
    "x[1]{2}",
    "semi;colon=1&2",
    "~tilde'quote\"",
    "dots...ok",
]


@pytest.fixture(scope="module")
def filled(seaweed: RealS3) -> RealS3:
    client = seaweed.client()
    client.put_object(
        Bucket=BUCKET, Key="data.bin", Body=DATA, ContentType="application/x-test", Metadata={"colour": "black"}
    )
    client.put_object(Bucket=BUCKET, Key="large.bin", Body=LARGE)
    client.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    return seaweed


@pytest.fixture
def proxied(filled: RealS3, serve: Callable[..., Served]) -> Served:
    return serve(bucket_section(filled.endpoint))


def sdk(served: Served):
    """A standard SDK: path style, the bucket's name is the route's prefix; the proxy ignores its signature."""
    return s3_client(served.url, "anything", "at-all")


def test_get_object(proxied: Served):
    client = sdk(proxied)
    for outcome in ("MISS", "HIT"):
        answer = client.get_object(Bucket="b", Key="data.bin")
        assert answer["Body"].read() == DATA
        assert answer["ContentType"] == "application/x-test"
        assert answer["Metadata"] == {"colour": "black"}
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == outcome


def test_head_object(proxied: Served):
    answer = sdk(proxied).head_object(Bucket="b", Key="data.bin")
    assert answer["ContentLength"] == len(DATA)
    assert answer["ETag"] == f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"'


@pytest.mark.parametrize(
    ("field", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100000-", 100_000, len(DATA)), ("bytes=-500", len(DATA) - 500, len(DATA))],
)
def test_ranges(proxied: Served, field: str, start: int, stop: int):
    client = sdk(proxied)
    for _ in range(2):
        answer = client.get_object(Bucket="b", Key="data.bin", Range=field)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
        assert answer["Body"].read() == DATA[start:stop]


def test_conditions(proxied: Served):
    client = sdk(proxied)
    etag = client.head_object(Bucket="b", Key="data.bin")["ETag"]
    assert client.get_object(Bucket="b", Key="data.bin", IfMatch=etag)["Body"].read() == DATA
    for arguments, status in (({"IfNoneMatch": etag}, 304), ({"IfMatch": '"other"'}, 412)):
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket="b", Key="data.bin", **arguments)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_large_object_is_byte_exact_cold_and_in_parts(proxied: Served, tmp_path):
    client = sdk(proxied)
    assert client.get_object(Bucket="b", Key="large.bin")["Body"].read() == LARGE
    target = tmp_path / "large"
    client.download_file("b", "large.bin", str(target))  # the SDK's own parallel ranges
    assert target.read_bytes() == LARGE


def test_missing_objects_and_empty_ones(proxied: Served):
    client = sdk(proxied)
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket="b", Key="nope")
    assert client.get_object(Bucket="b", Key="empty")["Body"].read() == b""
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket="b", Key="empty", Range="bytes=0-9")
    assert caught.value.response["Error"]["Code"] == "InvalidRange"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(filled: RealS3, serve: Callable[..., Served], key: str):
    filled.client().put_object(Bucket=BUCKET, Key=f"odd/{key}", Body=key.encode())
    client = sdk(serve(bucket_section(filled.endpoint)))
    assert client.get_object(Bucket="b", Key=f"odd/{key}")["Body"].read() == key.encode()


def test_listing(proxied: Served, filled: RealS3):
    for number in range(5):
        filled.client().put_object(Bucket=BUCKET, Key=f"list/{number}", Body=b"x")
    pages = (
        sdk(proxied)
        .get_paginator("list_objects_v2")
        .paginate(Bucket="b", Prefix="list/", PaginationConfig={"PageSize": 2})
    )
    assert [item["Key"] for page in pages for item in page.get("Contents", [])] == [f"list/{n}" for n in range(5)]


def test_a_key_prefix_hides_the_rest(filled: RealS3, serve: Callable[..., Served]):
    filled.client().put_object(Bucket=BUCKET, Key="inner/only", Body=b"inside")
    section = bucket_section(filled.endpoint) + 'key_prefix = "inner/"\n'
    client = sdk(serve(section))
    assert client.get_object(Bucket="b", Key="only")["Body"].read() == b"inside"
    assert [item["Key"] for item in client.list_objects_v2(Bucket="b")["Contents"]] == ["only"]
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket="b", Key="data.bin")


def test_httpx(proxied: Served):
    with httpx.Client(base_url=proxied.url) as client:
        assert client.get("/b/data.bin").content == DATA
        assert client.get("/b/data.bin").headers["x-cache"] == "HIT"


@pytest.mark.system
def test_curl_goes_on_with_a_part(proxied: Served, tmp_path: Path):
    curl = system_program("curl")
    target = tmp_path / "part"
    target.write_bytes(DATA[:1000])
    subprocess.run([curl, "-sSf", "-C", "-", "-o", str(target), f"{proxied.url}/b/data.bin"], check=True)
    assert target.read_bytes() == DATA


def test_wrong_credentials_are_told_cleanly(filled: RealS3, serve: Callable[..., Served]):
    wrong = "wrong-secret-canary"
    served = serve(bucket_section(filled.endpoint, secret=wrong))
    answer = httpx.get(f"{served.url}/b/data.bin")
    assert answer.status_code == 502
    assert "<Code>BadGateway</Code>" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    served.stop()
    log = served.stderr()
    assert "SignatureDoesNotMatch" in log
    assert answer.headers["x-request-id"] in log
    everything = answer.text + log + served.stdout()
    assert wrong not in everything
    assert SECRET_KEY not in everything


def test_metrics_count_what_was_shared(proxied: Served):
    httpx.get(f"{proxied.url}/b/data.bin")
    httpx.get(f"{proxied.url}/b/data.bin")
    text = httpx.get(f"{proxied.admin_url}/metrics").text
    assert 'yatagarasu_http_requests_total{bucket="b",cache="hit",method="GET",status="200"} 1.0' in text
    assert 'yatagarasu_origin_requests_total{bucket="b",result="200"} 1.0' in text
    assert httpx.get(f"{proxied.url}/ready").json()["ready"] is True
