import json
from xml.etree import ElementTree

import pytest

from yatagarasu.errors import (
    AccessDenied,
    BadRequest,
    Gone,
    NoSuchKey,
    OriginBroken,
    OriginRefused,
    OriginStatus,
    PreconditionFailed,
    RangeNotSatisfiable,
    YatagarasuError,
)
from yatagarasu.s3.errors import S3Error, error_for, parse_error, render_error_json, render_error_xml

# AWS: "Error responses", REST error response.
PUBLISHED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error>
  <Code>NoSuchKey</Code>
  <Message>The resource you requested does not exist</Message>
  <Resource>/mybucket/myfoto.jpg</Resource>
  <RequestId>4442587FB7D0A2F9</RequestId>
</Error>"""


def test_the_published_example() -> None:
    assert parse_error(PUBLISHED) == S3Error("NoSuchKey", "The resource you requested does not exist")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"<Error><Code>SlowDown</Code></Error>", S3Error("SlowDown"), id="no-message"),
        pytest.param(
            b"<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region></Error>",
            S3Error("PermanentRedirect", region="eu-west-1"),
            id="region",
        ),
        pytest.param(b"<Error><Code> A </Code><Message>\n</Message></Error>", S3Error("A"), id="white-space"),
        pytest.param(b"<Error><Code>A</Code><Message>a &lt; b</Message></Error>", S3Error("A", "a < b"), id="escapes"),
        pytest.param(b"<Error><X><Code>B</Code></X><Code>A</Code></Error>", S3Error("A"), id="nested-is-not-ours"),
    ],
)
def test_parse(body: bytes, expected: S3Error) -> None:
    assert parse_error(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html><body>502</body></html>", id="html"),
        pytest.param(b"not XML", id="text"),
        pytest.param(b"<Error><Code>A</Code>", id="cut"),
        pytest.param(b"<Error><Message>a</Message></Error>", id="no-code"),
        pytest.param(b"<Error><Code></Code></Error>", id="empty-code"),
        pytest.param(b"<Error><Code>" + b"A" * 101 + b"</Code></Error>", id="no-such-long-code"),
        pytest.param(b"<Errors><Code>A</Code></Errors>", id="another-root"),
        pytest.param(b"<!DOCTYPE Error><Error><Code>A</Code></Error>", id="document-type"),
        pytest.param(b'<!DOCTYPE E [<!ENTITY a "x">]><Error><Code>&a;</Code></Error>', id="entity"),
        pytest.param(b"<Error><Code>\xff</Code></Error>", id="not-utf-8"),
        pytest.param(b'<?xml version="1.0" encoding="crow"?><Error><Code>A</Code></Error>', id="unknown-encoding"),
        pytest.param(b'<?xml version="1.0" encoding="shift_jis"?><Error><Code>A</Code></Error>', id="multi-byte"),
    ],
)
def test_what_is_no_error_document(body: bytes) -> None:
    assert parse_error(body) is None


def test_an_endless_message_is_not_kept() -> None:
    body = b"<Error><Code>A</Code><Message>" + b"a&lt;" * 100_000 + b"</Message></Error>"
    parsed = parse_error(body)
    assert parsed is not None
    assert len(parsed.message) < 10_000


@pytest.mark.parametrize(
    ("status", "code", "kind", "answered"),
    [
        pytest.param(404, "NoSuchKey", NoSuchKey, 404, id="NoSuchKey"),
        pytest.param(404, "NoSuchVersion", NoSuchKey, 404, id="NoSuchVersion"),
        pytest.param(404, "", NoSuchKey, 404, id="HEAD-404-has-no-document"),
        pytest.param(410, "", Gone, 410, id="410"),
        pytest.param(403, "AccessDenied", AccessDenied, 403, id="AccessDenied"),
        pytest.param(403, "InvalidObjectState", AccessDenied, 403, id="InvalidObjectState"),
        pytest.param(401, "", AccessDenied, 403, id="401"),
        pytest.param(412, "PreconditionFailed", PreconditionFailed, 412, id="PreconditionFailed"),
        pytest.param(416, "InvalidRange", RangeNotSatisfiable, 416, id="InvalidRange"),
        pytest.param(400, "InvalidArgument", BadRequest, 400, id="InvalidArgument"),
        pytest.param(404, "NoSuchBucket", OriginRefused, 502, id="NoSuchBucket"),
        pytest.param(403, "SignatureDoesNotMatch", OriginRefused, 502, id="SignatureDoesNotMatch"),
        pytest.param(403, "InvalidAccessKeyId", OriginRefused, 502, id="InvalidAccessKeyId"),
        pytest.param(403, "RequestTimeTooSkewed", OriginRefused, 502, id="RequestTimeTooSkewed"),
        pytest.param(400, "ExpiredToken", OriginRefused, 502, id="ExpiredToken"),
        pytest.param(400, "AuthorizationHeaderMalformed", OriginRefused, 502, id="AuthorizationHeaderMalformed"),
        pytest.param(301, "PermanentRedirect", OriginRefused, 502, id="PermanentRedirect"),
        pytest.param(307, "TemporaryRedirect", OriginRefused, 502, id="TemporaryRedirect"),
        pytest.param(302, "", OriginRefused, 502, id="any-redirect"),
        pytest.param(500, "InternalError", OriginStatus, 502, id="InternalError"),
        pytest.param(503, "SlowDown", OriginStatus, 503, id="SlowDown"),
        pytest.param(429, "", OriginStatus, 503, id="429"),
        pytest.param(418, "", OriginBroken, 502, id="anything-else"),
    ],
)
def test_which_error_an_answer_stands_for(status: int, code: str, kind: type[YatagarasuError], answered: int) -> None:
    error = error_for(status, S3Error(code) if code else None)
    assert type(error) is kind
    assert error.http_status == answered


def test_what_the_origin_said_is_for_the_log_not_for_the_client() -> None:
    error = error_for(403, S3Error("AccessDenied", "user arn:aws:iam::1:user/me may not"))
    assert "arn:aws:iam" in str(error)
    assert "arn:aws:iam" not in error.public


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId"])
def test_messages_that_quote_the_request_are_left_out(code: str) -> None:
    assert "AKIA" not in str(error_for(403, S3Error(code, "key AKIAIOSFODNN7EXAMPLE")))


def test_a_redirect_says_where_the_bucket_is() -> None:
    assert "eu-west-1" in str(error_for(301, S3Error("PermanentRedirect", region="eu-west-1")))


def test_retry_after_is_kept() -> None:
    error = error_for(503, S3Error("SlowDown"), retry_after=7)
    assert error.retry_after_seconds == 7


HOSTILE = '/a<b>&"\x00\x1b\ud800'


def test_a_rendered_document_is_read_back() -> None:
    body = render_error_xml("NoSuchKey", "No such key.", "/b/k", "id-1")
    assert parse_error(body) == S3Error("NoSuchKey", "No such key.")
    root = ElementTree.fromstring(body)
    assert [(child.tag, child.text) for child in root][2:] == [("Resource", "/b/k"), ("RequestId", "id-1")]


def test_a_hostile_resource_stays_text_in_xml() -> None:
    root = ElementTree.fromstring(render_error_xml("A", "b", HOSTILE, "id"))
    assert root.findtext("Resource") == '/a<b>&"\ufffd\ufffd\ufffd'


def test_json_says_the_same() -> None:
    body = render_error_json("NoSuchKey", "No such key.", "/b/k", "id-1")
    assert json.loads(body) == {
        "error": {"code": "NoSuchKey", "message": "No such key.", "resource": "/b/k", "request_id": "id-1"}
    }


def test_a_hostile_resource_stays_text_in_json() -> None:
    assert json.loads(render_error_json("A", "b", HOSTILE, "id"))["error"]["resource"] == '/a<b>&"\ufffd\ufffd\ufffd'
