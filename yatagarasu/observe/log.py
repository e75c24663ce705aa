"""The error log: events with fields on stderr, as JSON or for a terminal; no secret gets through it."""

import json
import math
import re
import sys
import time
from collections.abc import Callable
from typing import IO

from yatagarasu.errors import YatagarasuError, describe
from yatagarasu.observe.scrub import Scrubber as Scrubber
from yatagarasu.observe.sink import Sink

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_BARE = re.compile(r"[!#-<>-~]+")
_SECRET_FIELDS = frozenset(("authorization", "cookie", "password", "secret", "secret_key", "session_token", "token"))
# Keys that `rate_limited` remembers; they are event names, so a program has a few dozen.
_MAX_KEYS = 1024


class Log:
    """Writes events.

    Args:
        level: the least that is written: debug, info, warning or error.
        format: "json" or "console".
        stream: a text stream, stderr if None; a broken one is ignored, and nobody waits for one that is stuck.
        scrubber: what every text passes through on its way out.
        clock: epoch seconds.

    Attributes:
        dropped: events lost since the start because nobody took them.
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
        self.scrubber = scrubber or Scrubber()
        self._clock = clock
        self._last: dict[str, float] = {}
        self._sinks: dict[int, Sink] = {}
        self._unwritten = b""
        self.dropped = 0

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

    def rate_limited(self, key: str, seconds: float) -> bool:
        """Whether `key` has had its turn within the last `seconds`; if not, this is its turn.

        `if not log.rate_limited("accept", 1.0): log.error("accept_failed", …)`
        """
        now = self._clock()
        # A wall clock that was set back must not silence anything.
        if 0 <= now - self._last.get(key, -math.inf) < seconds:
            return True
        if len(self._last) >= _MAX_KEYS:
            self._last.clear()
        self._last[key] = now
        return False

    def _write(self, level: str, event: str, exc: BaseException | None, fields: dict[str, object]) -> None:
        if LEVELS[level] < self._level:
            return
        if exc is not None:
            context = exc.context if isinstance(exc, YatagarasuError) else {}
            fields = {**context, **fields, "cause": describe(exc)}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        # Scrubbed before it is encoded: afterwards a secret may be spelt differently, and a cut could break
        # the line's syntax.
        clean = {name: self._clean(name, value) for name, value in fields.items()}
        if self._is_json:
            # The first three are the line's own, whatever an error's context is called.
            line = json.dumps({"time": stamp, "level": level, "event": event} | _apart(clean))
        else:
            line = f"{stamp} {level:<7} {event}" + "".join(f" {key}={_shown(value)}" for key, value in clean.items())
        try:
            stream = self._stream or sys.stderr
            if not self._is_json and stream.isatty():
                line = f"\x1b[{_COLOURS[level]}m{line}\x1b[0m"
            self._put(stream, line + "\n")
        except (OSError, ValueError, AttributeError):
            return  # Nobody reads any more, or there is no stderr; that is no reason to stop serving.

    def _put(self, stream: IO[str], line: str) -> None:
        try:
            fd = stream.fileno()
        except (AttributeError, OSError):
            stream.write(line)
            stream.flush()
            return
        sink = self._sinks.get(fd)
        if sink is None:
            sink = self._sinks[fd] = Sink(fd)
        if self._unwritten:
            self._unwritten = self._unwritten[sink.write(self._unwritten) :]
        if self._unwritten or not sink.is_ready():
            self.dropped += 1
            return
        data = line.encode("utf-8", "backslashreplace")
        self._unwritten = data[sink.write(data) :]

    def _clean(self, name: str, value: object) -> object:
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, (list, tuple)):
            return [self._clean(name, item) for item in value]
        return "***" if name.lower() in _SECRET_FIELDS else self.scrubber.scrub(str(value))


def _apart(fields: dict[str, object]) -> dict[str, object]:
    return {(f"{name}_" if name in ("time", "level", "event") else name): value for name, value in fields.items()}


def _shown(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
