import json
from urllib.parse import quote, quote_plus

import pytest

from yatagarasu.observe.scrub import Scrubber, strike_signatures

_SECRET = 'wJal/XUt+FEMI "K7\\é'


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(_SECRET, id="as-it-is"),
        pytest.param(quote(_SECRET), id="in-a-path"),
        pytest.param(quote(_SECRET, safe=""), id="in-a-query"),
        pytest.param(quote_plus(_SECRET), id="in-a-form"),
        pytest.param(json.dumps(_SECRET)[1:-1], id="in-json"),
        pytest.param(repr(_SECRET)[1:-1], id="in-a-repr"),
    ],
)
def test_a_known_secret_is_struck_out_in_every_spelling(spelling: str):
    assert Scrubber([_SECRET]).scrub(f"a {spelling} b") == "a *** b"


def test_of_two_secrets_the_longer_goes_first():
    assert Scrubber(["abcd", "abcdefgh"]).scrub("abcdefgh") == "***"


def test_secrets_can_be_added_later_and_none_is_forgotten():
    scrubber = Scrubber(["first-secret"])
    scrubber.add(["second-secret"])
    assert scrubber.scrub("first-secret second-secret") == "*** ***"


def test_very_short_secrets_are_not_looked_for():
    assert Scrubber(["a", ""]).scrub("a banana") == "a banana"


@pytest.mark.parametrize(
    ("text", "struck"),
    [
        ("/a?X-Amz-Signature=0f0f&x=1", "/a?X-Amz-Signature=***&x=1"),
        ("/a?x-amz-signature=0f0f", "/a?x-amz-signature=***"),
        ("/a?X-Amz-Security-Token=IQoJ%2Fb3", "/a?X-Amz-Security-Token=***"),
        ("/a?AWSAccessKeyId=AKIA&Signature=vj%3D&Expires=1", "/a?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("next%3FX-Amz-Signature%3D0f0f", "next%3FX-Amz-Signature%3D***"),
        ("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0f0f", "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=***"),
        ("Authorization: Basic dTpw", "Authorization: ***"),
        ("Proxy-Authorization: Basic dTpw", "Proxy-Authorization: ***"),
        ("[('authorization', 'Basic dTpw'), ('a', 'b')]", "[('authorization', '***'), ('a', 'b')]"),
        ('{"authorization": "Basic dTpw"}', '{"authorization": "***"}'),
        ("x-amz-security-token: IQoJ", "x-amz-security-token: ***"),
        ("cookie: session=1; b=2\r\nnext: 1", "cookie: ***\r\nnext: 1"),
        ("sent Bearer abcdefghijklmnopqrst.uv to", "sent Bearer *** to"),
    ],
)
def test_what_looks_like_a_credential_is_struck_out(text: str, struck: str):
    assert strike_signatures(text) == struck


@pytest.mark.parametrize(
    "text",
    ["/assets/a.png", "SignatureDoesNotMatch: no", "a bearer token is needed", "forward Authorization, or not", "a=b"],
)
def test_ordinary_text_is_left_alone(text: str):
    assert strike_signatures(text) == text
