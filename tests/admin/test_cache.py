"""Cache control over a real core: listed, looked at, purged and counted; in memory, on disk, in the air, elsewhere."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin, WallClock, inline, silent_log
from yatagarasu.admin.app import AdminApp, AdminResponse, Readiness
from yatagarasu.admin.cache import CacheControl, merge_entries
from yatagarasu.cache.disk.flush import Flusher
from yatagarasu.cache.disk.tier import DiskSettings, DiskTier
from yatagarasu.errors import StoreError
from yatagarasu.http.headers import Headers
from yatagarasu.observe.metrics import Metrics
from yatagarasu.proxy.inventory import Inventory

KIB, MIB = 1024, 1024 * 1024
SMALL, LARGE = random.Random(1).randbytes(10 * KIB), random.Random(2).randbytes(3 * MIB)


class Admin:
    """A core with its admin application."""

    def __init__(self, rig: Rig, **arguments: Any) -> None:
        self.rig = rig
        cache = CacheControl(Inventory(rig.tiers, rig.coalescer, clock=WallClock()), arguments.pop("everyone", None))
        readiness = Readiness(_ready, clock=trio.current_time)
        self.app = AdminApp(rig.metrics, readiness, cache=cache, **arguments)

    async def ask(self, target: str, method: str = "GET", **headers: str) -> Any:
        answer = await self.answer(target, method, **headers)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    async def answer(self, target: str, method: str = "GET", **headers: str) -> AdminResponse:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await self.app.handle(method, target, Headers(pairs))

    async def purge(self, query: str) -> dict[str, int]:
        return (await self.ask(f"/cache/purge?{query}", "POST"))["purged"]

    async def keys(self, query: str = "") -> list[str]:
        found = await self.ask(f"/cache/entries?{query}" if query else "/cache/entries")
        return [entry["key"] for entry in found["entries"]]

    async def outcome(self, key: str, **headers: str) -> str | None:
        return (await self.rig.ask(key, **headers)).header("x-cache")


async def _ready() -> dict[str, str | None]:
    return {}


@asynccontextmanager
async def opened(origin: ScriptedOrigin, folder: Path | None = None, **arguments: Any) -> AsyncIterator[Admin]:
    disk = flusher = None
    if folder is not None:
        settings = DiskSettings(path=str(folder), max_size=64 * MIB, max_object_size=32 * MIB, block_size=MIB)
        disk = DiskTier(settings, log=silent_log())
        flusher = Flusher(disk, blocking=inline)
    async with trio.open_nursery() as nursery:
        if flusher is not None:
            await nursery.start(flusher.run)
        yield Admin(Rig(nursery, origin, disk=disk, flusher=flusher), **arguments)
        nursery.cancel_scope.cancel()


@pytest.fixture(params=["memory", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Every test of this fixture runs without a disk tier and with one."""
    return tmp_path / "cache" if request.param == "disk" else None


@pytest.fixture
def origin() -> ScriptedOrigin:
    objects = {name: SMALL for name in ("a/1", "a/2", "b/1", "ü b+c%41")}
    return ScriptedOrigin({**objects, "large": LARGE})


async def test_lists_entries_in_order_page_by_page(autojump_clock, origin, folder):
    async with opened(origin, folder) as admin:
        for key in ("b/1", "a/2", quote("ü b+c%41"), "a/1"):
            await admin.rig.ask(key)
        assert await admin.keys() == ["a/1", "a/2", "b/1", "ü b+c%41"]
        assert await admin.keys("bucket=b&prefix=a/") == ["a/1", "a/2"]
        assert await admin.keys("bucket=other") == []
        first = await admin.ask("/cache/entries?limit=3")
        assert len(first["entries"]) == 3
        assert await admin.keys(f"limit=3&after={quote(first['next'])}") == ["ü b+c%41"]
        assert first["entries"][0] == {
            "bucket": "b",
            "key": "a/1",
            "selectors": [""],
            "cache_key": "b\0a/1\0",
            "size": 10 * KIB,
            "present": 10 * KIB,
            "tiers": ["memory"] if folder is None else ["memory", "disk"],
        }


async def test_shows_what_there_is_of_an_object(autojump_clock, origin, folder):
    origin.default = Play(headers=[("surrogate-key", "red blue"), ("cache-control", "max-age=100")])
    async with opened(origin, folder) as admin:
        await admin.rig.ask("a/1")
        await trio.sleep(30)
        entry = (await admin.ask("/cache/entry?bucket=b&key=a/1"))["entries"][0]
        assert entry["extents"] == [[0, 10 * KIB]]
        assert entry["tags"] == ["red", "blue"]
        assert (entry["age_seconds"], entry["fresh_for_seconds"], entry["is_fresh"]) == (30.0, 70.0, True)
        assert ["cache-control", "max-age=100"] in entry["headers"]
        await trio.sleep(80)
        assert not (await admin.ask("/cache/entry?bucket=b&key=a/1"))["entries"][0]["is_fresh"]
        gone = await admin.answer("/cache/entry?bucket=b&key=none")
        assert gone.status == 404
        assert not admin.rig.origin.open_responses
        assert len(origin.requests) == 1


