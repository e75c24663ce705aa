from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.http.headers import Headers, Pair
from yatagarasu.s3.keys import encode_key
from yatagarasu.s3.signing import Credentials, Signer, check_signature

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
keys = texts.map(lambda key: "/" + encode_key(key))
parameters = st.lists(st.tuples(texts.filter(bool), texts), max_size=4)
regions = st.sampled_from(["us-east-1", "eu-central-1", "auto"])
hosts = st.sampled_from(["b.s3.amazonaws.com", "localhost:9000", "[::1]:9000"])
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
names = st.sampled_from(["range", "if-match", "accept", "x-amz-meta-a", "x-amz-checksum-mode", "user-agent", "te"])
fields = st.lists(st.tuples(names, words), max_size=5)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
credentials = st.builds(Credentials, secrets.filter(str.isalnum) | st.just("AKID"), secrets, st.none() | secrets)
moments = st.integers(0, 4_000_000_000)


def encode_query(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in pairs)


@contextmanager
def botocore_at(now: float) -> Iterator[None]:
    """Botocore reads the clock itself; this is the one place it does so to sign."""
    moment = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        yield


@given(st.sampled_from(["GET", "HEAD"]), hosts, keys, parameters, fields, credentials, regions, moments)
def test_every_field_is_what_botocore_adds(
    method: str,
    host: str,
    path: str,
    pairs: list[tuple[str, str]],
    headers: list[Pair],
    signed_with: Credentials,
    region: str,
    now: int,
) -> None:
    query = encode_query(pairs)
    request = botocore.awsrequest.AWSRequest(method, f"http://{host}{path}" + (f"?{query}" if query else ""))
    for name, value in headers:
        request.headers.add_header(name, value)
    before = len(request.headers.items())
    theirs = botocore.credentials.Credentials(signed_with.access_key, signed_with.secret_key, signed_with.session_token)
    with botocore_at(now):
        botocore.auth.S3SigV4Auth(theirs, "s3", region).add_auth(request)
    expected = sorted((name.lower(), value) for name, value in request.headers.items()[before:])
    assert sorted(Signer(region).sign(method, host, path, query, headers, signed_with, now)) == expected


@given(hosts, keys, parameters, fields, credentials, regions, moments)
def test_what_is_signed_is_found_to_be_good(
    host: str,
    path: str,
    pairs: list[tuple[str, str]],
    headers: list[Pair],
    signed_with: Credentials,
    region: str,
    now: int,
) -> None:
    query = encode_query(pairs)
    added = Signer(region).sign("GET", host, path, query, headers, signed_with, now)
    sent = Headers([("host", host), *headers, *added])
    secrets_by_key = {signed_with.access_key: signed_with.secret_key}
    assert check_signature("GET", path, query, sent, secrets_by_key.get, now) is None
