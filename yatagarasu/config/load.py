"""Load a config file: TOML, then `${...}`, then the model, then what keys mean together.

Every problem is collected, each with its place; nothing is raised for what an operator wrote.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import isnan
from pathlib import Path as FilePath
from typing import Any

import tomli
from pydantic import ValidationError

from yatagarasu.config.check import check
from yatagarasu.config.interpolate import Interpolation, model_at
from yatagarasu.config.model import Config
from yatagarasu.config.positions import Path, Positions, dotted
from yatagarasu.config.redact import secrets_in, without
from yatagarasu.config.report import Problem
from yatagarasu.units import MIB, format_size

# Thousands of buckets; the bound is there for /dev/zero.
LARGEST_FILE = 4 * MIB

_WHERE = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")


@dataclass(slots=True)
class Loaded:
    """What a file turned out to be: a config unless there are errors, and the problems."""

    text: str
    config: Config | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether any problem is an error."""
        return any(problem.severity == "error" for problem in self.problems)


def load_file(path: FilePath, environ: Mapping[str, str]) -> Loaded:
    """Load a file; one that cannot be read is a problem like any other.

    Relative `${file:...}` paths start from its folder; from the working directory where it is a pipe or a device.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            base = path.resolve().parent if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else FilePath()
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError, RuntimeError) as exc:  # ValueError: a NUL character; RuntimeError: links in a circle
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        return Loaded("", None, [Problem(name, 1, 1, "unreadable", f"cannot read {name}: {reason}")])
    return load(name, content, environ, base=base)


def load(name: str, content: bytes | str, environ: Mapping[str, str], *, base: FilePath) -> Loaded:
    """Load what a file holds. Nothing is raised, whatever that is.

    Args:
        name: stands for the file in problems.
        content: TOML; bytes must be UTF-8, at most LARGEST_FILE of them. A byte order mark before it is ignored.
        environ: where `${NAME}` is looked up.
        base: folder that relative `${file:...}` paths start from.
    """
    if len(content) > LARGEST_FILE:
        message = f"cannot read {name}: larger than {format_size(LARGEST_FILE)}"
        return Loaded("", None, [Problem(name, 1, 1, "unreadable", message)])
    try:
        text = (content if isinstance(content, str) else content.decode()).removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        return Loaded(exc.object.decode(errors="replace"), None, [_not_utf8(name, exc)])
    loaded = Loaded(text)
    positions = Positions(text)
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        loaded.problems.append(_syntax(name, text, str(exc)))
        return loaded
    except RecursionError:
        loaded.problems.append(_too_deep(name, positions))
        return loaded
    except ValueError:
        line, column = positions.long_number or (1, 1)
        loaded.problems.append(Problem(name, line, column, "syntax", "not TOML: a number has too many digits"))
        return loaded
    if positions.too_deep is not None:
        loaded.problems.append(_too_deep(name, positions))
        return loaded
    reader = Interpolation(name, environ, base, positions, loaded.problems)
    data = reader.table(data)
    secrets = secrets_in(data)
    try:
        config = Config.model_validate(data)
    except ValidationError as exc:
        bad: list[Path] = []
        for error in exc.errors(include_url=False):
            bad.append(error["loc"])
            if not any(error["loc"][: len(path)] == path for path in reader.failed):
                loaded.problems.append(_problem(name, positions, dict(error)))
        rest = _without(data, bad)
        if rest is not None:
            loaded.problems.extend(check(name, rest, positions, without=[*reader.failed, *bad]))
    else:
        loaded.problems.extend(check(name, config, positions, without=reader.failed))
        if not loaded.has_errors:
            loaded.config = config
    loaded.problems.sort(key=lambda problem: (problem.line, problem.column))
    loaded.problems[:] = [_discreet(problem, secrets) for problem in loaded.problems]
    return loaded


def _discreet(problem: Problem, secrets: Sequence[str]) -> Problem:
    """The problem without secrets, should somebody have put one into another key, too."""
    hint = problem.hint and without(problem.hint, secrets)
    return replace(problem, message=without(problem.message, secrets), hint=hint)


def _without(data: dict[str, Any], bad: Sequence[Path]) -> Config | None:
    """The config that is left without its bad keys, so that every problem is told at once, not layer after layer.

    None where a required key is bad or missing: what the rest of its table means cannot be told.
    """
    for path in bad:
        # A bad item of an array takes the array with it, so that the other paths stay true.
        *tables, key = path[: max(index for index, part in enumerate(path) if isinstance(part, str)) + 1]
        with suppress(KeyError, IndexError, TypeError, AttributeError):  # gone already, or it is missing
            table: Any = data
            for part in tables:
                table = table[part]
            table.pop(key, None)
    try:
        return Config.model_validate(data)
    except ValidationError:
        return None


def _not_utf8(name: str, exc: UnicodeDecodeError) -> Problem:
    before = exc.object[: exc.start]
    line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
    message = f"not UTF-8: byte 0x{exc.object[exc.start]:02x}"
    is_utf16 = exc.object.startswith((b"\xff\xfe", b"\xfe\xff"))
    hint = "this is UTF-16: save it as UTF-8" if is_utf16 else None
    return Problem(name, line, column, "syntax", message, hint)


def _too_deep(name: str, positions: Positions) -> Problem:
    line, column = positions.too_deep or (1, 1)
    return Problem(name, line, column, "syntax", "nested too deeply: no key of a config is")


def _syntax(name: str, text: str, message: str) -> Problem:
    match = _WHERE.search(message)
    if match is not None and match[1]:
        line, column = int(match[1]), int(match[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    what = _WHERE.sub("", message).strip()
    return Problem(name, line, column, "syntax", f"not TOML: {what}")


_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string in quotes",
    "list_type": "an array",
    "size_type": 'a size such as "64KiB"',
    "duration_type": 'a duration such as "250ms"',
    "model_type": "a table",
    "dict_type": "a table",
}


def _problem(name: str, positions: Positions, error: dict[str, Any]) -> Problem:
    """One of pydantic's errors in our words."""
    path: Path = error["loc"]
    kind, context = error["type"], error.get("ctx", {})
    key = dotted(path)
    line, column = positions.value(path)
    message, hint, code = error["msg"], None, "bad-value"
    if kind == "extra_forbidden":
        line, column = positions.key(path)
        model = model_at(path[:-1])
        known = list(model.model_fields) if model is not None else []
        close = get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
        message, code = f"unknown key {path[-1]!r}", "unknown-key"
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    elif kind == "missing":
        message, code = f"the key {path[-1]!r} is missing", "missing-key"
        line, column = positions.key(path[:-1]) if len(path) > 1 else (1, 1)
    elif kind in ("bad_unit", "bad_value"):
        code = kind.replace("_", "-")
    elif kind == "literal_error":
        message, code = f"must be one of {context.get('expected')}", "bad-value"
        given = error.get("input")
        choices = re.findall(r"'([^']*)'", str(context.get("expected")))
        close = get_close_matches(given, choices, n=1) if isinstance(given, str) else []
        hint = f"did you mean {close[0]!r}?" if close else None
    elif kind == "float_type" and type(error.get("input")) is int:
        message = "is beyond every number we take"
    elif kind == "string_unicode":
        message = "must be text"
    elif kind in _EXPECTED:
        message, code = f"must be {_EXPECTED[kind]}, not {_type_name(error.get('input'))}", "wrong-type"
    elif isinstance(error.get("input"), float) and isnan(error["input"]):
        message = "must be a number, not nan"
    elif kind.startswith("greater_than"):
        message = f"must be at least {context.get('ge', context.get('gt'))}"
    elif kind.startswith("less_than"):
        message = f"must be at most {context.get('le', context.get('lt'))}"
    elif kind in ("too_short", "string_too_short"):
        message = "must not be empty"
    return Problem(name, line, column, code, f"{key}: {message}" if key else message, hint, key=key)


def _type_name(value: Any) -> str:
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "a table" if isinstance(value, dict) else "a date or time")
