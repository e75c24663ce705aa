"""Where a load goes: its URL looked up once, so that every connection goes to the same address."""

import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from yatagarasu.bench.mix import Ask, Item
from yatagarasu.bench.plan import Plan
from yatagarasu.errors import ConfigError

_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that answers: `address` as sockets take it, `path` and `host` for requests, `tls_name` for https."""

    family: int
    address: Any
    host: str
    path: str
    tls_name: str | None


def find_endpoint(plan: Plan) -> Endpoint:
    """Look up a plan's URL, and connect once to see which of its addresses answers.

    Raises:
        ConfigError: it is no URL of ours, or nothing listens there.
    """
    parts = urlsplit(plan.url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"cannot measure {plan.url}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ConfigError(f"cannot measure {plan.url}: expected http://host:port/path or https://…, without a password")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    tls_name = parts.hostname if parts.scheme == "https" else None
    if plan.unix_path is not None:
        candidates: list[tuple[int, Any]] = [(socket.AF_UNIX, plan.unix_path)]
    else:
        wanted = port if port is not None else 80 if tls_name is None else 443
        try:
            found = socket.getaddrinfo(parts.hostname, wanted, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(f"cannot measure {plan.url}: {error.strerror or error}") from error
        candidates = [(family, address) for family, _, _, _, address in found]
    last: OSError | None = None
    for family, address in candidates:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_PROBE_SECONDS)
            try:
                sock.connect(address)
            except OSError as error:
                last = error
                continue
            return Endpoint(family, address, host, path, tls_name)
    reason = (last.strerror or last) if last is not None else "no address"
    raise ConfigError(f"cannot measure {plan.url}: {reason}") from last


def make_ask(plan: Plan, endpoint: Endpoint, item: Item, start: int | None, stop: int | None) -> Ask:
    """The request for an item, whole or the bytes [start, stop) of it."""
    base, _, _ = endpoint.path.partition("?")
    target = base.rstrip("/") + item.path if item.path else endpoint.path
    fields = [("Host", endpoint.host), *plan.headers]
    if not plan.is_kept_alive:
        fields.append(("Connection", "close"))
    size, status = item.size, 200
    if start is not None and stop is not None:
        fields.append(("Range", f"bytes={start}-{stop - 1}"))
        size, status = stop - start, 206
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    wire = f"{plan.method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1")
    return Ask(wire, status, size, item.seed if size is not None else None, start or 0)
