"""Who the client is behind proxies that we trust: X-Forwarded-For, read from the right."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from yatagarasu.http.headers import Headers

Network = IPv4Network | IPv6Network


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks of CIDRs or addresses. Raises ValueError."""
    return tuple(ip_network(text, strict=False) for text in texts)


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; what is no address does not, a unix socket's peer too."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def client_address(peer: str, headers: Headers, networks: Sequence[Network]) -> str:
    """The last address that no trusted proxy vouches for; `peer` where it is not trusted, or says nothing.

    From the right, because everything left of the first untrusted entry may be invented.
    """
    if not networks or not is_trusted(peer, networks):
        return peer
    client = peer
    for part in reversed(headers.get("x-forwarded-for", "").split(",")):
        text = part.strip()
        try:
            ip_address(text)
        except ValueError:
            return client
        client = text
        if not is_trusted(text, networks):
            return client
    return client
