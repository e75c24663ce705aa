"""A run of one target: libFuzzer's options in, numbers and failing inputs out."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.targets import CORPUS, TARGETS

# Of one input; longer is a failure, too.
_TIMEOUT_SECONDS = 20
_MEMORY_MIB = 2048
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """What a run came to: inputs tried, edges of our code that they reached, inputs that failed and what was said."""

    inputs: int
    edges: int
    failures: Sequence[bytes]
    output: str


def run_target(name: str, *limits: str, gained: Path | None = None) -> Outcome:
    """Fuzz a target until a limit ("-runs=1000", "-max_total_time=60", "-seed=1") or the first failure.

    Args:
        gained: where inputs that reach new code are kept, and found by the next run.

    Raises:
        RuntimeError: the fuzzer itself could not run; the message is what it said.
    """
    with TemporaryDirectory() as folder:
        found, words = Path(folder, "found"), Path(folder, "dictionary")
        found.mkdir()
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in TARGETS[name].dictionary))
        new = gained or Path(folder, "gained")
        new.mkdir(parents=True, exist_ok=True)
        options = [
            *limits,
            f"-dict={words}",
            f"-artifact_prefix={found}/",
            f"-timeout={_TIMEOUT_SECONDS}",
            f"-rss_limit_mb={_MEMORY_MIB}",
            f"-max_len={_MAX_BYTES}",
            "-print_final_stats=1",
        ]
        command = [sys.executable, "-m", "tests.fuzz.guided", name, *options, str(new), str(CORPUS / name)]
        # A shell's child: a process begins with its parent's size as its own peak, and the tests' may be large.
        command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
        # libFuzzer ends its process at once: what a target has in a temporary directory goes with ours.
        environment = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        )
        output = done.stdout
        inputs = re.search(r"stat::number_of_executed_units: (\d+)", output)
        failures = [path.read_bytes() for path in sorted(found.iterdir()) if not path.name.startswith("slow-unit-")]
        if inputs is None or (done.returncode and not failures):
            raise RuntimeError(output)
        edges = [int(edges) for edges in re.findall(r" cov: (\d+) ", output)]
        return Outcome(int(inputs[1]), max(edges, default=0), failures, output)


def keep(name: str, data: bytes) -> Path:
    """Put an input into a target's corpus."""
    path = CORPUS / name / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def _escaped(token: bytes) -> str:
    return "".join(chr(byte) if byte < 0x80 and chr(byte).isalnum() else f"\\x{byte:02X}" for byte in token)
