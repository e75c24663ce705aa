"""Problems of config files, and how they are told: text for people, JSON, GitHub annotations, SARIF."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from yatagarasu import __version__


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: where (`line`, `column` from 1; `key` dotted), what is wrong, and what would be right.

    `code` is stable, for machines; `severity` is "error" or "warning".
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str | None = None
    severity: str = "error"
    key: str = ""


def render_text(problems: Sequence[Problem], texts: Mapping[str, str], *, colour: bool = False) -> str:
    """Each problem with its source line and a caret; `texts` maps file names to their content."""
    red, yellow, bold, off = ("\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m") if colour else ("", "", "", "")
    blocks: list[str] = []
    for problem in problems:
        tint = red if problem.severity == "error" else yellow
        lines = [
            f"{bold}{problem.file}:{problem.line}:{problem.column}:{off} "
            f"{tint}{problem.severity}{off}: {problem.message} [{problem.code}]"
        ]
        text = texts.get(problem.file, "")
        source = text.split("\n")  # not splitlines(): TOML knows no other line ends
        if text and 1 <= problem.line <= len(source):
            start = sum(len(line) + 1 for line in source[: problem.line - 1])
            gutter = f"{problem.line:>5} | "
            lines.append(gutter + _shown(text, start, start + len(source[problem.line - 1])).rstrip())
            before = _shown(text, start, start + problem.column - 1)
            lines.append(" " * (len(gutter) + len(before)) + f"{tint}^{off}")
        if problem.hint:
            lines.append(f"      = {problem.hint}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


# A key that holds a secret, and its value: a string of any kind, or an unfinished one up to its line's end.
_SECRET = re.compile(
    r"""\b(?:secret_key|session_token|token|access_key)["']?[ \t]*=[ \t]*
    (?P<value>
        "{3}(?:[^\\]|\\.)*?(?:"{3,5}|\Z) | '{3}.*?(?:'{3,5}|\Z) | "(?:[^"\\\n]|\\.)*"? | '[^'\n]*'? | [^\n,}\#]+
    )""",
    re.DOTALL | re.VERBOSE,
)
_INDIRECT = re.compile(r"""["']\$\{(?:[A-Za-z0-9_]+(?::-)?|file:[^}]*)\}["']""")


def _shown(text: str, start: int, stop: int) -> str:
    """Part of a source line as a terminal may show it: secrets are asterisks, and nothing moves the cursor."""
    pieces = []
    pos = start
    for match in _SECRET.finditer(text):
        first, last = max(match.start("value"), pos), min(match.end("value"), stop)
        if first < last and not _INDIRECT.fullmatch(match["value"]):
            pieces += [text[pos:first], "***"]
            pos = last
    pieces.append(text[pos:stop])
    return "".join(character if character.isprintable() else " " for character in "".join(pieces))


def render_json(problems: Sequence[Problem]) -> str:
    """An object with all problems."""
    errors = sum(problem.severity == "error" for problem in problems)
    return json.dumps(
        {"ok": errors == 0, "errors": errors, "problems": [asdict(problem) for problem in problems]}, indent=2
    )


def render_github(problems: Sequence[Problem]) -> str:
    """GitHub's workflow commands, which put annotations on a pull request."""

    def escape(text: str, *, is_property: bool = False) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return text.replace(":", "%3A").replace(",", "%2C") if is_property else text

    lines = []
    for problem in problems:
        text = problem.message + (f" ({problem.hint})" if problem.hint else "")
        lines.append(
            f"::{problem.severity} file={escape(problem.file, is_property=True)},line={problem.line},"
            f"col={problem.column},title={escape(problem.code, is_property=True)}::{escape(text)}"
        )
    return "\n".join(lines)


def render_sarif(problems: Sequence[Problem]) -> str:
    """SARIF 2.1.0, which code scanners take in."""
    results: list[dict[str, Any]] = [
        {
            "ruleId": problem.code,
            "level": problem.severity,
            "message": {"text": problem.message + (f". {problem.hint}" if problem.hint else "")},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(problem.file)},
                        "region": {"startLine": problem.line, "startColumn": problem.column},
                    }
                }
            ],
        }
        for problem in problems
    ]
    rules = [{"id": code} for code in sorted({problem.code for problem in problems})]
    driver = {"name": "yatagarasu", "version": __version__, "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2)
