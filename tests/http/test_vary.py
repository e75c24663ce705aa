import pytest

from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.vary import matches, selecting_values, varying_names


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param([], (), id="12.5.5-absent"),
        pytest.param([("vary", "")], (), id="12.5.5-empty"),
        pytest.param([("vary", "Origin, Accept")], ("accept", "origin"), id="12.5.5-list-sorted-lower-case"),
        pytest.param([("vary", "a"), ("vary", "b")], ("a", "b"), id="12.5.5-two-lines"),
        pytest.param([("vary", "a, A, a")], ("a",), id="12.5.5-once-each"),
        pytest.param([("vary", ",a,,")], ("a",), id="5.6.1.2-empty-elements"),
        pytest.param([("vary", "*")], None, id="12.5.5-star"),
        pytest.param([("vary", "a, *")], None, id="12.5.5-star-in-a-list"),
    ],
)
def test_varying_names(pairs: list[Pair], expected: tuple[str, ...] | None) -> None:
    assert varying_names(Headers(pairs)) == expected


def selected(*pairs: Pair) -> tuple[tuple[str, str | None], ...]:
    return selecting_values(("accept",), Headers(pairs))


@pytest.mark.parametrize(
    ("stored", "asked", "is_match"),
    [
        pytest.param([("accept", "a")], [("accept", "a")], True, id="4.1-same"),
        pytest.param([("accept", "a")], [("accept", "b")], False, id="4.1-other"),
        pytest.param([], [], True, id="4.1-absent-from-both"),
        pytest.param([("accept", "a")], [], False, id="4.1-absent-from-one"),
        pytest.param([], [("accept", "a")], False, id="4.1-absent-from-the-other"),
        pytest.param([("accept", "a, b")], [("accept", "a ,\tb")], True, id="4.1-white-space"),
        pytest.param([("accept", "a, b")], [("accept", "a"), ("accept", "b")], True, id="4.1-combined-lines"),
        pytest.param([("accept", "a, b")], [("accept", "b, a")], False, id="4.1-order-may-mean-something"),
        pytest.param([("accept", "a")], [("accept", "A")], False, id="4.1-case-may-mean-something"),
        pytest.param([("accept", "a")], [("accept", "a"), ("x", "y")], True, id="4.1-other-fields-do-not-count"),
    ],
)
def test_a_request_matches_what_it_would_have_selected(stored: list[Pair], asked: list[Pair], is_match: bool) -> None:
    assert matches(selected(*stored), Headers(asked)) is is_match


def test_an_empty_field_is_not_an_absent_one() -> None:
    assert not matches(selected(("accept", "")), Headers())


@pytest.mark.parametrize("names", [(), None])
def test_what_varies_by_nothing_matches_everything(names: tuple[str, ...] | None) -> None:
    selecting = selecting_values(names, Headers([("accept", "a")]))
    assert selecting == ()
    assert matches(selecting, Headers([("accept", "b")]))
