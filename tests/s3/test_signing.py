import hmac
from calendar import timegm
from hashlib import sha256

import pytest

from yatagarasu.http.headers import Headers, Pair
from yatagarasu.s3.signing import (
    EMPTY_SHA256,
    MAX_SKEW_SECONDS,
    Credentials,
    Signer,
    amz_date,
    canonical_query,
    check_signature,
    signing_key,
)

# AWS: "Signature Calculations for the Authorization Header", examples.
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)
HOST = "examplebucket.s3.amazonaws.com"
NOW = float(timegm((2013, 5, 24, 0, 0, 0)))
STAMP = "20130524T000000Z"
PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def sign(
    path: str = "/test.txt",
    query: str = "",
    headers: tuple[Pair, ...] = (),
    credentials: Credentials = CREDENTIALS,
    now: float = NOW,
    signer: Signer | None = None,
) -> dict[str, str]:
    signer = Signer("us-east-1") if signer is None else signer
    return dict(signer.sign("GET", HOST, path, query, headers, credentials, now))


def secret_for(access_key: str) -> str | None:
    return SECRET_KEY if access_key == ACCESS_KEY else None


def checked(
    path: str, query: str, pairs: tuple[Pair, ...], *, now: float = NOW, method: str = "GET", host: str = HOST
) -> str | None:
    return check_signature(method, path, query, Headers([("host", host), *pairs]), secret_for, now)


# Signing.


@pytest.mark.parametrize(
    ("path", "query", "headers", "names", "signature"),
    [
        pytest.param(
            "/test.txt",
            "",
            (("range", "bytes=0-9"),),
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="GET-Object",
        ),
        pytest.param(
            "/",
            "lifecycle",
            (),
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="GET-Bucket-Lifecycle",
        ),
        pytest.param(
            "/",
            "max-keys=2&prefix=J",
            (),
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="GET-Bucket-List-Objects",
        ),
    ],
)
def test_the_published_examples(path: str, query: str, headers: tuple[Pair, ...], names: str, signature: str) -> None:
    assert sign(path, query, headers) == {
        "x-amz-date": STAMP,
        "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "authorization": (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request, "
            f"SignedHeaders={names}, Signature={signature}"
        ),
    }


def test_the_published_signing_key() -> None:
    key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam")
    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


def test_a_session_token_is_sent_and_signed() -> None:
    added = sign(credentials=Credentials(ACCESS_KEY, SECRET_KEY, "to+ken/=="))
    assert added["x-amz-security-token"] == "to+ken/=="
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in added["authorization"]


@pytest.mark.parametrize("name", ["user-agent", "connection", "expect", "x-amzn-trace-id", "transfer-encoding"])
def test_what_stands_between_may_change_these_so_they_are_not_signed(name: str) -> None:
    assert sign(headers=((name, "x"),)) == sign()


def test_the_order_of_the_query_does_not_matter() -> None:
    assert sign(query="prefix=J&max-keys=2") == sign(query="max-keys=2&prefix=J")


def test_the_order_of_the_headers_does_not_matter() -> None:
    one, two = ("range", "bytes=0-9"), ("if-match", '"v1"')
    assert sign(headers=(one, two)) == sign(headers=(two, one))


def test_runs_of_spaces_in_a_value_are_signed_as_one() -> None:
    assert sign(headers=(("x-a", "  b   c "),)) == sign(headers=(("x-a", "b c"),))


def test_a_day_s_key_is_not_used_the_next_day() -> None:
    signer = Signer("us-east-1")
    sign(signer=signer)
    assert sign(signer=signer, now=NOW + 86400) == sign(now=NOW + 86400)


def test_rotated_credentials_are_signed_with_the_new_secret() -> None:
    signer = Signer("us-east-1")
    sign(signer=signer)
    rotated = Credentials(ACCESS_KEY, "another secret")
    assert sign(signer=signer, credentials=rotated) == sign(credentials=rotated)


def test_amz_date_drops_fractions() -> None:
    assert amz_date(NOW + 0.999) == STAMP


def test_credentials_do_not_show_their_secret() -> None:
    shown = repr(Credentials(ACCESS_KEY, SECRET_KEY, "token"))
    assert SECRET_KEY not in shown
    assert "token" not in shown
    assert ACCESS_KEY not in shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("acl", "acl=", id="no-value"),
        pytest.param("b=2&a=1", "a=1&b=2", id="sorted-by-name"),
        pytest.param("a=2&a=1", "a=1&a=2", id="then-by-value"),
        pytest.param("a-=1&a=2", "a=2&a-=1", id="names-before-values"),
        pytest.param("a=%7e%2f", "a=~%2F", id="encoded-anew"),
        pytest.param("a=b=c", "a=b%3Dc", id="equals-sign-in-a-value"),
        pytest.param("a=b c", "a=b%20c", id="space"),
        pytest.param("a=b+c", "a=b%2Bc", id="plus-is-a-plus"),
        pytest.param("a=%FF", "a=%FF", id="any-byte"),
    ],
)
def test_canonical_query(query: str, expected: str) -> None:
    assert canonical_query(query) == expected


