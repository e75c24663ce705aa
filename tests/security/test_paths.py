"""No request leaves its bucket or its key prefix, however its path or its query is spelt."""

import pytest

from tests.security.conftest import Pair, open_pair

TRICKS = [
    "/b/../other/k", "/b/..", "/b/.", "/b/a/../../..", "/b/%2e%2e/k", "/b/%2E%2E%2Fk", "/b/..%2f..%2fk", "/b/%252e%252e/k",
    "/b/%25%32%65%25%32%65/k", "/b/..%5ck", "/b/..\\k", "/b/\\..\\k", "/b/....//k", "/b/..;/k", "/b/.;/k", "/b/%c0%ae%c0%ae/k",
    "/b/%e0%80%ae%e0%80%ae/k", "/b/%u002e%u002e/k", "/b/\uff0e\uff0e/k".encode().decode("latin-1"), "/b/%ef%bc%8e%ef%bc%8e/k",
    "/b//..//k", "/b///etc/passwd", "/b/%2fetc/passwd", "/b//../../k", "/b/k/..%00/", "/b/k%00.png", "/b/k%0d%0a", "/b/~root", "/b/k?/../x",
    "/b/http://evil/k", "/b/%68ttp:%2f%2fevil", "/b@evil/k", "/b:80/k", "//b/k", "/%62/k", "/B/k", "/b%2fk", "/b%2f..%2fk", "/./b/k", "/x/../b/k",
    "/b/" + "../" * 50 + "k", "/b/" + "%2e%2e%2f" * 50 + "k", "/b/" + "a/" * 500 + "k",
]  # fmt: skip


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize("prefix", ["prefix/", ""])
async def test_every_target_stays_below_the_prefix(target: str, prefix: str):
    async with open_pair(s3={"key_prefix": prefix}) as pair:
        answer = await pair.get(target)
        assert answer.startswith(b"HTTP/1.1 ")
        for asked in pair.origin.targets:
            path = asked.partition("?")[0]
            assert path.startswith(f"/bkt/{prefix}"), asked
            # Nothing that a server behind us could still resolve: no dot segment, encoded once, twice or not at all.
            plain = path.lower().replace("%25", "%").replace("%2e", ".").replace("%2f", "/").replace("%5c", "/")
            assert "/../" not in plain + "/" or "%25" in path.lower() or "%5c" in path.lower(), asked
            assert " " not in asked


QUERIES = [
    "acl", "policy", "uploads", "versions", "tagging", "torrent", "website", "location", "logging", "delete", "restore",
    "X-Amz-Signature=x&X-Amz-Credential=y", "x-amz-security-token=t", "versionId=1&acl", "acl=&versionId=1", "%61cl", "versionId=1%26acl",
    "partNumber=1&uploadId=2", "list-type=2", "prefix=..", "select&select-type=2", "AWSAccessKeyId=x&Signature=y&Expires=9",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("mode", ["s3", "all"])
async def test_no_query_reaches_another_resource_with_our_signature(query: str, mode: str):
    s3 = {"anonymous": False, "access_key": "a", "secret_key": "s"}
    async with open_pair(bucket={"forward_query": mode}, s3=s3) as pair:
        await pair.get(f"/b/k?{query}")
        for target in pair.origin.targets:
            names = {part.partition("=")[0].lower() for part in target.partition("?")[2].split("&")}
            assert not names & {
                "acl", "policy", "uploads", "versions", "tagging", "torrent", "website", "location", "logging", "delete", "restore",
                "uploadid", "select", "x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "signature",
            }, target  # fmt: skip


LISTINGS = [
    "list-type=2&prefix=", "list-type=2", "list-type=2&prefix=../", "list-type=2&prefix=/", "list-type=2&prefix=..%2fother", "prefix=a&prefix=b&list-type=2",
    "list-type=2&start-after=zzz", "list-type=2&start-after=../a", "list-type=2&continuation-token=x", "list-type=2&delimiter=/&prefix=other/",
    "list-type=1&prefix=x", "prefix=x", "acl", "policy", "versions", "uploads", "list-type=2&acl", "list-type=2&fetch-owner=true&encoding-type=url",
]  # fmt: skip


@pytest.mark.parametrize("query", LISTINGS)
async def test_no_listing_looks_outside_of_the_prefix(pair: Pair, query: str):
    await pair.get(f"/b?{query}")
    for target in pair.origin.targets:
        path, _, sent = target.partition("?")
        parts = sent.split("&")
        assert path in ("/bkt", "/bkt/"), target
        assert sum(part.startswith("prefix=") for part in parts) == 1, target
        assert any(part.startswith("prefix=prefix%2F") for part in parts), target
        for name in ("start-after", "continuation-token"):
            for part in parts:
                if part.startswith(f"{name}=") and name == "start-after":
                    assert part.startswith("start-after=prefix%2F"), target
        assert not any(part.partition("=")[0] in ("acl", "policy", "versions", "uploads") for part in parts)


async def test_the_tricks_above_are_tried_on_a_door_that_opens(pair: Pair):
    await pair.get("/b/k")
    page = b"<ListBucketResult></ListBucketResult>"
    pair.origin.answer = lambda head: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
    assert (await pair.get("/b?list-type=2&prefix=a")).startswith(b"HTTP/1.1 200 ")
    assert pair.origin.targets == ["/bkt/prefix/k", "/bkt?list-type=2&prefix=prefix%2Fa"]
