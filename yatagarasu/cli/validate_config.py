"""`yatagarasu validate-config`: every problem of a config at once, for people and for CI."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from yatagarasu.config.load import Loaded
    from yatagarasu.config.report import Problem


class ReportFormat(StrEnum):
    """How problems are told."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def validate_config(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="TOML files; - is standard input.")
    ] = None,
    format: Annotated[ReportFormat, typer.Option("--format", help="How problems are told.")] = ReportFormat.TEXT,
    check_origins: Annotated[
        bool, typer.Option("--check-origins", help="Also ask each bucket's origin a signed HEAD.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the config's JSON Schema and end.")] = False,
) -> None:
    """Check config files. Exit code 0: good; 1: problems; 2: usage."""
    from yatagarasu.config import report
    from yatagarasu.config.redact import visible

    if schema:
        from yatagarasu.config.model import Config

        _print(json.dumps(Config.model_json_schema(), indent=2))
        return
    if not files:
        typer.echo("validate-config: give at least one FILE, or - for standard input", err=True)
        raise typer.Exit(2)
    loaded = {("<stdin>" if str(path) == "-" else str(path)): _load(path) for path in files}
    problems = [problem for item in loaded.values() for problem in item.problems]
    if check_origins:
        for name, item in loaded.items():
            problems.extend(_ask_origins(name, item))
    has_errors = any(problem.severity == "error" for problem in problems)
    if format is ReportFormat.JSON:
        _print(report.render_json(problems))
    elif format is ReportFormat.SARIF:
        _print(report.render_sarif(problems))
    elif format is ReportFormat.GITHUB:
        if problems:
            _print(report.render_github(problems))
    else:
        texts = {name: item.text for name, item in loaded.items()}
        if problems:
            _print(
                report.render_text(problems, texts, colour=sys.stdout is not None and sys.stdout.isatty()).removesuffix(
                    "\n"
                )
            )
        bad = {problem.file for problem in problems if problem.severity == "error"}
        for name in loaded:
            if name not in bad:
                _print(visible(f"{name}: ok"), err=True)
    if has_errors:
        raise typer.Exit(1)


def _print(text: str, *, err: bool = False) -> None:
    """Print what the stream's encoding may not have letters for: those are escaped."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def _load(path: Path) -> "Loaded":
    import os

    from yatagarasu.config.load import LARGEST_FILE, Loaded, load, load_file
    from yatagarasu.config.report import Problem

    if str(path) != "-":
        return load_file(path, os.environ)
    name = "<stdin>"
    try:
        # Python has no stdin at all where its caller has closed it.
        content = sys.stdin.buffer.read(LARGEST_FILE + 1) if sys.stdin is not None else None
        reason = "it is closed"
    except (OSError, ValueError) as exc:
        content, reason = None, exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    if content is None:
        return Loaded("", None, [Problem(name, 1, 1, "unreadable", f"cannot read standard input: {reason}")])
    return load(name, content, os.environ, base=Path())


def _ask_origins(name: str, item: "Loaded") -> "list[Problem]":
    """Ask the origins of a good config; each answer goes to stderr, each failure is a problem at its bucket."""
    if item.config is None:
        return []
    import trio

    from yatagarasu.checks import check_origins
    from yatagarasu.config.positions import Positions
    from yatagarasu.config.redact import visible, without_users
    from yatagarasu.config.report import Problem

    positions = Positions(item.text)
    problems: list[Problem] = []
    for index, found in enumerate(trio.run(check_origins, item.config)):
        mark = "ok" if found.ok else "failed"
        elapsed = f"{found.elapsed_seconds * 1000:.0f} ms"
        said = f"{name}: {found.bucket} at {found.endpoint}: {mark}: {found.answer} ({elapsed})"
        _print(visible(without_users(said)), err=True)
        if not found.ok:
            kind = "s3" if item.config.buckets[index].s3 is not None else "directory"
            line, column = positions.key(("buckets", index, kind))
            key = f"buckets[{index}].{kind}"
            problems.append(Problem(name, line, column, "origin", f"{key}: {found.answer}", key=key))
    return problems
