"""Replays the corpus; with the slow tests, a bounded run of each target."""

import importlib.util
import os

import pytest

from tests.fuzz.run import run_target
from tests.fuzz.targets import CORPUS, TARGETS

INPUTS = [(target, name, data) for target, found in TARGETS.items() for name, data in found.corpus(target)]


@pytest.mark.parametrize(("target", "data"), [pytest.param(t, d, id=f"{t}-{n}") for t, n, d in INPUTS])
def test_corpus(target: str, data: bytes):
    TARGETS[target].run(data)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_like_those_of_the_corpus(target: str):
    if importlib.util.find_spec("atheris") is None:
        assert not os.environ.get("YATAGARASU_REQUIRE_SYSTEM"), "atheris is missing"
        pytest.skip("atheris has no build for this machine")
    inputs = int(os.environ.get("YATAGARASU_FUZZ", "4000")) // TARGETS[target].cost
    outcome = run_target(target, f"-runs={inputs}", "-seed=1")
    assert outcome.failures == [], outcome.output
    # It is our code that is looked at.
    assert outcome.inputs >= inputs
    assert outcome.edges > 40


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
