"""Fuzzing of everything that reads what somebody else wrote, guided by coverage (atheris), from a seeded corpus.

`pytest tests/fuzz` replays the corpus; with the slow tests each target runs for a bounded number of inputs. `python -m
tests.fuzz --seconds 3600` is the long run: what fails is put into the corpus, so that it is replayed from then on.
"""
