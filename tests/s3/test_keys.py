from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.errors import BadRequest
from yatagarasu.s3.keys import decode_path, encode_key


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a/b", "/a/b", id="plain"),
        pytest.param("/a%20b", "/a b", id="space"),
        pytest.param("/a+b", "/a+b", id="plus-is-a-plus"),
        pytest.param("/a%2Bb", "/a+b", id="encoded-plus"),
        pytest.param("/a%2Fb", "/a/b", id="encoded-slash"),
        pytest.param("/a%252Fb", "/a%2Fb", id="decoded-once"),
        pytest.param("/a//b/", "/a//b/", id="empty-segments-mean-something"),
        pytest.param("/%E9%B4%89", "/鴉", id="utf-8"),
        pytest.param("/%e9%b4%89", "/鴉", id="lower-case-escapes"),
        pytest.param("/[a]%5Bb%5D", "/[a][b]", id="brackets"),
        pytest.param("/a;b=c&d?", "/a;b=c&d?", id="delimiters-are-literal"),
        pytest.param("/.a/a./..a/...", "/.a/a./..a/...", id="dots-among-others"),
        pytest.param("/", "/", id="root"),
    ],
)
def test_decode(path: str, expected: str) -> None:
    assert decode_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/a/../b", id="dot-dot"),
        pytest.param("/a/./b", id="dot"),
        pytest.param("/..", id="dot-dot-last"),
        pytest.param("/.", id="dot-last"),
        pytest.param("/%2e%2e/a", id="encoded-dots"),
        pytest.param("/.%2E/a", id="half-encoded-dots"),
        pytest.param("/a%2F..%2Fb", id="encoded-slashes-around-dots"),
        pytest.param("/a%2", id="short-escape"),
        pytest.param("/%", id="bare-percent"),
        pytest.param("/%zz", id="no-hexadecimal"),
        pytest.param("/%FF", id="not-utf-8"),
        pytest.param("/%C0%AE%C0%AE/", id="overlong-dots"),
        pytest.param("/%ED%A0%80", id="surrogate"),
        pytest.param("/%00", id="nul"),
        pytest.param("/a%0D%0Ab", id="line-break"),
        pytest.param("/%7F", id="del"),
        pytest.param("/a%1Fb", id="control-character"),
    ],
)
def test_a_path_that_means_no_key_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        decode_path(path)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("a/b", "a/b", id="slashes-stay"),
        pytest.param("AZaz09-._~", "AZaz09-._~", id="unreserved-stay"),
        pytest.param("a b", "a%20b", id="space-is-never-a-plus"),
        pytest.param("a+b", "a%2Bb", id="plus"),
        pytest.param("a%2Fb", "a%252Fb", id="percent"),
        pytest.param("鴉", "%E9%B4%89", id="upper-case-utf-8"),
        pytest.param("!*'();:@&=$,?#[]", "%21%2A%27%28%29%3B%3A%40%26%3D%24%2C%3F%23%5B%5D", id="reserved"),
    ],
)
def test_encode_as_aws_uri_encode_does(key: str, expected: str) -> None:
    assert encode_key(key) == expected


def names_a_key(text: str) -> bool:
    return all(segment not in (".", "..") for segment in text.split("/"))


keys = st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(names_a_key)


@given(keys)
def test_what_is_encoded_is_decoded(key: str) -> None:
    assert decode_path(encode_key(key)) == key


@given(keys)
def test_a_key_however_it_was_encoded_goes_on_in_one_form(key: str) -> None:
    assert encode_key(decode_path(quote(key, safe="/!*'()+"))) == encode_key(decode_path(quote(key, safe="")))