async def test_shows_the_extents_of_a_part_and_what_is_in_the_air(autojump_clock, origin, tmp_path):
    async with opened(origin, tmp_path / "cache") as admin:
        await admin.rig.ask("large", range="bytes=1048576-1048580")
        await trio.sleep(2)
        entry = (await admin.ask("/cache/entry?bucket=b&key=large"))["entries"][0]
        assert (entry["size"], entry["extents"], entry["tiers"]) == (3 * MIB, [[MIB, 2 * MIB]], ["disk"])
        assert not entry["in_flight"]
        origin.default = Play(chunk_seconds=0.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.rig.ask, "large")
            await trio.sleep(0.25)
            assert (await admin.ask("/cache/entry?bucket=b&key=large"))["entries"][0]["in_flight"]
        assert (await admin.ask("/cache"))["in_flight"] == {"fetches": 0, "waiting_clients": 0}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("bucket=b&key=a/1", ["a/2", "b/1"]),
        ("bucket=b&prefix=a/", ["b/1"]),
        ("bucket=b&prefix=a", ["b/1"]),
        ("bucket=b", []),
        ("bucket=bb", ["a/1", "a/2", "b/1"]),
        ("all=1", []),
        ("tag=blue", ["a/1"]),
        ("bucket=b&tag=red", ["a/2", "b/1"]),
        ("tag=lu", ["a/1", "a/2", "b/1"]),
    ],
)
async def test_purges(autojump_clock, origin, folder, query, left):
    async with opened(origin, folder) as admin:
        for key, tag in (("a/1", "red"), ("a/2", "blue"), ("b/1", "blue")):
            origin.plays = [Play(headers=[("x-amz-meta-surrogate-key", tag)])]
            await admin.rig.ask(key)
        purged = await admin.purge(query)
        assert purged["memory"] == 3 - len(left)
        assert purged["disk"] == (0 if folder is None else 3 - len(left))
        assert await admin.keys() == left
        for key in ("a/1", "a/2", "b/1"):
            assert await admin.outcome(key) == ("HIT" if key in left else "MISS")


@pytest.mark.parametrize("method_and_path", ["DELETE /cache/entry", "DELETE /cache/entries", "POST /cache/purge"])
async def test_delete_is_a_purge_too(autojump_clock, origin, folder, method_and_path):
    method, path = method_and_path.split()
    async with opened(origin, folder) as admin:
        await admin.rig.ask("a/1")
        await admin.ask(f"{path}?bucket=b&key=a/1", method)
        assert await admin.keys() == []


@pytest.mark.parametrize("key", ["a/1", "large"])
async def test_a_soft_purge_makes_stale_and_costs_one_conditional_request(autojump_clock, origin, folder, key):
    async with opened(origin, folder) as admin:
        await admin.rig.ask(key)
        await trio.sleep(10)
        counts = (await admin.ask(f"/cache/purge?bucket=b&key={key}&soft=1", "POST"))["purged"]
        if key == "large" and folder is None:
            return  # Its bytes were never kept: nothing is left that could be stale.
        assert counts["memory"] + counts["disk"] >= 1
        assert not (await admin.ask(f"/cache/entry?bucket=b&key={key}"))["entries"][0]["is_fresh"]
        sent = origin.sent_bytes
        client = await admin.rig.ask(key)
        assert client.body == origin.objects[key]
        assert client.header("x-cache") == "REVALIDATED"
        assert origin.sent_bytes == sent
        assert await admin.outcome(key) == "HIT"


async def test_a_soft_purge_reaches_what_is_on_disk_only(autojump_clock, origin, tmp_path):
    async with opened(origin, tmp_path / "cache") as admin:
        await admin.rig.ask("a/1")
        await admin.rig.tiers.flusher.flush()
        admin.rig.tiers.memory.clear()
        assert (await admin.purge("all=1&soft=1")) == {"memory": 0, "disk": 1, "in_flight": 0}
        admin.rig.tiers.memory.clear()
        assert await admin.outcome("a/1") == "REVALIDATED"


