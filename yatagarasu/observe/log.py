"""The error log: events with fields on stderr, as JSON or for a terminal; no secret gets through it."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO

from yatagarasu.errors import YatagarasuError, describe

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
# What may carry a signature or a token wherever it turns up in a text.
_SIGNATURES = re.compile(
    r"((?:X-Amz-Signature|X-Amz-Security-Token|Signature|AWSAccessKeyId)=)[^&\s,;\"']+"
    r"|((?:authorization|x-amz-security-token|cookie):\s*)[^\r\n\"]+",
    re.IGNORECASE,
)


class Scrubber:
    """Replaces secrets in a text: those it was given, and whatever looks like a signature or a token."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def scrub(self, text: str) -> str:
        """The text with *** for each secret."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return _SIGNATURES.sub(lambda match: f"{match[1] or match[2]}***", text)


class Log:
    """Writes events.

    Args:
        level: the least that is written: debug, info, warning or error.
        format: "json" or "console".
        stream: a text stream, stderr if None; a broken one is ignored.
        clock: epoch seconds.
    """

    def __init__(
        self,
        *,
        level: str = "info",
        format: str = "json",
        stream: IO[str] | None = None,
        scrubber: Scrubber | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._level = LEVELS[level]
        self._is_json = format == "json"
        self._stream = stream
        self._scrubber = scrubber or Scrubber()
        self._clock = clock

    def debug(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Write at level debug; `exc` adds its context and the chain of its causes."""
        self._write("debug", event, exc, fields)

    def info(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Write at level info."""
        self._write("info", event, exc, fields)

    def warning(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Write at level warning."""
        self._write("warning", event, exc, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Write at level error."""
        self._write("error", event, exc, fields)

    def _write(self, level: str, event: str, exc: BaseException | None, fields: dict[str, object]) -> None:
        if LEVELS[level] < self._level:
            return
        if exc is not None:
            context = exc.context if isinstance(exc, YatagarasuError) else {}
            fields = {**context, **fields, "cause": describe(exc)}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        if self._is_json:
            record = {"time": stamp, "level": level, "event": event, **fields}
            line = self._scrubber.scrub(json.dumps(record, default=str))
        else:
            text = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
            line = self._scrubber.scrub(f"{stamp} {level:<7} {event} {text}".rstrip())
        stream = self._stream or sys.stderr
        if not self._is_json and stream.isatty():
            line = f"\x1b[{_COLOURS[level]}m{line}\x1b[0m"
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            return  # Nobody reads any more; that is no reason to stop serving.


def _shown(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[!#-~]+", text) else json.dumps(text)
