"""Problems of config files, and how they are told: text for people, JSON, GitHub annotations, SARIF."""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote

from yatagarasu import __version__
from yatagarasu.config.redact import secret_spans, visible, without_users


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


# A longer source line is shown around the column, a longer message up to there.
_WIDEST_LINE = 240
_LONGEST_TEXT = 2000


class _Source:
    """A file's lines as a terminal may show them: secrets are asterisks, and nothing moves the cursor."""

    def __init__(self, text: str, *, is_toml: bool) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]  # TOML knows no other line ends
        self._spans = secret_spans(text, is_toml=is_toml)

    def line(self, number: int, column: int) -> tuple[str, int] | None:
        """A line, both counted from 1, and how many characters stand before the column; None beyond the text."""
        if not self._text or not 1 <= number <= len(self._starts):
            return None
        start = first = self._starts[number - 1]
        stop = self._text.find("\n", start)
        stop = last = len(self._text) if stop < 0 else stop
        at = start + column - 1
        if stop - start > _WIDEST_LINE:
            first, last = max(start, at - _WIDEST_LINE // 2), min(stop, at + _WIDEST_LINE // 2)
        left, right = "..." if first > start else "", "..." if last < stop else ""
        return (left + self._shown(first, last)).rstrip() + right, len(left + self._shown(first, at))

    def _shown(self, start: int, stop: int) -> str:
        pieces: list[str] = []
        pos = start
        for first, last in self._spans[max(0, bisect_right(self._spans, (start,)) - 1) :]:
            if first >= stop:
                break
            if last > pos:
                pieces += [self._plain(pos, max(first, pos)), "***"]
                pos = last
        pieces.append(self._plain(pos, stop))
        return "".join(pieces)

    def _plain(self, start: int, stop: int) -> str:
        text = self._text[start:stop]
        if self._text.startswith("\n", stop) and text.endswith("\r"):
            text = text[:-1]
        return visible(text.replace("\t", " "))


def _told(problem: Problem, *, keep: str = "") -> Problem:
    """The problem as it may be printed: a message may repeat what is in the file, its name or its keys."""
    return replace(
        problem,
        file=visible(problem.file, keep=keep),
        message=_cut(visible(without_users(problem.message), keep=keep)),
        hint=None if problem.hint is None else _cut(visible(without_users(problem.hint), keep=keep)),
        key=_cut(visible(without_users(problem.key))),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def render_text(problems: Sequence[Problem], texts: Mapping[str, str], *, colour: bool = False) -> str:
    """Each problem with its source line and a caret; `texts` maps file names to their content."""
    red, yellow, bold, off = ("\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m") if colour else ("", "", "", "")
    broken = {problem.file for problem in problems if problem.code == "syntax"}
    sources = {
        name: _Source(texts.get(name, ""), is_toml=name not in broken)
        for name in {problem.file for problem in problems}
    }
    blocks: list[str] = []
    for problem in problems:
        told = _told(problem)
        tint = red if problem.severity == "error" else yellow
        lines = [
            f"{bold}{told.file}:{problem.line}:{problem.column}:{off} "
            f"{tint}{problem.severity}{off}: {told.message} [{problem.code}]"
        ]
        line = sources[problem.file].line(problem.line, problem.column)
        if line is not None:
            shown, before = line
            gutter = f"{problem.line:>5} | "
            lines.append(gutter + shown)
            lines.append(" " * (len(gutter) + before) + f"{tint}^{off}")
        if told.hint:
            lines.append(f"      = {told.hint}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def render_json(problems: Sequence[Problem]) -> str:
    """An object with all problems."""
    errors = sum(problem.severity == "error" for problem in problems)
    return json.dumps(
        {"ok": errors == 0, "errors": errors, "problems": [asdict(_told(problem)) for problem in problems]}, indent=2
    )


def render_github(problems: Sequence[Problem]) -> str:
    """GitHub's workflow commands, which put annotations on a pull request."""

    def escape(text: str, *, is_property: bool = False) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return text.replace(":", "%3A").replace(",", "%2C") if is_property else text

    lines = []
    for problem in (_told(problem, keep="\r\n") for problem in problems):
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
            "message": {"text": told.message + (f". {told.hint}" if told.hint else "")},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(problem.file.encode("utf-8", "surrogateescape"))},
                        "region": {"startLine": problem.line, "startColumn": problem.column},
                    }
                }
            ],
        }
        for problem, told in ((problem, _told(problem)) for problem in problems)
    ]
    rules = [{"id": code} for code in sorted({problem.code for problem in problems})]
    driver = {"name": "yatagarasu", "version": __version__, "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2)