@pytest.mark.parametrize(("target", "method"), [("/cache/purge?all=1", "POST"), ("/cache/entries", "GET")])
async def test_a_disk_that_cannot_be_asked_is_no_empty_one(
    autojump_clock, origin, tmp_path, monkeypatch, target, method
):
    """A purge that was answered with 200 is done; this one is to be asked for again."""
    async with opened(origin, tmp_path / "cache") as admin:
        await admin.rig.ask("a/1")

        async def select(**_: object) -> list[object]:
            raise StoreError("the index of the disk tier cannot be read")

        monkeypatch.setattr(admin.rig.tiers.flusher, "select", select)
        answer = await admin.answer(target, method)
        assert (answer.status, json.loads(answer.body)) == (
            503, {"error": "the index of the disk tier cannot be read: ask again"},
        )  # fmt: skip
        monkeypatch.undo()
        assert (await admin.answer(target, method)).status == 200


@pytest.mark.parametrize("query", ["all=1", "bucket=b&key=large", "tag=red"])
async def test_what_is_in_the_air_does_not_come_back_from_the_dead(autojump_clock, origin, folder, query):
    origin.default = Play(latency=0.1, chunk_seconds=0.05, headers=[("surrogate-key", "red")])
    async with opened(origin, folder) as admin:
        async with trio.open_nursery() as nursery:
            clients = [RecordingClient() for _ in range(3)]
            for client, at in zip(clients, (0.0, 0.05, 0.5), strict=True):
                nursery.start_soon(_ask_at, admin, at, client)
            await trio.sleep(1.0)
            old, origin.objects["large"] = LARGE, LARGE[::-1]
            assert (await admin.purge(query))["in_flight"] == 1
            # From here on nobody gets the old one, though it is still being fetched.
            later = RecordingClient()
            await admin.rig.ask("large", client=later)
            assert later.body == LARGE[::-1]
        assert all(client.body == old for client in clients)
        assert (await admin.rig.ask("large")).body == LARGE[::-1]
        await admin.rig.settle()


async def _ask_at(admin: Admin, at: float, client: RecordingClient) -> None:
    await trio.sleep(at)
    await admin.rig.ask("large", client=client)


async def test_a_fetch_whose_head_is_not_known_is_purged_too(autojump_clock, origin, folder):
    origin.default = Play(latency=1.0)
    async with opened(origin, folder) as admin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.rig.ask, "a/1")
            await trio.sleep(0.5)
            await admin.purge("bucket=b&key=a/1")
        assert await admin.keys() == []


async def test_counts_by_tier_and_bucket(autojump_clock, origin, folder):
    async with opened(origin, folder) as admin:
        await admin.rig.ask("a/1")
        await admin.rig.ask("a/2")
        found = await admin.ask("/cache")
        assert found["memory"]["entries"] == 2
        assert found["buckets"]["b"]["memory"] == {"entries": 2, "bytes": 20 * KIB}
        assert (found["workers"], found["workers_missing"]) == (1, 0)
        if folder is not None:
            await admin.rig.tiers.flusher.flush()
            found = await admin.ask("/cache")
            assert found["disk"]["entries"] == 2
            assert found["buckets"]["b"]["disk"]["entries"] == 2
            assert found["buckets"]["b"]["disk"]["bytes_on_disk"] > 20 * KIB


# Bad input


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/cache/purge", "say what to purge"),
        ("/cache/purge?soft=1", "say what to purge"),
        ("/cache/purge?bucket=", "bucket is empty"),
        ("/cache/purge?bucket=b&key=", "key is empty"),
        ("/cache/purge?key=k", "key needs bucket"),
        ("/cache/purge?prefix=k", "prefix needs bucket"),
        ("/cache/purge?bucket=b&key=k&prefix=p", "exclude each other"),
        ("/cache/purge?all=1&bucket=b", "all takes no other condition"),
        ("/cache/purge?all=perhaps", "all is 1 or 0"),
        ("/cache/purge?all=0", "say what to purge"),
        ("/cache/purge?bucket=b&soft=very", "soft is 1 or 0"),
        ("/cache/purge?buckets=b", "unknown parameter 'buckets'"),
        ("/cache/purge?bucket=b&bucket=c", "given twice"),
        ("/cache/purge?bucket=%ff", "cannot be read"),
        ("/cache/purge?bucket", "cannot be read"),
    ],
)
async def test_a_purge_that_is_not_clear_purges_nothing(autojump_clock, origin, folder, target, says):
    async with opened(origin, folder) as admin:
        await admin.rig.ask("a/1")
        answer = await admin.answer(target, "POST")
        assert answer.status == 400
        assert says in json.loads(answer.body)["error"]
        assert await admin.keys() == ["a/1"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/cache/entries?limit=0", "limit is a number from 1 to 1000"),
        ("/cache/entries?limit=1001", "limit"),
        ("/cache/entries?limit=x", "limit"),
        ("/cache/entries?prefix=a", "prefix needs bucket"),
        ("/cache/entry?bucket=b", "key is needed"),
        ("/cache/entry", "bucket is needed"),
        ("/cache?x=1", "unknown parameter 'x'; there are: none"),
    ],
)
async def test_a_question_that_is_not_clear_is_refused(autojump_clock, origin, target, says):
    async with opened(origin) as admin:
        answer = await admin.answer(target)
        assert answer.status == 400
        assert says in json.loads(answer.body)["error"]


