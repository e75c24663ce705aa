"""The access log: one line a request, formatted and written in batches.

A request appends a tuple; everything else happens later. What a client sent is escaped, so that no line can
be forged, and signatures in a target are struck out: a pre-signed URL in a log is a key for whoever reads it.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted

import trio

from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers
from yatagarasu.observe.scrub import strike_signatures

# Lines held while nobody takes them; beyond it they are dropped and counted.
_MAX_PENDING = 100_000
_FLUSH_SECONDS = 0.2
# Lines formatted in one go, about 1 ms: as long as a request may have to wait for its log.
_FLUSH_AT = 512

_SHORT = 256

_GREEN, _YELLOW, _RED = "32", "33", "31"

# Epoch seconds, request id, client, method, raw target, bucket, object key, status, body bytes, seconds,
# cache outcome, request fields, cause.
Line = tuple[float, str, str, str, str, str, str, int, int, float, str, Headers, str]


def _stamp(tick: int) -> str:
    """RFC 3339 of epoch milliseconds."""
    second, millisecond = divmod(tick, 1000)
    date = format_http_date(second)
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(date[8:11]) // 3 + 1
    return f"{date[12:16]}-{month:02d}-{date[5:7]}T{date[17:25]}.{millisecond:03d}Z"


# Popular objects are asked for again and again: what a line says about them is put together once.
# Not the long ones: 4,096 targets of 8 KiB, escaped, would be a tenth of a gigabyte for whoever sends them.
@lru_cache(maxsize=4096)
def _asked_short(method: str, target: str, bucket: str, key: str) -> str:
    return _asked_long(method, target, bucket, key)


def _asked_long(method: str, target: str, bucket: str, key: str) -> str:
    return (
        f',"method":{_quoted(method)},"target":{_quoted(strike_signatures(target))},'
        f'"bucket":{_quoted(bucket)},"key":{_quoted(key)},"status":'
    )


def _agent(headers: Headers) -> str:
    text = f'","user_agent":{_quoted(headers.get("user-agent", ""))}'
    referer = headers.get("referer")
    return text if referer is None else f'{text},"referer":{_quoted(strike_signatures(referer))}'


def _json(lines: Iterable[Line]) -> str:
    parts: list[str] = []
    # By identity: a keep-alive client's fields are one object, and `lines` keeps each alive meanwhile.
    agents: dict[int, str] = {}
    # Under load many lines share a millisecond.
    last, stamp = -1, ""
    for now, request_id, peer, method, target, bucket, key, status, size, seconds, outcome, headers, cause in lines:
        tick = int(now * 1000)
        if tick != last:
            last, stamp = tick, _stamp(tick)
        agent = agents.get(id(headers))
        if agent is None:
            agent = agents[id(headers)] = _agent(headers)
        asked = _asked_short if len(target) <= _SHORT else _asked_long
        why = f',"cause":{_quoted(strike_signatures(cause))}' if cause else ""
        parts.append(
            f'{{"time":"{stamp}","request_id":{_quoted(request_id)},'
            f'"client":{_quoted(peer)}{asked(method, target, bucket, key)}{status},"bytes":{size},'
            f'"seconds":{seconds:.6f},"cache":"{outcome}{agent}{why}}}\n'
        )
    return "".join(parts)


def _console(lines: Iterable[Line], colours: bool = False) -> str:
    parts: list[str] = []
    for now, request_id, peer, method, target, _, _, status, size, seconds, outcome, _, cause in lines:
        shown = _quoted(f"{method} {strike_signatures(target)}")[1:-1]
        who = _quoted(f"{peer} {request_id}")[1:-1]
        why = f"  {_quoted(strike_signatures(cause))}" if cause else ""
        word = str(status or "cut")
        if colours:
            colour = _GREEN if 0 < status < 400 else _YELLOW if 400 <= status < 500 else _RED
            word = f"\x1b[{colour}m{word}\x1b[0m"
        when = _stamp(int(now * 1000))
        parts.append(f"{when} {word} {outcome:<11} {size:>10} B {seconds * 1000:>9.2f} ms  {shown}  {who}{why}\n")
    return "".join(parts)


def _console_in_colour(lines: Iterable[Line]) -> str:
    return _console(lines, colours=True)


class AccessLog:
    """Collects lines and writes them.

    Args:
        write: takes a batch and says how many bytes of it, None for all; it neither waits nor raises.
        format: "json" or "console".
        enabled: False records nothing.
        colours: statuses in colour, console only; for a `write` that ends on a terminal.

    Attributes:
        dropped: lines lost since the start because nobody took them in time.
    """

    __slots__ = ("_format", "_pending", "_unwritten", "_write", "dropped", "enabled")

    def __init__(
        self,
        write: Callable[[bytes], int | None],
        *,
        format: str = "json",
        enabled: bool = True,
        colours: bool = False,
    ) -> None:
        self._write = write
        self._format: Callable[[Iterable[Line]], str] = _json
        if format == "console":
            self._format = _console_in_colour if colours else _console
        self._pending: list[Line] = []
        self._unwritten = b""
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
            (now, request_id, peer, method, target, bucket, key, status, size, seconds, outcome, headers, cause)
        )

    def flush(self) -> None:
        """Format and write what has collected, as far as it is taken."""
        while self._write_some(_FLUSH_AT):
            continue

    def _write_some(self, count: int) -> bool:
        """Write so many lines, after what is left of those before; whether there may be more to do."""
        data = self._unwritten
        if not data and self._pending:
            lines, self._pending = self._pending[:count], self._pending[count:]
            data = self._format(lines).encode("ascii", "backslashreplace")
        if not data:
            return False
        taken = self._write(data)
        self._unwritten = b"" if taken is None else data[taken:]
        return not self._unwritten

    async def run(self) -> None:
        """Flush five times a second until cancelled, and once more then."""
        try:
            while True:
                await trio.sleep(_FLUSH_SECONDS)
                while self._write_some(_FLUSH_AT):
                    await trio.lowlevel.checkpoint()
        finally:
            self.flush()