def test_the_bytes_that_are_sent_are_what_is_signed() -> None:
    # The names are sorted, so the canonical request can be written down: one field before the host.
    added = sign(headers=(("a", "\xe9"),))
    names, digest = "a;host;x-amz-content-sha256;x-amz-date", added["x-amz-content-sha256"]
    fields = f"a:\xe9\nhost:{HOST}\nx-amz-content-sha256:{digest}\nx-amz-date:{STAMP}\n"
    canonical = f"GET\n/test.txt\n\n{fields}\n{names}\n{digest}"
    hashed = sha256(canonical.encode("latin-1")).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{STAMP}\n20130524/us-east-1/s3/aws4_request\n{hashed}"
    key = signing_key(SECRET_KEY, "20130524", "us-east-1", "s3")
    assert added["authorization"].endswith("Signature=" + hmac.digest(key, text.encode(), "sha256").hex())


# Checking.


def test_the_published_presigned_url_is_good() -> None:
    assert checked("/test.txt", PRESIGNED, ()) is None


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        pytest.param("/test.txt", "", (), id="plain"),
        pytest.param("/a%20b/%E9%B4%89", "versionId=1&partNumber=2", (), id="escaped"),
        pytest.param("/k", "", (("range", "bytes=0-9"), ("user-agent", "x")), id="with-fields"),
        pytest.param("/k", "", (("x-amz-meta-a", "  caf\xc3\xa9  \xc3\xa0 "),), id="bytes-beyond-ascii"),
        pytest.param("/k", "", (("accept", "text/b"), ("accept", "text/a")), id="a-field-twice-in-wire-order"),
    ],
)
def test_what_we_sign_is_good(path: str, query: str, headers: tuple[Pair, ...]) -> None:
    added = Signer("eu-central-1").sign("GET", HOST, path, query, headers, CREDENTIALS, NOW)
    assert checked(path, query, (*headers, *added)) is None


def test_a_signed_token_is_good() -> None:
    added = Signer("r").sign("GET", HOST, "/k", "", (), Credentials(ACCESS_KEY, SECRET_KEY, "token"), NOW)
    assert checked("/k", "", tuple(added)) is None


SIGNED = tuple(Signer("us-east-1").sign("GET", HOST, "/k", "versionId=1", (("range", "bytes=0-9"),), CREDENTIALS, NOW))
RANGE = ("range", "bytes=0-9")


@pytest.mark.parametrize(
    ("path", "query", "pairs", "method", "host"),
    [
        pytest.param("/K", "versionId=1", (RANGE,), "GET", HOST, id="path"),
        pytest.param("/k", "versionId=2", (RANGE,), "GET", HOST, id="query"),
        pytest.param("/k", "", (RANGE,), "GET", HOST, id="query-gone"),
        pytest.param("/k", "versionId=1", (("range", "bytes=0-8"),), "GET", HOST, id="field"),
        pytest.param("/k", "versionId=1", (), "GET", HOST, id="field-gone"),
        pytest.param("/k", "versionId=1", (RANGE,), "HEAD", HOST, id="method"),
        pytest.param("/k", "versionId=1", (RANGE,), "GET", "other", id="host"),
    ],
)
def test_what_was_changed_on_the_way_does_not_match(
    path: str, query: str, pairs: tuple[Pair, ...], method: str, host: str
) -> None:
    assert checked(path, query, (*pairs, *SIGNED), method=method, host=host) == "SignatureDoesNotMatch"


def test_the_request_those_were_changed_from_is_good() -> None:
    assert checked("/k", "versionId=1", (RANGE, *SIGNED)) is None


def test_another_secret_does_not_match() -> None:
    added = Signer("us-east-1").sign("GET", HOST, "/k", "", (), Credentials(ACCESS_KEY, "guess"), NOW)
    assert checked("/k", "", tuple(added)) == "SignatureDoesNotMatch"


def test_an_unknown_access_key_is_said_to_be_one() -> None:
    added = Signer("us-east-1").sign("GET", HOST, "/k", "", (), Credentials("AKIDUNKNOWN", SECRET_KEY), NOW)
    assert checked("/k", "", tuple(added)) == "InvalidAccessKeyId"