async def test_other_methods_are_refused(autojump_clock, origin):
    async with opened(origin) as admin:
        for target, method, allowed in (
            ("/cache/purge?all=1", "GET", "POST"),
            ("/cache/purge?all=1", "PUT", "POST"),
            ("/cache", "POST", "GET, HEAD"),
            ("/cache/entries", "POST", "GET, DELETE, HEAD"),
        ):
            answer = await admin.answer(target, method)
            assert (answer.status, Headers(answer.headers).get("allow")) == (405, allowed)
        assert (await admin.answer("/cache", "HEAD")).status == 200
        assert (await admin.answer("/cache/other")).status == 404


async def test_the_token_guards_all_of_it(autojump_clock, origin):
    async with opened(origin, token="t0ken") as admin:
        await admin.rig.ask("a/1")
        for target, method in (("/cache", "GET"), ("/cache/entries", "GET"), ("/cache/purge?all=1", "POST")):
            assert (await admin.answer(target, method)).status == 401
            assert (await admin.answer(target, method, authorization="Bearer t0kem")).status == 401
        assert len(list(admin.rig.tiers)) == 1
        assert (await admin.answer("/cache/purge?all=1", "POST", authorization="Bearer t0ken")).status == 200


async def test_a_page_of_another_site_purges_nothing(autojump_clock, origin):
    async with opened(origin) as admin:
        await admin.rig.ask("a/1")
        assert (await admin.answer("/cache/purge?all=1", "POST", sec_fetch_site="cross-site")).status == 403
        assert await admin.keys() == ["a/1"]
        assert (await admin.answer("/cache/purge?all=1", "POST", sec_fetch_site="same-origin")).status == 200


# Several workers


class Others:
    """The other workers' applications, asked without sockets; `silent` of them say nothing."""

    def __init__(self) -> None:
        self.apps: list[AdminApp] = []
        self.silent = 0
        self.asked: list[str] = []

    async def __call__(self, method: str, target: str, seconds: float) -> tuple[list[Any], int]:
        found = []
        for app in self.apps:
            self.asked.append(f"{method} {target}")
            answer = await app.answer_peer(method, "/-" + target, Headers())
            assert answer.status == 200
            found.append(json.loads(answer.body))
        return found, self.silent


async def test_one_worker_answers_for_all(autojump_clock, origin):
    others = Others()
    async with opened(origin, everyone=others) as admin, opened(origin) as second:
        others.apps = [second.app]
        await admin.rig.ask("a/1")
        await second.rig.ask("a/1")
        await second.rig.ask("a/2")
        assert await admin.keys() == ["a/1", "a/2"]
        found = await admin.ask("/cache")
        assert (found["workers"], found["memory"]["entries"]) == (2, 3)
        assert (await admin.ask("/cache/entry?bucket=b&key=a/2"))["entries"][0]["tiers"] == ["memory"]
        assert (await admin.purge("bucket=b"))["memory"] == 3
        assert others.asked.count("POST /cache/purge?bucket=b") == 2
        assert await second.keys() == []


async def test_a_worker_that_does_not_answer_a_purge_is_told_of(autojump_clock, origin):
    others = Others()
    others.silent = 1
    async with opened(origin, everyone=others) as admin:
        await admin.rig.ask("a/1")
        answer = await admin.answer("/cache/purge?all=1", "POST")
        assert answer.status == 503
        assert json.loads(answer.body)["purged"]["memory"] == 1
        assert (await admin.ask("/cache"))["workers_missing"] == 1


async def test_a_scrape_is_the_sum_of_all_workers(autojump_clock, origin):
    others = Others()
    async with opened(origin, everyone=others) as admin, opened(origin) as second:
        others.apps = [second.app]
        admin.app._everyone = others
        await admin.rig.ask("a/1")
        await second.rig.ask("a/1")
        text = (await admin.answer("/metrics")).body.decode()
        line = 'yatagarasu_http_requests_total{bucket="b",cache="miss",method="GET",status="200"} 2.0'
        assert line in text.splitlines()


def test_the_fullest_account_of_an_entry_counts():
    one = {"cache_key": "b\0k\0", "present": 0, "tiers": ["head"], "in_flight": True}
    two = {"cache_key": "b\0k\0", "present": 9, "tiers": ["disk"], "in_flight": False}
    merged = {"cache_key": "b\0k\0", "present": 9, "tiers": ["head", "disk"], "in_flight": True}
    assert merge_entries([[one], [two]]) == merge_entries([[two], [one]]) == [merged]


def test_metrics_of_nobody_are_zero():
    assert Metrics.merge([]).dump() == Metrics().dump()
