import subprocess
import sys

import pytest
from typer.testing import CliRunner

from yatagarasu import __version__
from yatagarasu.cli import app

COMMANDS = ["serve", "validate-config", "warm-cache", "bench"]
HEAVY = ["boto3", "botocore", "httpx", "pydantic", "trio", "httptools", "prometheus_client", "tomli"]

# Runs a command line as the console script does, then tells which heavy modules it has brought in.
PROBE = f"""
import sys
sys.argv = ["yatagarasu", *sys.argv[1:]]
from yatagarasu.cli import run
code = run()
print("HEAVY:", *(name for name in {HEAVY!r} if name in sys.modules))
sys.exit(code)
"""


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"yatagarasu {command}" in result.stdout


def heavy_imports_of(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    label, *names = done.stdout.splitlines()[-1].split()
    assert label == "HEAVY:"
    return set(names)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_nothing_heavy(option: str) -> None:
    assert heavy_imports_of(option) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    # typer itself takes pydantic once a subcommand has parameters.
    assert heavy_imports_of(command, "--help") <= {"pydantic"}


def test_probe_would_tell_of_a_heavy_import() -> None:
    assert "pydantic" in heavy_imports_of("validate-config", "--schema")


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"yatagarasu {__version__}\n")


@pytest.mark.parametrize("arguments", [["nope"], ["--nope"], ["serve", "--nope"]], ids=" ".join)
def test_unknown_words_are_usage_errors(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
