"""Listen addresses as text: "host:port" and "unix:/path", and which of them cannot be bound side by side.

Names are not looked up: what only the machine's own name service can tell, binding will tell.
"""

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from typing import Literal

# sun_path is 108 bytes, the last of them NUL (unix(7)).
_LONGEST_UNIX_PATH = 107
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")


class BadAddress(ValueError):
    """Not an address to listen on: the message says why, `hint` what would be one."""

    def __init__(self, message: str, hint: str = 'write "host:port" or "unix:/path"') -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen on.

    Attributes:
        kind: a host of kind "name" is one that has to be looked up.
        host: in its shortest spelling; the path where `kind` is "unix".
        port: 0 is any free one, and is where `kind` is "unix".
    """

    kind: Literal["ipv4", "ipv6", "name", "unix"]
    host: str
    port: int = 0

    @property
    def is_wildcard(self) -> bool:
        """Whether it is every interface's, of its IP version: we bind IPv6 without IPv4."""
        return self.host in ("0.0.0.0", "::") and self.kind in ("ipv4", "ipv6")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        if self.kind == "name":
            return self.host == "localhost"
        return self.kind == "unix" or ipaddress.ip_address(self.host).is_loopback

    def overlaps(self, other: "Address") -> bool:
        """Whether both cannot be bound by one process."""
        if self.kind != other.kind or self.port != other.port:
            return False
        if self.kind == "unix":
            return self.host == other.host
        return self.port != 0 and (self.host == other.host or self.is_wildcard or other.is_wildcard)


def parse_address(text: str) -> Address:
    """The address that a text means. Raises BadAddress."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > _LONGEST_UNIX_PATH:
            raise BadAddress(f"needs an absolute path of at most {_LONGEST_UNIX_PATH} bytes")
        if path.endswith("/") or not path.isprintable():
            raise BadAddress("needs the path of a socket")
        return Address("unix", posixpath.normpath(path))
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadAddress("has no port from 0 to 65535")
    if host in ("", "[]"):
        raise BadAddress("has no host", f'for every interface write "0.0.0.0:{port}" or "[::]:{port}"')
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address("ipv6", str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            raise BadAddress("has no IPv6 address within its brackets", 'write "[::1]:80"') from None
    if ":" in host:
        raise BadAddress("needs brackets around an IPv6 address", 'write "[::1]:80"')
    try:
        return Address("ipv4", str(ipaddress.IPv4Address(host)), int(port))
    except ValueError:
        pass
    # What ends in a number is an address to every resolver, in one of its odder spellings or a wrong one.
    if _ENDS_IN_NUMBER.fullmatch(host):
        raise BadAddress("has no IPv4 address before its port", 'write four numbers: "127.0.0.1:80"')
    if not _HOST.fullmatch(host) or ".." in host:
        raise BadAddress("has no host name before its port")
    return Address("name", host.lower().removesuffix("."), int(port))