@pytest.mark.parametrize("late", [MAX_SKEW_SECONDS + 1, -MAX_SKEW_SECONDS - 1])
def test_a_clock_more_than_15_minutes_away_is_too_skewed(late: float) -> None:
    assert checked("/k", "versionId=1", (RANGE, *SIGNED), now=NOW + late) == "RequestTimeTooSkewed"


@pytest.mark.parametrize("late", [MAX_SKEW_SECONDS, -MAX_SKEW_SECONDS])
def test_a_clock_15_minutes_away_is_not(late: float) -> None:
    assert checked("/k", "versionId=1", (RANGE, *SIGNED), now=NOW + late) is None


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        pytest.param("Basic dTpw", "AuthorizationHeaderMalformed", id="another-scheme"),
        pytest.param("AWS4-HMAC-SHA256 Credential=a/b", "AuthorizationHeaderMalformed", id="short-scope"),
        pytest.param(
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", "AuthorizationHeaderMalformed", id="no-signature"
        ),
        pytest.param("", "AuthorizationHeaderMalformed", id="empty"),
    ],
)
def test_malformed_authorization(authorization: str, code: str) -> None:
    assert checked("/k", "", (("authorization", authorization), ("x-amz-date", STAMP))) == code


@pytest.mark.parametrize(
    "stamp", ["", "yesterday", "2013-05-24T00:00Z", "20130524T000000X", "20131399T000000Z", "2013052\u00b2T000000Z"]
)
def test_a_signature_without_a_date_is_denied(stamp: str) -> None:
    pairs = tuple(pair for pair in SIGNED if pair[0] != "x-amz-date")
    assert checked("/k", "versionId=1", (RANGE, *pairs, ("x-amz-date", stamp))) == "AccessDenied"


def test_nothing_signed_is_denied() -> None:
    assert checked("/k", "", ()) == "AccessDenied"


@pytest.mark.parametrize(
    ("late", "code"),
    [
        pytest.param(86400, None, id="at-its-end"),
        pytest.param(86401, "AccessDenied", id="expired"),
        pytest.param(-MAX_SKEW_SECONDS, None, id="from-a-clock-ahead"),
        pytest.param(-MAX_SKEW_SECONDS - 1, "AccessDenied", id="from-the-future"),
    ],
)
def test_a_presigned_url_lives_as_long_as_it_says(late: float, code: str | None) -> None:
    assert checked("/test.txt", PRESIGNED, (), now=NOW + late) == code


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        pytest.param("X-Amz-Expires=86400", "X-Amz-Expires=86399", "SignatureDoesNotMatch", id="changed-lifetime"),
        pytest.param("X-Amz-Expires=86400", "X-Amz-Expires=x", "AuthorizationQueryParametersError", id="no-number"),
        pytest.param("&X-Amz-Expires=86400", "", "AuthorizationQueryParametersError", id="no-lifetime"),
        pytest.param(
            "X-Amz-Expires=86400", "X-Amz-Expires=604801", "AuthorizationQueryParametersError", id="more-than-a-week"
        ),
        pytest.param("Date=20130524T", "Date=20130524", "AuthorizationQueryParametersError", id="no-date"),
        pytest.param("%2Faws4_request", "", "AuthorizationQueryParametersError", id="short-scope"),
        pytest.param(ACCESS_KEY, "AKIDUNKNOWN", "InvalidAccessKeyId", id="unknown-key"),
    ],
)
def test_a_presigned_url_that_was_changed(old: str, new: str, code: str) -> None:
    assert old in PRESIGNED
    assert checked("/test.txt", PRESIGNED.replace(old, new), ()) == code


def test_a_signature_that_is_not_ascii_does_not_match() -> None:
    pairs = [(name, value[:-64] + "\u00e9" * 64 if name == "authorization" else value) for name, value in SIGNED]
    assert checked("/k", "versionId=1", (RANGE, *pairs)) == "SignatureDoesNotMatch"


def test_a_signer_follows_the_clock_and_the_key() -> None:
    signer = Signer("us-east-1")
    rotated = Credentials("AKIDROTATED", "another")
    for credentials in (CREDENTIALS, rotated, CREDENTIALS):
        for now in (NOW, NOW + 0.9, NOW + 1, NOW + 86400, NOW):
            assert sign(credentials=credentials, now=now, signer=signer) == sign(credentials=credentials, now=now)


def test_the_hash_of_nothing() -> None:
    assert EMPTY_SHA256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
