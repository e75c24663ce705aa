"""The long run; see the package."""

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz.run import keep, run_target
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz each target for its share of the time; what fails is kept in the corpus."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--gained", type=Path, help="folder for inputs that reach new code: the next run begins there")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    print(f"seed {given.seed}")
    share = max(1, round(given.seconds / len(names)))
    is_good = True
    for name in names:
        gained = given.gained / name if given.gained is not None else None
        outcome = run_target(name, f"-max_total_time={share}", f"-seed={given.seed}", gained=gained)
        print(
            f"{name}: {outcome.inputs:,} inputs, {outcome.edges:,} edges, {len(outcome.failures)} failures", flush=True
        )
        for data in outcome.failures:
            is_good = False
            print(f"{outcome.output}\n{data[:300]!r}\nkept as {keep(name, data)}", flush=True)
    return 0 if is_good else 1


sys.exit(main())
