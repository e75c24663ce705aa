"""The access log: one line a request, formatted and written in batches.

A request appends a tuple; everything else happens later. What a client sent is escaped, so that no line can
be forged.
"""

import json
from collections.abc import Callable
from functools import lru_cache

import trio

from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers

# Lines held while nobody takes them; beyond it they are dropped and counted.
_MAX_PENDING = 100_000
_FLUSH_SECONDS = 0.2
_FLUSH_AT = 2_000

Line = tuple[float, str, str, str, str, str, str, int, int, float, str, Headers, str]


@lru_cache(maxsize=8192)
def _quoted(text: str) -> str:
    """Text as a JSON string. ASCII only, so control characters and lone bytes cannot get out."""
    return json.dumps(text)


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    date = format_http_date(second)
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(date[8:11]) // 3 + 1
    return f"{date[12:16]}-{month:02d}-{date[5:7]}T{date[17:25]}"


def _json(line: Line) -> str:
    now, request_id, peer, method, target, bucket, key, status, size, seconds, outcome, headers, cause = line
    second = int(now)
    text = (
        f'{{"time":"{_second(second)}.{int((now - second) * 1000):03d}Z","request_id":"{request_id}",'
        f'"client":"{peer}","method":{_quoted(method)},"target":{_quoted(target)},"bucket":{_quoted(bucket)},'
        f'"key":{_quoted(key)},"status":{status},"bytes":{size},"seconds":{seconds:.6f},"cache":"{outcome}",'
        f'"user_agent":{_quoted(headers.get("user-agent", ""))}'
    )
    referer = headers.get("referer")
    if referer is not None:
        text += f',"referer":{_quoted(referer)}'
    if cause:
        text += f',"cause":{_quoted(cause)}'
    return text + "}\n"


def _console(line: Line) -> str:
    now, request_id, peer, method, target, _, _, status, size, seconds, outcome, _, cause = line
    why = f"  {_quoted(cause)}" if cause else ""
    shown = _quoted(f"{method} {target}")[1:-1]
    return (
        f"{_second(int(now))}Z {status or 'cut'} {outcome:<11} {size:>10} B {seconds * 1000:>9.2f} ms  "
        f"{shown}  {peer} {request_id}{why}\n"
    )


class AccessLog:
    """Collects lines and writes them.

    Args:
        write: takes a batch; must not raise.
        format: "json" or "console".
        enabled: False records nothing.
    """

    __slots__ = ("_format", "_pending", "_write", "dropped", "enabled")

    def __init__(self, write: Callable[[bytes], None], *, format: str = "json", enabled: bool = True) -> None:
        self._write = write
        self._format = _console if format == "console" else _json
        self._pending: list[Line] = []
        self.enabled = enabled
        self.dropped = 0

    def record(
        self,
        now: float,
        request_id: str,
        peer: str,
        method: str,
        target: str,
        bucket: str,
        key: str,
        status: int,
        size: int,
        seconds: float,
        outcome: str,
        headers: Headers,
        cause: str,
    ) -> None:
        """Note one request: epoch seconds, who, what, status, body bytes, duration, cache outcome, why it failed."""
        if not self.enabled:
            return
        pending = self._pending
        if len(pending) >= _MAX_PENDING:
            self.dropped += 1
            return
        pending.append(
            (
                now,
                request_id,
                peer,
                method,
                target,
                bucket,
                key,
                status,
                size,
                seconds,
                outcome,
                headers,
                cause,
            )
        )

    def flush(self) -> None:
        """Format and write what has collected."""
        if not self._pending:
            return
        lines, self._pending = self._pending, []
        self._write("".join(map(self._format, lines)).encode("ascii", "backslashreplace"))

    async def run(self) -> None:
        """Flush five times a second until cancelled, and once more then."""
        try:
            while True:
                await trio.sleep(_FLUSH_SECONDS)
                while self._pending:
                    batch, self._pending = self._pending[:_FLUSH_AT], self._pending[_FLUSH_AT:]
                    self._write("".join(map(self._format, batch)).encode("ascii", "backslashreplace"))
                    await trio.lowlevel.checkpoint()
        finally:
            self.flush()
