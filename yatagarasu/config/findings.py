"""What a check has found about a key, before it is known where that stands in the file."""

from typing import NamedTuple

from yatagarasu.config.positions import Path


class Finding(NamedTuple):
    """One finding; the fields are those of a `Problem`."""

    path: Path
    code: str
    message: str
    hint: str | None
    severity: str


def error(path: Path, code: str, message: str, hint: str | None = None) -> Finding:
    """A finding that the config cannot be served with."""
    return Finding(path, code, message, hint, "error")


def warning(path: Path, code: str, message: str, hint: str | None = None) -> Finding:
    """A finding that is likely not what was meant."""
    return Finding(path, code, message, hint, "warning")
