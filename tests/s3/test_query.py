import pytest

from yatagarasu.errors import BadRequest
from yatagarasu.s3.query import select_query

RESPONSES = [
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
]
SUBRESOURCES = [
    "acl", "attributes", "cors", "delete", "encryption", "legal-hold", "lifecycle", "list-type", "location", "logging",
    "notification", "object-lock", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment",
    "restore", "retention", "select", "tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website",
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("versionId=v1", "versionId=v1", id="version"),
        pytest.param("partNumber=2", "partNumber=2", id="part"),
        pytest.param("versionId=v1&partNumber=2", "partNumber=2&versionId=v1", id="sorted"),
        pytest.param("utm_source=x&versionId=v1&_=123", "versionId=v1", id="others-are-dropped"),
        pytest.param("acl", "", id="sub-resources-are-dropped"),
        pytest.param("X-Amz-Signature=x&X-Amz-Date=y", "", id="signing-is-dropped"),
        pytest.param("versionid=v1", "", id="names-are-case-sensitive"),
        pytest.param("versionId=a%2fb%7e", "versionId=a%2Fb~", id="encoded-anew"),
        pytest.param("version%49d=v1", "versionId=v1", id="an-encoded-name-is-the-same-name"),
        pytest.param("versionId=a+b", "versionId=a%20b", id="plus-is-a-space"),
        pytest.param("versionId", "versionId=", id="no-value"),
        pytest.param("versionId=a=b", "versionId=a%3Db", id="equals-sign-in-a-value"),
        pytest.param("&&versionId=v1&", "versionId=v1", id="empty-parameters"),
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_s3_keeps_the_object_s_own_parameters(query: str, expected: str, signed: bool) -> None:
    assert select_query(query, "s3", signed=signed) == expected


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("mode", ["s3", "all"])
def test_response_parameters_go_to_signed_origins_only(name: str, mode: str) -> None:
    found = [select_query(f"{name}=a", mode, signed=signed) for signed in (True, False)]
    assert found == [f"{name}=a", ""]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("b=2&a=1", "a=1&b=2", id="sorted"),
        pytest.param("a=2&a=1", "a=1&a=2", id="repeated"),
        pytest.param("a", "a=", id="no-value"),
        pytest.param("a=%2b", "a=%2B", id="encoded-anew"),
        pytest.param("&a=1&&", "a=1", id="empty-parameters"),
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_all_keeps_everything(query: str, expected: str, signed: bool) -> None:
    assert select_query(query, "all", signed=signed) == expected


@pytest.mark.parametrize("name", SUBRESOURCES)
def test_our_signature_is_never_lent_to_a_sub_resource(name: str) -> None:
    with pytest.raises(BadRequest):
        select_query(f"a=1&{name}", "all", signed=True)


@pytest.mark.parametrize(
    "query", ["%61cl", "ACL", "Tagging=", "POLICYSTATUS", "uploadid=1", "versionId=1&uploads=", "acl=x"]
)
def test_a_sub_resource_in_disguise_is_one(query: str) -> None:
    with pytest.raises(BadRequest):
        select_query(query, "all", signed=True)


def test_an_unsigned_origin_judges_sub_resources_itself() -> None:
    assert select_query("acl", "all", signed=False) == "acl="


SIGNING = ["X-Amz-Signature", "X-Amz-Credential", "x-amz-date", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature",
           "Expires", "%58-Amz-Signature"]  # fmt: skip


@pytest.mark.parametrize("name", SIGNING)
def test_a_client_s_signature_never_reaches_a_signed_origin(name: str) -> None:
    assert select_query(f"a=1&{name}=x", "all", signed=True) == "a=1"


@pytest.mark.parametrize("mode", ["s3", "all"])
@pytest.mark.parametrize("query", ["versionId=1&versionId=2", "partNumber=1&partNumber=1", "versionId=1&version%49d=2"])
def test_a_parameter_said_twice_is_refused(query: str, mode: str) -> None:
    with pytest.raises(BadRequest):
        select_query(query, mode, signed=True)


@pytest.mark.parametrize("mode", ["s3", "all"])
@pytest.mark.parametrize("query", ["versionId=%FF", "%FF=1", "versionId=%C0%AE"])
def test_what_is_not_utf_8_is_refused(query: str, mode: str) -> None:
    with pytest.raises(BadRequest):
        select_query(query, mode, signed=True)
