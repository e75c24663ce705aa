import pytest

from yatagarasu.http.conditional import Outcome, evaluate, has_conditions, if_range_holds, parse_etags
from yatagarasu.http.headers import Headers, Pair

ETAG = '"v1"'
BEFORE, MODIFIED, AFTER = (f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in (36, 37, 38))
LONG_AFTER = "Sun, 06 Nov 1994 09:49:37 GMT"
PROCEED, NOT_MODIFIED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.PRECONDITION_FAILED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('"a"', ('"a"',), id="8.8.3-one"),
        pytest.param('W/"a"', ('W/"a"',), id="8.8.3-weak"),
        pytest.param('""', ('""',), id="8.8.3-empty-tag"),
        pytest.param('"a,b"', ('"a,b"',), id="8.8.3-comma-inside"),
        pytest.param('"a\\"', ('"a\\"',), id="8.8.3-a-backslash-escapes-nothing"),
        pytest.param('"\xe9"', ('"\xe9"',), id="8.8.3-obs-text"),
        pytest.param('"a", W/"b" ,"c"', ('"a"', 'W/"b"', '"c"'), id="13.1.1-list"),
        pytest.param(',"a",, "b",', ('"a"', '"b"'), id="5.6.1.2-empty-elements"),
        pytest.param("*", ("*",), id="13.1.1-star"),
        pytest.param(" * ", ("*",), id="13.1.1-star-in-space"),
        pytest.param("abc-1", ('"abc-1"',), id="s3-without-quotes"),
        pytest.param('"a" "b"', None, id="no-comma"),
        pytest.param('"a', None, id="not-closed"),
        pytest.param('w/"a"', None, id="8.8.3-weak-is-case-sensitive"),
        pytest.param('"a b"', None, id="8.8.3-no-space-in-a-tag"),
        pytest.param('*, "a"', None, id="star-in-a-list"),
        pytest.param("", None, id="empty"),
        pytest.param(",", None, id="nothing-but-a-comma"),
    ],
)
def test_parse_etags(text: str, expected: tuple[str, ...] | None) -> None:
    assert parse_etags(text) == expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param([], PROCEED, id="13-none"),
        pytest.param([("if-match", '"v1"')], PROCEED, id="13.1.1-same"),
        pytest.param([("if-match", '"v0"')], FAILED, id="13.1.1-other"),
        pytest.param([("if-match", '"v0", "v1"')], PROCEED, id="13.1.1-list"),
        pytest.param([("if-match", '"v0"'), ("if-match", '"v1"')], PROCEED, id="13.1.1-two-lines"),
        pytest.param([("if-match", 'W/"v1"')], FAILED, id="13.1.1-strong-comparison"),
        pytest.param([("if-match", "*")], PROCEED, id="13.1.1-star"),
        pytest.param([("if-match", '"v1')], FAILED, id="13.1.1-malformed"),
        pytest.param([("if-none-match", '"v1"')], NOT_MODIFIED, id="13.1.2-same"),
        pytest.param([("if-none-match", '"v0"')], PROCEED, id="13.1.2-other"),
        pytest.param([("if-none-match", '"v0", "v1"')], NOT_MODIFIED, id="13.1.2-list"),
        pytest.param([("if-none-match", 'W/"v1"')], NOT_MODIFIED, id="13.1.2-weak-comparison"),
        pytest.param([("if-none-match", "*")], NOT_MODIFIED, id="13.1.2-star"),
        pytest.param([("if-none-match", '"v1')], PROCEED, id="13.1.2-malformed"),
        pytest.param([("if-modified-since", BEFORE)], PROCEED, id="13.1.3-modified"),
        pytest.param([("if-modified-since", MODIFIED)], NOT_MODIFIED, id="13.1.3-same-second"),
        pytest.param([("if-modified-since", AFTER)], NOT_MODIFIED, id="13.1.3-not-modified"),
        pytest.param([("if-modified-since", "yesterday")], PROCEED, id="13.1.3-not-a-date"),
        pytest.param(
            [("if-modified-since", MODIFIED), ("if-modified-since", AFTER)], PROCEED, id="13.1.3-more-than-one-member"
        ),
        pytest.param([("if-unmodified-since", BEFORE)], FAILED, id="13.1.4-modified"),
        pytest.param([("if-unmodified-since", MODIFIED)], PROCEED, id="13.1.4-same-second"),
        pytest.param([("if-unmodified-since", AFTER)], PROCEED, id="13.1.4-not-modified"),
        pytest.param([("if-unmodified-since", "yesterday")], PROCEED, id="13.1.4-not-a-date"),
        # Precedence, section 13.2.2.
        pytest.param(
            [("if-match", '"v1"'), ("if-unmodified-since", BEFORE)], PROCEED, id="13.2.2-if-match-over-unmodified-since"
        ),
        pytest.param(
            [("if-match", '"v0"'), ("if-unmodified-since", AFTER)], FAILED, id="13.2.2-if-match-over-unmodified-since-2"
        ),
        pytest.param(
            [("if-none-match", '"v0"'), ("if-modified-since", AFTER)], PROCEED, id="13.2.2-none-match-over-since"
        ),
        pytest.param(
            [("if-none-match", '"v1"'), ("if-modified-since", BEFORE)],
            NOT_MODIFIED,
            id="13.2.2-none-match-over-since-2",
        ),
        pytest.param(
            [("if-none-match", "?"), ("if-none-match", "?"), ("if-modified-since", AFTER)],
            PROCEED,
            id="13.1.3-ignored-beside-a-malformed-one",
        ),
        pytest.param([("if-match", '"v0"'), ("if-none-match", '"v1"')], FAILED, id="13.2.2-step-1-before-3"),
        pytest.param([("if-match", '"v1"'), ("if-none-match", '"v1"')], NOT_MODIFIED, id="13.2.2-step-3-after-1"),
        pytest.param([("if-unmodified-since", BEFORE), ("if-none-match", '"v1"')], FAILED, id="13.2.2-step-2-before-3"),
        pytest.param(
            [("if-unmodified-since", AFTER), ("if-modified-since", AFTER)], NOT_MODIFIED, id="13.2.2-step-4-after-2"
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_evaluate(method: str, pairs: list[Pair], expected: Outcome) -> None:
    assert evaluate(method, Headers(pairs), etag=ETAG, last_modified=MODIFIED) is expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        pytest.param(("if-match", '"v1"'), FAILED, id="13.1.1-tag"),
        pytest.param(("if-match", "*"), PROCEED, id="13.1.1-star"),
        pytest.param(("if-none-match", '"v1"'), PROCEED, id="13.1.2-tag"),
        pytest.param(("if-none-match", "*"), NOT_MODIFIED, id="13.1.2-star"),
        pytest.param(("if-modified-since", AFTER), PROCEED, id="13.1.3-no-date-to-compare"),
        pytest.param(("if-unmodified-since", BEFORE), PROCEED, id="13.1.4-no-date-to-compare"),
    ],
)
def test_a_representation_without_validators(pair: Pair, expected: Outcome) -> None:
    assert evaluate("GET", Headers([pair]), etag=None, last_modified=None) is expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        pytest.param(("if-match", "*"), FAILED, id="13.1.1-star"),
        pytest.param(("if-match", '"v1"'), FAILED, id="13.1.1-tag"),
        pytest.param(("if-none-match", "*"), PROCEED, id="13.1.2-star"),
        pytest.param(("if-none-match", '"v1"'), PROCEED, id="13.1.2-tag"),
    ],
)
def test_no_representation_at_all(pair: Pair, expected: Outcome) -> None:
    assert evaluate("GET", Headers([pair]), etag=None, last_modified=None, exists=False) is expected


