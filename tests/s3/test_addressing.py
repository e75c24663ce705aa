import pytest

from yatagarasu.errors import ConfigError
from yatagarasu.s3.addressing import resolve_address


@pytest.mark.parametrize(
    ("bucket", "endpoint", "addressing", "url"),
    [
        pytest.param("media", None, "auto", "https://media.s3.eu-west-1.amazonaws.com/k", id="aws-virtual"),
        pytest.param("media", None, "virtual", "https://media.s3.eu-west-1.amazonaws.com/k", id="aws-virtual-asked"),
        pytest.param("media", None, "path", "https://s3.eu-west-1.amazonaws.com/media/k", id="aws-path-asked"),
        pytest.param("a.b", None, "auto", "https://s3.eu-west-1.amazonaws.com/a.b/k", id="aws-dots-fit-no-certificate"),
        pytest.param("Media", None, "auto", "https://s3.eu-west-1.amazonaws.com/Media/k", id="aws-upper-case"),
        pytest.param("a_b", None, "auto", "https://s3.eu-west-1.amazonaws.com/a_b/k", id="aws-underscore"),
        pytest.param("ab", None, "auto", "https://s3.eu-west-1.amazonaws.com/ab/k", id="aws-too-short-for-a-name"),
        pytest.param("media", "http://minio:9000", "auto", "http://minio:9000/media/k", id="endpoint-path"),
        pytest.param("media", "http://minio:9000", "path", "http://minio:9000/media/k", id="endpoint-path-asked"),
        pytest.param("media", "http://minio:9000", "virtual", "http://media.minio:9000/k", id="endpoint-virtual"),
        pytest.param("media", "http://minio:80/", "auto", "http://minio/media/k", id="http-port"),
        pytest.param("media", "https://minio:443", "auto", "https://minio/media/k", id="https-port"),
        pytest.param("media", "https://minio:80", "auto", "https://minio:80/media/k", id="the-other-scheme's-port"),
        pytest.param("media", "http://h/s3/", "auto", "http://h/s3/media/k", id="endpoint-with-a-path"),
        pytest.param("media", "http://h/s3", "virtual", "http://media.h/s3/k", id="endpoint-with-a-path-virtual"),
        pytest.param("media", "http://[::1]:9000", "auto", "http://[::1]:9000/media/k", id="ipv6"),
        pytest.param("media", "http://[::1]", "auto", "http://[::1]/media/k", id="ipv6-without-port"),
    ],
)
def test_where_an_object_is(bucket: str, endpoint: str | None, addressing: str, url: str) -> None:
    address = resolve_address(bucket, "eu-west-1", endpoint, addressing)
    assert address.endpoint + address.target("k") == url


@pytest.mark.parametrize(
    ("addressing", "target"),
    [pytest.param("path", "/media?list-type=2", id="path"), pytest.param("virtual", "/?list-type=2", id="virtual")],
)
def test_where_a_bucket_is(addressing: str, target: str) -> None:
    assert resolve_address("media", "r", "http://h", addressing).target("", "list-type=2") == target


def test_a_query_goes_behind_the_key() -> None:
    assert resolve_address("b", "r", "http://h").target("a%20b", "versionId=1") == "/b/a%20b?versionId=1"


def test_a_key_that_begins_with_a_slash_keeps_it() -> None:
    assert resolve_address("b", "r", "http://h").target("/k") == "/b//k"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        pytest.param("cn-north-1", "media.s3.cn-north-1.amazonaws.com.cn", id="china-has-its-own-domain"),
        pytest.param("us-gov-west-1", "media.s3.us-gov-west-1.amazonaws.com", id="govcloud-has-not"),
    ],
)
def test_the_domain_of_a_partition(region: str, host: str) -> None:
    assert resolve_address("media", region, None).host == host


@pytest.mark.parametrize(
    ("endpoint", "port"), [("http://h", 80), ("https://h", 443), ("https://h:9000", 9000), (None, 443)]
)
def test_port(endpoint: str | None, port: int) -> None:
    assert resolve_address("b", "r", endpoint).port == port


def test_the_host_to_connect_to_has_no_brackets() -> None:
    assert resolve_address("b", "r", "http://[::1]:9000").host == "::1"


@pytest.mark.parametrize("endpoint", ["", "minio:9000", "ftp://h", "http://", "http://h:port", "http://h:99999", "/s3"])
def test_an_endpoint_that_is_no_url_is_a_config_error(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        resolve_address("b", "r", endpoint)
