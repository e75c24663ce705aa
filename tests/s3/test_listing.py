from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.errors import BadRequest, OriginBroken
from yatagarasu.s3.listing import (
    NAMESPACE,
    Listed,
    ListPage,
    ListRequest,
    parse_list_v2,
    render_list_v2,
    scoped_list_query,
    unscope_listing,
)

# AWS: ListObjectsV2, examples: "Listing keys".
PUBLISHED = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
    <Name>bucket</Name>
    <Prefix/>
    <KeyCount>205</KeyCount>
    <MaxKeys>1000</MaxKeys>
    <IsTruncated>false</IsTruncated>
    <Contents>
        <Key>my-image.jpg</Key>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified>
        <ETag>"fba9dede5f27731c9771645a39863328"</ETag>
        <Size>434234</Size>
        <StorageClass>STANDARD</StorageClass>
    </Contents>
</ListBucketResult>"""
IMAGE = Listed("my-image.jpg", 434234, '"fba9dede5f27731c9771645a39863328"', "2009-10-12T17:50:30.000Z")


def listed(*keys: str) -> list[Listed]:
    return [Listed(key, 5, '"e"', "2009-10-12T17:50:30.000Z") for key in keys]


def page(inner: str) -> bytes:
    return f'<ListBucketResult xmlns="{NAMESPACE}"><Name>origin</Name>{inner}</ListBucketResult>'.encode()


def keys_of(body: bytes) -> list[str]:
    return [item.key for item in parse_list_v2(body).keys]


# Requests.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("list-type=2", ListRequest(), id="defaults"),
        pytest.param("list-type=2&prefix=a%2Fb", ListRequest(prefix="a/b"), id="prefix"),
        pytest.param("list-type=2&prefix=a+b", ListRequest(prefix="a b"), id="plus-is-a-space"),
        pytest.param("list-type=2&delimiter=/", ListRequest(delimiter="/"), id="delimiter"),
        pytest.param("list-type=2&max-keys=0", ListRequest(max_keys=0), id="max-keys-zero"),
        pytest.param("list-type=2&max-keys=5000", ListRequest(max_keys=1000), id="max-keys-at-most-1000"),
        pytest.param("list-type=2&continuation-token=a", ListRequest(continuation_token="a"), id="token"),
        pytest.param("list-type=2&start-after=a", ListRequest(start_after="a"), id="start-after"),
        pytest.param("list-type=2&encoding-type=url", ListRequest(encodes_urls=True), id="encoding-type"),
        pytest.param("prefix=&list-type=2&x=y", ListRequest(), id="others-are-passed-over"),
    ],
)
def test_request(query: str, expected: ListRequest) -> None:
    assert ListRequest.parse(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="no-type"),
        pytest.param("list-type=1", id="version-1"),
        pytest.param("list-type=2&max-keys=x", id="no-number"),
        pytest.param("list-type=2&max-keys=-1", id="negative"),
        pytest.param("list-type=2&max-keys=", id="empty"),
        pytest.param("list-type=2&max-keys=%C2%B2", id="superscript-two"),
        pytest.param("list-type=2&max-keys=" + "9" * 5000, id="digits-without-end"),
    ],
)
def test_a_bad_request(query: str) -> None:
    with pytest.raises(BadRequest):
        ListRequest.parse(query)


# Pages.


def test_the_published_page() -> None:
    assert parse_list_v2(PUBLISHED) == ListPage([IMAGE], [])


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ListRequest(), id="plain"),
        pytest.param(ListRequest(encodes_urls=True), id="encoded"),
        pytest.param(ListRequest("a&b", "/", 3, "t<", "s", encodes_urls=True), id="everything-said"),
    ],
)
def test_a_rendered_page_is_read_back(request_: ListRequest) -> None:
    keys, prefixes = listed("a b", "a+b", "a&<b>", "鴉/%2F"), ["p & q/", "p+/"]
    body = render_list_v2("b", ListPage(keys, prefixes, "next&", request_))
    assert parse_list_v2(body) == ListPage(keys, prefixes, "next&")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_every_key_survives_url_encoding(keys: list[str]) -> None:
    body = render_list_v2("b", ListPage(listed(*keys), request=ListRequest(encodes_urls=True)))
    assert keys_of(body) == keys


@pytest.mark.parametrize(("token", "is_truncated"), [(None, b"false"), ("t", b"true")])
def test_a_page_with_a_next_one_is_truncated(token: str | None, is_truncated: bytes) -> None:
    body = render_list_v2("b", ListPage(next_token=token))
    assert b"<IsTruncated>" + is_truncated + b"</IsTruncated>" in body


def test_common_prefixes_count_as_keys() -> None:
    assert b"<KeyCount>3</KeyCount>" in render_list_v2("b", ListPage(listed("a", "b"), ["c/"]))


def test_a_space_that_s3_encodes_as_plus_is_a_space() -> None:
    body = page("<EncodingType>url</EncodingType><Contents><Key>a+b%2Bc</Key></Contents>")
    assert keys_of(body) == ["a b+c"]


def test_a_plus_in_a_page_that_is_not_encoded_is_a_plus() -> None:
    assert keys_of(page("<Contents><Key>a+b%2B</Key></Contents>")) == ["a+b%2B"]


BROKEN = [
    pytest.param(b"", id="empty"),
    pytest.param(b"<html/>", id="html"),
    pytest.param(page("")[:-3], id="cut"),
    pytest.param(b"<Error><Code>A</Code></Error>", id="error-document"),
    pytest.param(b"<!DOCTYPE a>" + page(""), id="document-type"),
    pytest.param(b'<?xml version="1.0" encoding="crow"?>' + page(""), id="unknown-encoding"),
    pytest.param(b'<!DOCTYPE a [<!ENTITY b "c">]>' + page("<Prefix>&b;</Prefix>"), id="entity"),
    pytest.param(page("<a>" * 10_000 + "</a>" * 10_000), id="deeper-than-any-stack"),
]


@pytest.mark.parametrize("body", [*BROKEN, pytest.param(page("<Contents><Size>1</Size></Contents>"), id="no-key")])
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(OriginBroken):
        parse_list_v2(body)


@pytest.mark.parametrize("size", ["x", "-1", "1.5", "\u00b2", "9" * 5000])
def test_a_size_that_is_none(size: str) -> None:
    with pytest.raises(OriginBroken):
        parse_list_v2(page(f"<Contents><Key>a</Key><Size>{size}</Size></Contents>"))


# A listing scoped to a key prefix.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("list-type=2", {"prefix": "p/"}, id="nothing-asked"),
        pytest.param("list-type=2&prefix=a", {"prefix": "p/a"}, id="prefix"),
        pytest.param("list-type=2&prefix=../", {"prefix": "p/../"}, id="dots-are-literal"),
        pytest.param("list-type=2&start-after=a", {"prefix": "p/", "start-after": "p/a"}, id="start-after"),
        pytest.param(
            "list-type=2&delimiter=/&max-keys=5&encoding-type=url&continuation-token=t&fetch-owner=true",
            {
                "prefix": "p/",
                "delimiter": "/",
                "max-keys": "5",
                "encoding-type": "url",
                "continuation-token": "t",
                "fetch-owner": "true",
            },
            id="passed",
        ),
        pytest.param("list-type=2&acl&X-Amz-Date=1&versions", {"prefix": "p/"}, id="dropped"),
        pytest.param("list-type=2&prefix=p/&prefix=", {"prefix": "p/"}, id="said-twice"),
        pytest.param("list-type=2&prefix=a%26prefix%3D", {"prefix": "p/a&prefix="}, id="an-ampersand-inside"),
    ],
)
def test_scoped_query(query: str, expected: dict[str, str]) -> None:
    pairs = parse_qsl(scoped_list_query(query, "p/"), keep_blank_values=True)
    assert sorted(pairs) == sorted({**expected, "list-type": "2"}.items())


def test_a_scoped_query_is_canonical() -> None:
    query = scoped_list_query("prefix=a+b%7e&list-type=2", "p/")
    assert query == "list-type=2&prefix=p%2Fa%20b~"


def test_without_a_key_prefix_none_is_sent() -> None:
    assert scoped_list_query("list-type=2", "") == "list-type=2"


def test_a_scoped_query_is_a_list_objects_v2_request() -> None:
    with pytest.raises(BadRequest):
        scoped_list_query("prefix=a", "p/")


def test_an_unscoped_page_has_our_bucket_and_no_prefix() -> None:
    body = page(
        "<Prefix>p/a</Prefix><StartAfter>p/a1</StartAfter><Contents><Key>p/a2</Key><Size>5</Size></Contents>"
        "<CommonPrefixes><Prefix>p/ab/</Prefix></CommonPrefixes>"
    )
    found = unscope_listing(body, "ours", "p/")
    assert b"p/" not in found
    assert b"origin" not in found
    assert b"<Name>ours</Name><Prefix>a</Prefix><StartAfter>a1</StartAfter>" in found
    assert parse_list_v2(found) == ListPage([Listed("a2", 5, "", "")], ["ab/"])


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("my+dir%2A%7E/a+b%2Bc", id="space-as-plus"),
        pytest.param("my%20dir*~/a%20b%2Bc", id="space-as-escape"),
        pytest.param("my%20dir%2a%7e%2Fa+b%2bc", id="everything-encoded-in-lower-case"),
    ],
)
def test_a_prefix_is_found_however_the_origin_encodes_it(written: str) -> None:
    body = page(f"<EncodingType>url</EncodingType><Contents><Key>{written}</Key></Contents>")
    assert keys_of(unscope_listing(body, "b", "my dir*~/")) == ["a b+c"]


def test_the_prefix_as_an_object_is_left_out_and_not_counted() -> None:
    body = page("<KeyCount>2</KeyCount>" + "".join(f"<Contents><Key>{key}</Key></Contents>" for key in ("p/", "p/a")))
    found = unscope_listing(body, "ours", "p/")
    assert keys_of(found) == ["a"]
    assert b"<KeyCount>1</KeyCount>" in found


def test_a_page_may_have_many_siblings() -> None:
    body = page("<Contents><Key>p/a</Key></Contents><Contents><Key>p/</Key></Contents>" * 1_000)
    assert keys_of(unscope_listing(body, "ours", "p/")) == ["a"] * 1_000


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param("<Contents><Key>q/secret</Key></Contents>", id="key"),
        pytest.param("<CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes>", id="common-prefix"),
        pytest.param("<Contents><Key>p</Key></Contents>", id="shorter-than-the-prefix"),
        pytest.param("<Contents><Key/></Contents>", id="no-key"),
        pytest.param("<Contents><Key>p/<b/>secret</Key></Contents>", id="text-behind-an-element"),
    ],
)
def test_a_key_outside_the_prefix_never_reaches_a_client(inner: str) -> None:
    with pytest.raises(OriginBroken):
        unscope_listing(page(inner), "b", "p/")


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_page_cannot_be_unscoped(body: bytes) -> None:
    with pytest.raises(OriginBroken):
        unscope_listing(body, "b", "p/")
