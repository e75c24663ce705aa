"""`${NAME}`, `${NAME:-default}` and `${file:PATH}` in the strings of a document that has been read."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel

from yatagarasu.config.model import Config
from yatagarasu.config.positions import Path, Positions, dotted
from yatagarasu.config.report import Problem
from yatagarasu.units import MIB, format_size

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?:file:(?P<file>[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?)\}|(?P<bad>\{[^}]*\}?))"
)
# A secret is a line; the bound is there for /dev/zero.
_LARGEST_FILE = MIB


class Interpolation:
    """Replaces `${...}` in every string of a document; what cannot be is a problem, and its path is `failed`.

    Args:
        name: stands for the file in problems.
        environ: where `${NAME}` is looked up.
        base: folder that relative `${file:...}` paths start from.
        positions: where the document's values stand.
        problems: takes what is wrong.
    """

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

    def table(self, data: dict[str, Any], path: Path = ()) -> dict[str, Any]:
        """The table with variables replaced; `path` is its own."""
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
            return self._utf8(value, f"the environment variable {match['name']}", path)

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
            with (self._base / name).open("rb") as file:
                content = file.read(_LARGEST_FILE + 1)
            if len(content) > _LARGEST_FILE:
                raise ValueError(f"larger than {format_size(_LARGEST_FILE)}")
            return content.decode().strip()
        except OSError as exc:
            reason = exc.strerror or str(exc)
        except UnicodeDecodeError:
            reason = "not UTF-8"
        except ValueError as exc:  # a path with a NUL character, too
            reason = str(exc)
        self._fail(path, "missing-file", f"cannot read {name}: {reason}", None)
        return ""

    def _utf8(self, value: str, source: str, path: Path) -> str:
        """The value, if what it was decoded from was UTF-8: what was not can be sent nowhere."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self._fail(path, "bad-variable", f"{source} is not UTF-8", None)
            return ""
        return value

    def _fail(self, path: Path, code: str, message: str, hint: str | None) -> None:
        self.failed.append(path)
        line, column = self._positions.value(path)
        key = dotted(path)
        self._problems.append(Problem(self._name, line, column, code, f"{key}: {message}", hint, key=key))


def model_at(path: Path) -> type[BaseModel] | None:
    """The model of the table at `path`; None where there is none."""
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
    model = model_at(path[:-1])
    field_info = model.model_fields.get(str(path[-1])) if model is not None else None
    return field_info is not None and (field_info.annotation is kind or kind in get_args(field_info.annotation))
