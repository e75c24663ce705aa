"""X-Forwarded-For counts only from proxies that are trusted."""

import json

import pytest

from tests.server.conftest import run_proxy
from yatagarasu.http.headers import Headers
from yatagarasu.server.forwarded import client_address, parse_networks

TRUSTED = parse_networks(["127.0.0.0/8", "10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "field", "client"),
    [
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "evil<>, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("unix", "198.51.100.1", "unix"),
    ],
)
def test_client_address(peer, field, client):
    assert client_address(peer, Headers([("x-forwarded-for", field)]), TRUSTED) == client


def test_nobody_is_trusted_by_default():
    assert client_address("127.0.0.1", Headers([("x-forwarded-for", "1.2.3.4")]), ()) == "127.0.0.1"


async def test_the_access_log_names_the_client_behind_a_trusted_proxy():
    async with run_proxy(server={"trusted_proxies": ["127.0.0.1"]}) as proxy:
        proxy.store.put("bkt", "k", b"x")
        for _ in range(2):
            await proxy.get("/b/k", "X-Forwarded-For: 203.0.113.7")
        proxy.system.access_log.flush()
        lines = [json.loads(line) for line in b"".join(proxy.access).splitlines()]
        assert [line["client"] for line in lines] == ["203.0.113.7"] * 2
