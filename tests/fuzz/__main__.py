"""The long run; see the package."""

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import CORPUS, TARGETS


def main() -> int:
    """Fuzz each target for its share of the time; what fails is kept in the corpus."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    seed = given.seed if given.seed is not None else time.time_ns()
    print(f"seed {seed}")
    failures = 0
    for name in names:
        target, seen = TARGETS[name], set[str]()
        mutator = Mutator(random.Random(f"{seed}{name}"), [data for _, data in target.corpus(name)], target.dictionary)
        end, runs = time.monotonic() + given.seconds / len(names), 0
        while time.monotonic() < end:
            data = mutator.next()
            runs += 1
            try:
                target.run(data)
            except Exception as exc:
                # One of a kind: by where it was raised, or by what it says.
                place = f"{type(exc).__name__} {traceback.extract_tb(exc.__traceback__)[-1].lineno}"
                if place in seen:
                    continue
                seen.add(place)
                failures += 1
                path = CORPUS / name / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"{name}: {type(exc).__name__}: {exc}\n  {data[:300]!r}\n  kept as {path}", flush=True)
        print(f"{name}: {runs} inputs, {len(seen)} failures", flush=True)
    return 1 if failures else 0


sys.exit(main())
