"""Listen addresses: what is one, and which two the kernel would not give one process."""

import socket
from contextlib import ExitStack

import pytest

from yatagarasu.config.addresses import Address, BadAddress, parse_address
from yatagarasu.server.listener import close_listeners, open_listeners


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("ipv4", "127.0.0.1", 80)),
        ("127.0.0.1:080", Address("ipv4", "127.0.0.1", 80)),
        ("[0:0::1]:65535", Address("ipv6", "::1", 65535)),
        ("[fe80::1%eth0]:80", Address("ipv6", "fe80::1%eth0", 80)),
        ("Proxy.Test.:0", Address("name", "proxy.test", 0)),
        ("my_host-1:80", Address("name", "my_host-1", 80)),
        ("1password.test:80", Address("name", "1password.test", 80)),
        ("unix:/run/../s", Address("unix", "/s")),
        (f"unix:/{'a' * 106}", Address("unix", "/" + "a" * 106)),
    ],
)
def test_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no port"),
        ("80", "has no port"),
        ("h:", "has no port"),
        ("h:-1", "has no port"),
        ("h:+1", "has no port"),
        ("h: 1", "has no port"),
        ("h:65536", "has no port from 0 to 65535"),
        ("h:99999999999999999999", "has no port from 0 to 65535"),
        ("h:²", "has no port"),
        ("[::1]", "has no port"),
        ("[::1]80", "has no port"),
        (":80", "has no host"),
        ("[]:80", "has no host"),
        (" :80", "has no host name"),
        ("a b:80", "has no host name"),
        ("a\n:80", "has no host name"),
        ("a\x00b:80", "has no host name"),
        ("a..b:80", "has no host name"),
        (".a:80", "has no host name"),
        ("-a:80", "has no host name"),
        ("http://h:80", "needs brackets"),
        ("//h:80", "has no host name"),
        ("user@h:80", "has no host name"),
        ("münchen:80", "has no host name"),
        ("*:80", "has no host name"),
        ("a" * 300 + ":80", "has no host name"),
        ("256.0.0.1:80", "has no IPv4 address"),
        ("127.1:80", "has no IPv4 address"),
        ("0:80", "has no IPv4 address"),
        ("0x7f.1:80", "has no IPv4 address"),
        ("127.0.0.01:80", "has no IPv4 address"),
        ("1.2.3.4.:80", "has no IPv4 address"),
        ("::1:80", "needs brackets"),
        ("[::1:80", "needs brackets"),
        ("[h]:80", "has no IPv6 address within"),
        ("[127.0.0.1]:80", "has no IPv6 address within"),
        ("[[::1]]:80", "has no IPv6 address within"),
        ("unix:", "needs an absolute path"),
        ("unix:s", "needs an absolute path"),
        ("unix:@s", "needs an absolute path"),
        ("unix:///", "needs the path of a socket"),
        ("unix:/a/", "needs the path of a socket"),
        ("unix:/a\x00b", "needs the path of a socket"),
        (f"unix:/{'a' * 107}", "at most 107 bytes"),
        (f"unix:/{'ä' * 54}", "at most 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(BadAddress, match=why):
        parse_address(text)


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [
        ("0.0.0.0:90", "127.0.0.1:90", True),
        ("0.0.0.0:90", "0.0.0.0:90", True),
        ("[::]:90", "[::1]:90", True),
        ("[0::0]:90", "[::]:90", True),
        ("LOCALHOST:90", "localhost:90", True),
        ("127.0.0.1:90", "127.0.0.1:00090", True),
        ("unix:/a/s", "unix:/a/./s", True),
        ("127.0.0.1:90", "127.0.0.2:90", False),
        ("0.0.0.0:90", "127.0.0.1:91", False),
        ("0.0.0.0:0", "127.0.0.1:0", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("[::]:90", "0.0.0.0:90", False),
        ("[::]:90", "127.0.0.1:90", False),
        ("0.0.0.0:90", "proxy.test:90", False),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:0", False),
    ],
)
def test_overlap(one: str, other: str, do: bool) -> None:
    assert parse_address(one).overlaps(parse_address(other)) is do
    assert parse_address(other).overlaps(parse_address(one)) is do


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_what_does_not_overlap_can_be_bound_and_what_does_cannot() -> None:
    """The rule that IPv6's wildcard leaves IPv4 alone is the listener's; here both are asked."""
    with socket.socket() as probe, ExitStack() as stack:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        apart = [f"[::]:{port}", f"0.0.0.0:{port}"]
        stack.callback(close_listeners, open_listeners(apart))
        for taken in (f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert any(parse_address(taken).overlaps(parse_address(text)) for text in apart)
            with pytest.raises(Exception, match="taken"):
                open_listeners([taken])