def test_section_8_8_3_2_a_weak_validator_never_matches_strongly() -> None:
    for tag in ('W/"v1"', '"v1"'):
        assert evaluate("GET", Headers([("if-match", tag)]), etag='W/"v1"', last_modified=None) is FAILED


def test_section_8_8_3_2_a_weak_validator_matches_weakly() -> None:
    for tag in ('W/"v1"', '"v1"'):
        assert evaluate("GET", Headers([("if-none-match", tag)]), etag='W/"v1"', last_modified=None) is NOT_MODIFIED


def test_section_13_1_2_other_methods_fail_instead() -> None:
    assert evaluate("PUT", Headers([("if-none-match", "*")]), etag=ETAG, last_modified=None) is FAILED


def test_section_13_1_3_other_methods_ignore_if_modified_since() -> None:
    assert evaluate("PUT", Headers([("if-modified-since", AFTER)]), etag=ETAG, last_modified=MODIFIED) is PROCEED


@pytest.mark.parametrize("name", ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
def test_every_condition_is_one(name: str) -> None:
    assert has_conditions(Headers([(name, "*")]))


@pytest.mark.parametrize("name", ["if-range", "range", "etag", "cache-control"])
def test_what_is_no_condition(name: str) -> None:
    assert not has_conditions(Headers([(name, "*")]))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        pytest.param(None, True, id="13.1.5-absent"),
        pytest.param('"v1"', True, id="13.1.5-same-tag"),
        pytest.param(' "v1" ', True, id="13.1.5-white-space"),
        pytest.param('"v0"', False, id="13.1.5-other-tag"),
        pytest.param('W/"v1"', False, id="13.1.5-weak"),
        pytest.param(MODIFIED, True, id="13.1.5-same-date"),
        pytest.param(BEFORE, False, id="13.1.5-earlier"),
        pytest.param(AFTER, False, id="13.1.5-exact-match-not-later"),
        pytest.param('"v0", "v1"', False, id="13.1.5-no-lists"),
        pytest.param("*", False, id="13.1.5-no-star"),
        pytest.param("yesterday", False, id="13.1.5-neither"),
        pytest.param("", False, id="13.1.5-empty"),
    ],
)
def test_if_range(text: str | None, holds: bool) -> None:
    headers = Headers([] if text is None else [("if-range", text)])
    assert if_range_holds(headers, etag=ETAG, last_modified=MODIFIED, date=LONG_AFTER) is holds


def test_section_8_8_2_2_a_date_too_near_its_response_is_weak() -> None:
    headers = Headers([("if-range", MODIFIED)])
    assert not if_range_holds(headers, etag=None, last_modified=MODIFIED, date=MODIFIED)


@pytest.mark.parametrize("text", ['"v1"', MODIFIED])
def test_section_13_1_5_nothing_to_compare_with_does_not_hold(text: str) -> None:
    assert not if_range_holds(Headers([("if-range", text)]), etag=None, last_modified=None, date=LONG_AFTER)


def test_section_13_1_5_a_weak_tag_is_not_even_its_own_equal() -> None:
    assert not if_range_holds(Headers([("if-range", 'W/"v1"')]), etag='W/"v1"', last_modified=None, date=None)
