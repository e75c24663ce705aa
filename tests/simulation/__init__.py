"""Seeded simulation: the proxy's core between a random origin and random clients, on a mock clock.

`python -m tests.simulation 4711` plays one seed and tells what happened; `python -m tests.simulation --seeds 20000` is
the long run.
"""
