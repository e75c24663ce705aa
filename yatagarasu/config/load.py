"""Load a config file: TOML, then `${...}`, then the model, then what keys mean together.

Every problem is collected, each with its place; nothing is raised for what an operator wrote.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, get_args

import tomli
from pydantic import BaseModel, ValidationError

from yatagarasu.config.check import check
from yatagarasu.config.model import Config
from yatagarasu.config.positions import Path, Positions, dotted
from yatagarasu.config.report import Problem

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?:file:(?P<file>[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?)\}|(?P<bad>\{[^}]*\}?))"
)
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
    """Load a file; one that cannot be read is a problem like any other."""
    name = str(path)
    try:
        content = path.read_bytes()
    except OSError as exc:
        return Loaded("", None, [Problem(name, 1, 1, "unreadable", f"cannot read {name}: {exc.strerror}")])
    return load(name, content, environ, base=path.resolve().parent)


def load(name: str, content: bytes | str, environ: Mapping[str, str], *, base: FilePath) -> Loaded:
    """Load what a file holds.

    Args:
        name: stands for the file in problems.
        content: TOML; bytes must be UTF-8.
        environ: where `${NAME}` is looked up.
        base: folder that relative `${file:...}` paths start from.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        problem = Problem(name, line, column, "syntax", f"not UTF-8: byte 0x{exc.object[exc.start]:02x}")
        return Loaded(exc.object.decode(errors="replace"), None, [problem])
    loaded = Loaded(text)
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        loaded.problems.append(_syntax(name, text, str(exc)))
        return loaded
    except RecursionError:
        loaded.problems.append(Problem(name, 1, 1, "syntax", "not TOML: nested too deeply"))
        return loaded
    positions = Positions(text)
    reader = _Interpolation(name, environ, base, positions, loaded.problems)
    data = reader.table(data, ())
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
    return loaded


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


def _syntax(name: str, text: str, message: str) -> Problem:
    match = _WHERE.search(message)
    if match is not None and match[1]:
        line, column = int(match[1]), int(match[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    what = _WHERE.sub("", message).strip()
    return Problem(name, line, column, "syntax", f"not TOML: {what}")


class _Interpolation:
    """Replaces `${...}` in every string of a document."""

    def __init__(
        self,
        name: str,
        environ: Mapping[str, str],
        base: FilePath,
        positions: Positions,
        problems: list[Problem],
    ) -> None:
        self._name = name
        self._environ = environ
        self._base = base
        self._positions = positions
        self._problems = problems
        self.failed: list[Path] = []

    def table(self, data: dict[str, Any], path: Path) -> dict[str, Any]:
        return {key: self._value(value, (*path, key)) for key, value in data.items()}

    def _value(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return self.table(value, path)
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value:
            return self._text(value, path)
        return value

    def _text(self, text: str, path: Path) -> Any:
        def replace(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "$"
            if match["bad"]:
                self._fail(
                    path,
                    "bad-variable",
                    "${ begins no variable",
                    "write ${NAME}, ${NAME:-default} or ${file:PATH}",
                )
                return ""
            if match["file"]:
                return self._file(match["file"], path)
            value = self._environ.get(match["name"])
            if value is None or (value == "" and match["default"] is not None):
                if match["default"] is None:
                    self._fail(
                        path,
                        "missing-variable",
                        f"the environment variable {match['name']} is not set",
                        f"set it, or give a default: ${{{match['name']}:-...}}",
                    )
                    return ""
                return match["default"]
            return value

        replaced = _VARIABLE.sub(replace, text)
        if replaced == text or not _VARIABLE.fullmatch(text):
            return replaced
        # A value that is nothing but a variable may stand for a number or a flag.
        if replaced.lower() in ("true", "false") and _wants(path, bool):
            return replaced.lower() == "true"
        for kind in (int, float):
            if _wants(path, kind):
                with suppress(ValueError):
                    return kind(replaced)
        return replaced

    def _file(self, name: str, path: Path) -> str:
        try:
            return (self._base / name).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
            self._fail(path, "missing-file", f"cannot read {name}: {reason}", None)
            return ""

    def _fail(self, path: Path, code: str, message: str, hint: str | None) -> None:
        self.failed.append(path)
        line, column = self._positions.value(path)
        key = dotted(path)
        self._problems.append(Problem(self._name, line, column, code, f"{key}: {message}", hint, key=key))


def _model_at(path: Path) -> type[BaseModel] | None:
    """The model of the table at `path`."""
    model: type[BaseModel] = Config
    for part in path:
        if isinstance(part, int):
            continue
        field_info = model.model_fields.get(part)
        if field_info is None:
            return None
        found = _model_in(field_info.annotation)
        if found is None:
            return None
        model = found
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _wants(path: Path, kind: type) -> bool:
    model = _model_at(path[:-1])
    field_info = model.model_fields.get(str(path[-1])) if model is not None else None
    return field_info is not None and (field_info.annotation is kind or kind in get_args(field_info.annotation))


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
        model = _model_at(path[:-1])
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
        close = get_close_matches(str(error.get("input")), re.findall(r"'([^']*)'", str(context.get("expected"))), n=1)
        hint = f"did you mean {close[0]!r}?" if close else None
    elif kind in _EXPECTED:
        message, code = f"must be {_EXPECTED[kind]}, not {_type_name(error.get('input'))}", "wrong-type"
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
