"""What a config's keys mean together: duplicates, contradictions, combinations that can never be reached."""

import ipaddress
from collections.abc import Iterator, Sequence

from yatagarasu.config.addresses import Address, BadAddress, parse_address
from yatagarasu.config.buckets import check_buckets, folder_problem
from yatagarasu.config.findings import Finding, error, warning
from yatagarasu.config.model import Config
from yatagarasu.config.positions import Path, Positions, dotted
from yatagarasu.config.redact import quoted
from yatagarasu.config.report import Problem

# Tables some of whose findings come of a comparison with another table.
_COMPARED: dict[Path, Path] = {("admin",): ("server",), ("coalescing",): ("origin",)}


def check(name: str, config: Config, positions: Positions, *, without: Sequence[Path] = ()) -> list[Problem]:
    """Every problem of a config whose keys are each good by themselves.

    Args:
        name: stands for the file in problems.
        config: what was read.
        positions: where it stands.
        without: keys that were left out of `config` as bad in themselves; nothing is said about the tables
            around them, where a complaint could come of their absence.
    """
    problems = []
    for path, code, message, hint, severity in _findings(config):
        table = path[:-1] if isinstance(path[-1], str) else path
        around = (table, _COMPARED.get(table, table))
        if any(left_out[: len(outer)] == outer for left_out in without for outer in around):
            continue
        line, column = positions.value(path)
        key = dotted(path)
        problems.append(Problem(name, line, column, code, f"{key}: {message}", hint, severity, key))
    return problems


def _findings(config: Config) -> Iterator[Finding]:
    yield from _server(config)
    yield from _cache(config)
    yield from check_buckets(config)


def _server(config: Config) -> Iterator[Finding]:
    server = config.server
    yield from _listens(config)
    for index, text in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield error(
                ("server", "trusted_proxies", index),
                "bad-cidr",
                f"{quoted(text)} is not an address or CIDR",
                'write "10.0.0.0/8"',
            )
    if server.max_header_size < 1024:
        yield error(("server", "max_header_size"), "bad-value", "below 1KiB no browser gets through")


def _listens(config: Config) -> Iterator[Finding]:
    listens: list[tuple[Path, str]] = [
        (("server", "listen", index), text) for index, text in enumerate(config.server.listen)
    ]
    if config.admin.listen:
        # Where two are at odds, the file is to blame, not a default.
        at = len(listens) if "listen" in config.admin.model_fields_set else 0
        listens.insert(at, (("admin", "listen"), config.admin.listen))
    earlier: list[tuple[Path, str, Address]] = []
    for path, text in listens:
        try:
            address = parse_address(text)
        except BadAddress as exc:
            yield error(path, "bad-address", f"{quoted(text)} {exc}", exc.hint)
            continue
        for where, other_text, other in earlier:
            if address.overlaps(other):
                yield error(path, "duplicate-listen", _overlap(text, address, other_text, other, dotted(where)))
                break
        earlier.append((path, text, address))
        if path == ("admin", "listen") and not config.admin.token and not address.is_local:
            yield warning(
                path,
                "open-admin",
                "the admin listener can be reached from elsewhere and has no token",
                "set admin.token",
            )


def _overlap(text: str, address: Address, other_text: str, other: Address, where: str) -> str:
    if address == other:
        return f"{text} is taken by {where} already"
    if address.is_wildcard:
        return f"{text} is every interface: it takes {other_text} from {where}"
    return f"{text} is taken by {where} already: {other_text} is every interface"


def _cache(config: Config) -> Iterator[Finding]:
    memory, coalescing, origin = config.cache.memory, config.coalescing, config.origin
    disk = config.cache.disk
    if disk is not None and disk.max_object_size is not None and disk.max_object_size > disk.max_size:
        yield error(
            ("cache", "disk", "max_object_size"),
            "unreachable",
            "is larger than cache.disk.max_size: such an object can never be kept",
        )
    if disk is not None:
        yield from _disk_path(disk.path)
    if memory.max_object_size > memory.max_size:
        yield error(
            ("cache", "memory", "max_object_size"),
            "unreachable",
            "is larger than cache.memory.max_size: such an object can never be kept",
        )
    if origin.retry.backoff > origin.retry.max_backoff:
        yield error(("origin", "retry", "backoff"), "unreachable", "is longer than origin.retry.max_backoff")
    if coalescing.enabled and coalescing.wait_timeout < origin.connect_timeout:
        yield warning(
            ("coalescing", "wait_timeout"),
            "unreachable",
            "is shorter than origin.connect_timeout: clients give up before the origin is given up",
        )
    for name in ("first_byte_timeout", "connect_timeout"):
        if getattr(origin, name) <= 0:
            yield error(("origin", name), "bad-value", "must be more than zero")


def _disk_path(text: str) -> Iterator[Finding]:
    path: Path = ("cache", "disk", "path")
    why = folder_problem(text)
    if why is not None:
        yield error(path, "bad-path", f"{quoted(text)} {why}")
    elif not text.startswith("/"):
        yield warning(
            path,
            "relative-path",
            f"{quoted(text)} depends on the folder that the server is started in",
            "~ stands for nothing here: write an absolute path" if text.startswith("~") else "write an absolute path",
        )
