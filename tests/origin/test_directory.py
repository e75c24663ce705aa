"""A folder as an origin."""

import errno
import os

import pytest

from yatagarasu.errors import OriginBroken
from yatagarasu.origin.client import OriginRequest
from yatagarasu.origin.directory import DirectoryOrigin
from yatagarasu.origin.retry import RetryBudget, RetrySettings
from yatagarasu.s3.listing import parse_list_v2


async def ask(origin, key, method="GET", **fields):
    pairs = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    response = await origin.open(OriginRequest(method, key, "", pairs))
    body = b""
    while data := await response.receive_some():
        body += data
    await response.aclose()
    return response, body


@pytest.fixture
def origin(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"0123456789")
    (root / "sub" / "b").write_bytes(b"b")
    (tmp_path / "outside").write_bytes(b"secret")
    os.symlink(tmp_path / "outside", root / "link")
    return DirectoryOrigin(root, name="b")


async def test_files_with_ranges_and_conditions(origin):
    response, body = await ask(origin, "a.txt")
    assert (response.status, body) == (200, b"0123456789")
    assert response.headers.get("content-type") == "text/plain"
    etag = response.headers.get("etag")
    response, body = await ask(origin, "a.txt", range="bytes=2-4", if_match=etag)
    assert (response.status, body, response.headers.get("content-range")) == (206, b"234", "bytes 2-4/10")
    assert (await ask(origin, "a.txt", if_none_match=etag))[0].status == 304
    assert (await ask(origin, "a.txt", if_match='"x"'))[0].status == 412
    assert (await ask(origin, "a.txt", range="bytes=99-"))[0].status == 416
    response, body = await ask(origin, "a.txt", "HEAD")
    assert (response.status, body, response.headers.get("content-length")) == (200, b"", "10")


@pytest.mark.parametrize("key", ["link", "../outside", "sub/../../outside", "sub", "sub/", "", "none", "/etc/passwd"])
async def test_nothing_outside_and_nothing_but_files(origin, key):
    response, body = await ask(origin, key)
    assert (response.status, body) == (404, b"")


async def test_a_changed_file_has_another_etag(origin):
    before = (await ask(origin, "a.txt"))[0].headers.get("etag")
    (origin.root / "a.txt").write_bytes(b"9876543210")
    assert (await ask(origin, "a.txt"))[0].headers.get("etag") != before


async def test_listing(origin):
    response = await origin.list("list-type=2&delimiter=/")
    page = parse_list_v2(await response.receive_some())
    assert page.keys[0].key == "a.txt"
    assert page.common_prefixes == ["sub/"]


async def test_the_budget_backs_off_and_progress_restores_it():
    import random

    budget, error = RetryBudget(RetrySettings(3, 0.05, 2.0), random.Random(1)), OriginBroken("broken")
    waits = [budget.failed(error), budget.failed(error), budget.failed(error)]
    assert waits[2] is None
    assert 0 <= waits[0] <= 0.05
    assert 0 <= waits[1] <= 0.1
    budget.progress()
    assert budget.failed(error) is not None


async def test_a_file_written_in_place_under_a_download_never_gives_both_generations(origin):
    path = origin.root / "big"
    path.write_bytes(b"A" * 600_000)
    response = await origin.open(OriginRequest("GET", "big"))
    assert set(await response.receive_some()) == {ord("A")}
    with path.open("r+b") as file:
        file.write(b"B" * 600_000)
    os.utime(path, ns=(0, 0))  # Two writes within one tick of the file system's clock look like one.
    with pytest.raises(OriginBroken, match="changed"):
        await response.receive_some()
    await response.aclose()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO], ids=["no descriptors left", "bad disk"])
async def test_our_own_trouble_is_not_a_missing_file(origin, monkeypatch, number):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OriginBroken):
        await origin.open(OriginRequest("GET", "a.txt"))


async def test_a_listing_has_only_what_can_be_asked_for(origin):
    (origin.root / "sub" / "b").unlink()
    os.mkfifo(os.path.join(os.fsencode(origin.root), b"pipe"))
    os.close(os.open(os.path.join(os.fsencode(origin.root), b"bad\xff"), os.O_CREAT | os.O_WRONLY))
    response = await origin.list("list-type=2")
    assert [listed.key for listed in parse_list_v2(await response.receive_some()).keys] == ["a.txt"]
