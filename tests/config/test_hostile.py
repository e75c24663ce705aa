"""Whatever bytes a file holds, loading it and telling about it raise nothing."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yatagarasu.config.load import Loaded, load
from yatagarasu.config.model import Config
from yatagarasu.config.report import render_github, render_json, render_sarif, render_text

HERE = Path("/nonexistent")


def inspect(loaded: Loaded) -> None:
    """What holds for every outcome."""
    assert (loaded.config is None) == loaded.has_errors
    lines = loaded.text.split("\n")
    for problem in loaded.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
    text = render_text(loaded.problems, {"c\udcff\x1b.toml": loaded.text})
    github, sarif = render_github(loaded.problems), render_sarif(loaded.problems)
    for output in (text, github, sarif, render_json(loaded.problems)):
        assert output.replace("\n", "").isprintable()
        output.encode()
    assert len(json.loads(sarif)["runs"][0]["results"]) == len(loaded.problems)
    assert len(github.splitlines()) == len(loaded.problems)


def names(model: Any = Config) -> list[str]:
    """Every key that the model knows, tables of tables included."""
    found = []
    for name, field in model.model_fields.items():
        found.append(name)
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(inner, "model_fields"):
                found += names(inner)
    return found


KEY = st.sampled_from(sorted({*names(), "x", '""', '"\\u001b[2J"', '"a.b"', "'\u202e'"}))
SCALAR = st.one_of(
    st.sampled_from(
        [
            "true",
            "nan",
            "-inf",
            "1e999",
            "-0.0",
            "0",
            "1",
            "-1",
            "1979-05-27",
            "07:32:00",
        ]
    ),
    st.sampled_from(
        [
            '"1h"',
            '"1GiB"',
            '"-1s"',
            '"[::]:80"',
            '"unix:/a"',
            '"${NOPE}"',
            '"${A}"',
            '"${file:a\\u0000}"',
            '"http://u:p@h"',
        ]
    ),
    st.sampled_from(["0xf", "1"]).map(lambda digits: digits + digits[-1] * 5000),
    st.integers().map(str),
    st.floats().map(repr),
    st.text("ab:/@$${}[]\\\"'\t\u202e\u00e9 0", max_size=8).map(json.dumps),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(KEY, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
DOTTED = st.lists(KEY, min_size=1, max_size=3).map(".".join)
LINE = st.one_of(
    st.tuples(DOTTED, VALUE).map(" = ".join),
    DOTTED.map(lambda key: f"[{key}]"),
    DOTTED.map(lambda key: f"[[{key}]]"),
    st.sampled_from(["[[buckets]]", "[buckets.s3]", "[server]", "# token = a", "", "\r"]),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_bytes(content: bytes) -> None:
    inspect(load("c\udcff\x1b.toml", content, {}, base=HERE))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINE, max_size=8).map("\n".join), st.text(max_size=5))
def test_lines_of_toml(text: str, value: str) -> None:
    inspect(load("c\udcff\x1b.toml", text, {"A": value}, base=HERE))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["server.", "admin.", "log.", "cache.memory.", "cache.disk.", "coalescing.", "origin.retry.", ""]),
    KEY,
    VALUE,
    st.one_of(st.text(max_size=5), st.sampled_from(["\udcff", "nan", "-1"]), st.just("1").map(lambda one: one * 5000)),
)
def test_one_key_of_a_good_config(table: str, key: str, value: str, variable: str) -> None:
    bucket = '[[buckets]]\nname = "z"\npath_prefix = "/z"\ns3 = { bucket = "some-bucket" }\n'
    inspect(load("c\udcff\x1b.toml", f"{table}{key} = {value}\n{bucket}", {"A": variable}, base=HERE))
