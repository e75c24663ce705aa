import pytest

from yatagarasu.config.positions import Path, Position, Positions, dotted


@pytest.mark.parametrize(
    ("text", "path", "key", "value"),
    [
        pytest.param("a = 1\n", ("a",), (1, 1), (1, 5), id="bare-key"),
        pytest.param("\n\n  a   =   1\n", ("a",), (3, 3), (3, 11), id="blank-lines-and-indent"),
        pytest.param("\ta = 1\n", ("a",), (1, 2), (1, 6), id="tab-is-one-column"),
        pytest.param("# a = 0\na = 1 # b = 2\nb = 3\n", ("b",), (3, 1), (3, 5), id="comments"),
        pytest.param("x = 1\r\na = 2\r\n", ("a",), (2, 1), (2, 5), id="crlf"),
        pytest.param("'a b' = 1\n\"c.d\" = 2\n", ("c.d",), (2, 1), (2, 9), id="quoted-key-with-a-dot"),
        pytest.param("a . b = 1\n", ("a", "b"), (1, 5), (1, 9), id="dotted-key-with-spaces"),
        pytest.param("a.b.c = 1\n", ("a",), (1, 1), (1, 1), id="table-made-by-a-dotted-key"),
        pytest.param("[t]\na = 1\n", ("t", "a"), (2, 1), (2, 5), id="table"),
        pytest.param("[t]\na = 1\n", ("t",), (1, 2), (1, 2), id="table-header"),
        pytest.param("[ t . u ] # c\na = 1\n", ("t", "u", "a"), (2, 1), (2, 5), id="header-with-spaces"),
        pytest.param('[t."u v"]\na = 1\n', ("t", "u v", "a"), (2, 1), (2, 5), id="quoted-header"),
        pytest.param("[[t]]\na = 1\n[[t]]\na = 2\n", ("t", 0, "a"), (2, 1), (2, 5), id="first-of-array-of-tables"),
        pytest.param("[[t]]\na = 1\n[[t]]\na = 2\n", ("t", 1, "a"), (4, 1), (4, 5), id="second-of-array-of-tables"),
        pytest.param("[[t]]\n[[t]]\n", ("t", 1), (2, 3), (2, 3), id="header-of-array-of-tables"),
        pytest.param(
            "[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 2\n", ("t", 1, "u", "a"), (6, 1), (6, 5), id="below-array"
        ),
        pytest.param(
            "[[t]]\n[[t.u]]\n[[t.u]]\n[[t]]\n[[t.u]]\na = 1\n",
            ("t", 1, "u", 0, "a"),
            (6, 1),
            (6, 5),
            id="nested-arrays",
        ),
        pytest.param("a = [10, 20,\n  30]\n", ("a", 1), (1, 10), (1, 10), id="array-item"),
        pytest.param("a = [10, # ]\n  30,\n]\nb = 1\n", ("a", 1), (2, 3), (2, 3), id="array-item-after-comment"),
        pytest.param("a = [10, # ]\n  30,\n]\nb = 1\n", ("b",), (4, 1), (4, 5), id="key-after-array"),
        pytest.param("a = [[1, 2], [3]]\n", ("a", 1, 0), (1, 15), (1, 15), id="array-in-array"),
        pytest.param("a = []\nb = 1\n", ("b",), (2, 1), (2, 5), id="empty-array"),
        pytest.param("a = { b = 1, c = 2 }\n", ("a", "c"), (1, 14), (1, 18), id="inline-table"),
        pytest.param("a = { b = 1, c = 2 }\n", ("a",), (1, 1), (1, 5), id="inline-table-itself"),
        pytest.param("a = { b.c = 1 }\n", ("a", "b", "c"), (1, 9), (1, 13), id="dotted-key-in-inline-table"),
        pytest.param("a = [{ b = 1 }, { b = 2 }]\n", ("a", 1, "b"), (1, 19), (1, 23), id="inline-tables-in-array"),
        pytest.param("a = {}\nb = 1\n", ("b",), (2, 1), (2, 5), id="empty-inline-table"),
        pytest.param('a = "x # [y] \\" = 1"\nb = 1\n', ("b",), (2, 1), (2, 5), id="basic-string-hides-syntax"),
        pytest.param("a = 'x\\'\nb = 1\n", ("b",), (2, 1), (2, 5), id="literal-string-has-no-escapes"),
        pytest.param('a = """\nb = 2\n\\"""\n"""\nb = 1\n', ("b",), (5, 1), (5, 5), id="long-string"),
        pytest.param('a = """x\\\\"""\nb = 1\n', ("b",), (2, 1), (2, 5), id="long-string-ends-after-escaped-slash"),
        pytest.param('a = """x"""""\nb = 1\n', ("b",), (2, 1), (2, 5), id="long-string-ending-in-quotes"),
        pytest.param("a = '''\nb = 2\n\\'''\nb = 1\n", ("b",), (4, 1), (4, 5), id="long-literal-string"),
        pytest.param("a = 1979-05-27T07:32:00Z\nb = 1\n", ("b",), (2, 1), (2, 5), id="date"),
        pytest.param("a = 1\n[t]\n[t.u]\nb = 2", ("t", "u", "b"), (4, 1), (4, 5), id="no-newline-at-the-end"),
    ],
)
def test_key_and_value_are_found(text: str, path: Path, key: Position, value: Position) -> None:
    positions = Positions(text)
    assert (positions.key(path), positions.value(path)) == (key, value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [(("t", "nope"), (2, 2)), (("t", "u", "nope"), (2, 2)), (("nope",), (1, 1)), ((), (1, 1))],
)
def test_what_is_not_there_is_answered_with_what_is_around_it(path: Path, expected: Position) -> None:
    assert Positions("a = 1\n[t]\nb = 2\n").key(path) == expected


@pytest.mark.parametrize("text", ['a = 1\nb = "', "a = 1\nb = [", "a = 1\n[[", "a = 1\n= =", 'a = 1\nb = """x'])
def test_text_that_is_not_toml_still_has_its_good_part(text: str) -> None:
    assert Positions(text).key(("a",)) == (1, 1)


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", 0), "a[0]"), (("a", 1, "b", "c"), "a[1].b.c"), (("a", 0, 1), "a[0][1]")],
)
def test_dotted(path: Path, text: str) -> None:
    assert dotted(path) == text
