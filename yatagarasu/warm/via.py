"""Warming through a proxy: items as a client's requests to it, ours or any other."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from yatagarasu import __version__
from yatagarasu.errors import ConfigError, YatagarasuError
from yatagarasu.http.dates import parse_http_date
from yatagarasu.http.headers import Headers
from yatagarasu.http.numbers import parse_count
from yatagarasu.http.wire import encode_request
from yatagarasu.origin.transport import OriginTransport
from yatagarasu.warm.filters import Filters
from yatagarasu.warm.inside import failure
from yatagarasu.warm.item import Item
from yatagarasu.warm.outcome import Kind, Outcome, Part
from yatagarasu.warm.places import Finds, NoPlace

# RFC 9211, section 2: a cache says `hit`, or `fwd` with why it asked somebody else. Ours comes last, nearest to us.
_HIT = re.compile(r";\s*hit\b")
_FORWARDED = re.compile(r";\s*fwd=([A-Za-z-]+)")
# What X-Cache says of what was there: ours, nginx's $upstream_cache_status, Varnish's and CloudFront's habits.
_PRESENT = ("HIT", "STALE", "UPDATING", "REVALIDATED")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a proxy is: for "unix" the host is a path. `path` has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """What its Host field says."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address of a URL, of "host:port", or of "unix:/path".

    Raises:
        ConfigError: it is none of these.
    """
    if text.startswith("unix:"):
        return Address("unix", text.removeprefix("unix:"), 0)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as exc:
        raise ConfigError(f"--via: {text!r} is not a URL: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"--via: {text!r} is not a URL like http://host:port/path")
    return Address(
        parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme], parts.path.rstrip("/")
    )


class ViaWarmer:
    """Warms whatever answers at an address.

    Args:
        places: by which items are found below the address's path.
        transport: as many connections as items at once.
    """

    def __init__(self, address: Address, places: Finds, transport: OriginTransport, filters: Filters) -> None:
        self._address = address
        self._places = places
        self._transport = transport
        self._filters = filters

    async def warm(self, item: Item, part: Part) -> Outcome:
        """Ask for a part of an object, and read it to its end."""
        try:
            target = self._address.path + self._places.target(item)
            return await self._ask(target, part)
        except NoPlace as exc:
            return Outcome(Kind.FAILED, reason=str(exc))
        except YatagarasuError as exc:
            return failure(exc)

    async def settle(self) -> None:
        """What it has answered is its own business."""

    async def _ask(self, target: str, part: Part) -> Outcome:
        address = self._address
        pairs = [
            ("host", address.authority),
            ("user-agent", f"yatagarasu-warm-cache/{__version__}"),
            ("accept-encoding", "identity"),
        ]
        if part.range is not None:
            pairs.append(("range", part.range))
        head = encode_request(part.method, target, pairs)
        response = await self._transport.fetch(address.scheme, address.host, address.port, head, method=part.method)
        try:
            status, headers = response.status, response.headers
            is_good = status in (200, 206)
            if is_good:
                refusal = self._filters.refuses_head(*_size_and_date(headers))
                if refusal is not None:
                    return Outcome(Kind.SKIPPED, reason=refusal)
            size = 0
            while data := await response.receive_some():
                size += len(data)
        finally:
            await response.aclose()
        if not is_good and not (status == 416 and headers.get("content-range", "").endswith("/0")):
            return _refused(status, headers)
        return _outcome(headers, size)


def _refused(status: int, headers: Headers) -> Outcome:
    return Outcome(
        Kind.FAILED,
        reason=f"answered {status}",
        is_transient=status >= 500 or status in (408, 425, 429),
        is_overload=status in (429, 503),
        wait_seconds=parse_count(headers.get("retry-after")),
    )


def _outcome(headers: Headers, size: int) -> Outcome:
    """What a good answer says about the cache that it came from."""
    status = headers.get("cache-status", "").rpartition(",")[2]
    older = headers.get("x-cache", "").upper()
    if _HIT.search(status) or older.startswith(_PRESENT):
        return Outcome(Kind.PRESENT)
    forwarded = _FORWARDED.search(status)
    if forwarded is not None and forwarded[1] == "bypass":
        return Outcome(Kind.FAILED, size, "may not be stored, says the proxy")
    return Outcome(Kind.WARMED, size)


def _size_and_date(headers: Headers) -> tuple[int | None, float | None]:
    """Size of the whole object, if it is told, and when it was modified."""
    total = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "")
    return parse_count(total), parse_http_date(headers.get("last-modified", ""))
