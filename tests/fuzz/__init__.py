"""Fuzzing of everything that reads what somebody else wrote, from a seeded corpus.

`pytest tests/fuzz` replays the corpus and a bounded number of mutations. `python -m tests.fuzz --seconds 600` is the
long run: what fails is put into the corpus, so that it is replayed from then on.
"""
