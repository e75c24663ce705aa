"""Plays seeds from a command line; see the package."""

import argparse
import sys
import time

from tests.simulation.world import play


def main() -> int:
    """Play one seed and tell, or many and stop at the first that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="one seed, told in full")
    parser.add_argument("--seeds", type=int, default=5_000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if given.seed is not None:
        report = play(given.seed)
        print("\n".join(report.events))
        print(report.wrong or f"all is well: {report.steps} steps, {report.requests} origin requests")
        return 1 if report.wrong else 0
    began, steps, requests, failed = time.monotonic(), 0, 0, 0
    for seed in range(given.first, given.first + given.seeds):
        report = play(seed)
        steps, requests = steps + report.steps, requests + report.requests
        if report.wrong:
            failed += 1
            print(f"seed {seed}: {report.wrong}\n  python -m tests.simulation {seed}", flush=True)
            if failed >= 20:
                break
    seconds = time.monotonic() - began
    print(
        f"{seed - given.first + 1} seeds in {seconds:.1f} s, {steps} steps, {requests} origin requests, {failed} failed"
    )
    return 1 if failed else 0


sys.exit(main())
