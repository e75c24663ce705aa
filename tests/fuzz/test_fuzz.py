"""Replays the corpus, and a bounded, seeded run of mutations of it."""

import random

import pytest

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import CORPUS, TARGETS, examples

INPUTS = [(target, name, data) for target, found in TARGETS.items() for name, data in found.corpus(target)]


@pytest.mark.parametrize(("target", "data"), [pytest.param(t, d, id=f"{t}-{n}") for t, n, d in INPUTS])
def test_corpus(target: str, data: bytes):
    TARGETS[target].run(data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutations(target: str):
    found = TARGETS[target]
    mutator = Mutator(random.Random(target), [data for _, data in found.corpus(target)], found.dictionary)
    for number in range(examples()):
        data = mutator.next()
        try:
            found.run(data)
        except Exception as exc:
            pytest.fail(f"mutation {number} of {target}: {type(exc).__name__}: {exc}\n{data!r}")


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
