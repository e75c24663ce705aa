"""Warming jobs inside a server: started, shown, paused, cancelled; reloads and dead workers end none."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Served
from yatagarasu.bench.origin import EmbeddedOrigin

pytestmark = pytest.mark.e2e

KIB = 1024
COUNT = 200


@pytest.fixture
def origin(embedded: EmbeddedOrigin) -> EmbeddedOrigin:
    for number in range(COUNT):
        embedded.store.put_pattern("bkt", f"k{number}", 10 * KIB, seed=number)
    return embedded


def config(origin: EmbeddedOrigin, cache: Path | None) -> str:
    disk = f'disk = {{ path = "{cache}", max_size = "1GiB" }}' if cache is not None else ""
    return f"""
[cache]
ttl = "1h"
{disk}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bkt"
endpoint = "{origin.endpoint}"
anonymous = true
"""


class Jobs:
    """The admin listener's /cache/warm."""

    def __init__(self, served: Served) -> None:
        self.url = f"{served.admin_url}/cache/warm"

    def start(self, **parameters: str) -> dict[str, Any]:
        answer = httpx.post(self.url, params=parameters)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def act(self, id: str, verb: str) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/{id}/{verb}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def show(self, id: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/{id}", timeout=10)
        return dict(answer.json()) if answer.status_code == 200 else {"state": "absent"}

    def wait(self, id: str, state: str, seconds: float = 20) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (found := self.show(id))["state"] != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def progress(jobs: Jobs, id: str) -> int:
    found = jobs.show(id)
    return int(found.get("warmed", 0)) + int(found.get("done_earlier", 0))


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_warms_and_says_so(
    workers: int, origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(config(origin, tmp_path / "cache"), server=f"workers = {workers}")
    jobs = Jobs(served)
    id = jobs.start(prefix="k1", exclude="k10*")["id"]
    found = jobs.wait(id, "done")
    assert (found["warmed"], found["skipped"], found["failed"], found["bytes"]) == (100, 11, 0, 100 * 10 * KIB)
    assert found["order"] == {"prefix": "k1", "exclude": ["k10*"]}
    assert origin.request_count() == 100 + 1
    assert httpx.get(f"{served.url}/b/k150").headers["x-cache"] in ("HIT", "MISS" if workers == 2 else "HIT")
    # Of two workers the one that was asked may have to ask the other, but nobody asks the origin.
    assert origin.request_count() == 101
    again = jobs.wait(jobs.start(prefix="k1", exclude="k10*")["id"], "done")
    assert (again["warmed"], again["present"]) == (0, 100)
    listed = httpx.get(jobs.url).json()
    assert [job["state"] for job in listed["jobs"]] == ["done", "done"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_job_is_paused_resumed_and_cancelled(
    workers: int, origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(config(origin, tmp_path / "cache"), server=f"workers = {workers}")
    jobs = Jobs(served)
    id = jobs.start(prefix="", rate="50", concurrency="4")["id"]
    wait_for(lambda: progress(jobs, id) > 20)
    assert jobs.act(id, "pause")["state"] == "paused"
    time.sleep(0.3)
    before = progress(jobs, id)
    time.sleep(0.5)
    assert progress(jobs, id) == before
    assert jobs.act(id, "resume")["state"] == "running"
    wait_for(lambda: progress(jobs, id) > before + 10)
    assert httpx.delete(f"{jobs.url}/{id}").json()["state"] == "cancelled"
    time.sleep(0.3)
    asked = origin.request_count()
    time.sleep(0.5)
    assert origin.request_count() == asked < COUNT
    assert jobs.show(id)["state"] == "cancelled"
    assert httpx.post(f"{jobs.url}/nonsense/pause").status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "has_disk"), [(1, True), (2, True), (1, False), (2, False)])
def test_a_job_survives_a_reload(
    workers: int, has_disk: bool, origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(config(origin, tmp_path / "cache" if has_disk else None), server=f"workers = {workers}")
    jobs = Jobs(served)
    id = jobs.start(prefix="", rate="60", concurrency="4")["id"]
    paused = jobs.start(prefix="k1", rate="10")["id"]
    jobs.act(paused, "pause")
    wait_for(lambda: progress(jobs, id) > 60)
    served.process.send_signal(signal.SIGHUP)
    found = jobs.wait(id, "done")
    assert found["done_earlier"] + found["warmed"] + found["present"] == COUNT
    if workers == 2:
        assert found["done_earlier"] >= 30
    assert jobs.wait(paused, "paused")["id"] == paused


def test_a_job_survives_its_worker(origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(config(origin, tmp_path / "cache"), server="workers = 2")
    jobs = Jobs(served)
    id = jobs.start(prefix="", rate="60", concurrency="4")["id"]
    wait_for(lambda: progress(jobs, id) > 90)
    path = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    # Whoever runs it has its lock.
    (lock,) = (tmp_path / "cache" / "warm").glob("*.lock")
    holder = [
        int(pid)
        for pid in path.read_text().split()
        if any(os.path.realpath(fd) == str(lock) for fd in Path(f"/proc/{pid}/fd").iterdir())
    ]
    os.kill(holder[0], signal.SIGKILL)
    found = jobs.wait(id, "done")
    assert found["done_earlier"] >= 30
    assert found["done_earlier"] + found["warmed"] + found["present"] == COUNT


def test_a_job_survives_a_restart(origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path) -> None:
    text = config(origin, tmp_path / "cache")
    served = serve(text)
    id = Jobs(served).start(prefix="", rate="60", concurrency="4")["id"]
    wait_for(lambda: progress(Jobs(served), id) > 60)
    assert served.stop() == 0
    asked = origin.request_count()
    found = Jobs(serve(text)).wait(id, "done")
    assert found["done_earlier"] >= 60
    assert found["failed"] == 0
    # One more for the listing.
    assert origin.request_count() == asked + 1 + found["warmed"]
    assert not list((tmp_path / "cache" / "warm").iterdir())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "say what to warm"),
        ({"prefix": "a", "colour": "red"}, "unknown parameter 'colour'"),
        ({"prefix": "a", "bucket": "x"}, "the config has no bucket 'x'"),
        ({"prefix": "a", "ranges": "all"}, "ranges: 'all'"),
        ({"prefix": "a", "concurrency": "many"}, "concurrency and rate are numbers"),
        ({"prefix": "a", "rate": "nan"}, "rate is a number"),
        ({"list": "/etc/passwd"}, "list is for admin listeners with a token"),
        ({"list": "relative"}, "absolute path"),
    ],
)
def test_orders_that_cannot_be_carried_out(
    parameters: dict[str, str], message: str, origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(config(origin, tmp_path / "cache"))
    answer = httpx.post(f"{served.admin_url}/cache/warm", params=parameters)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_lists_are_read_for_whoever_has_the_token(
    origin: EmbeddedOrigin, serve: Callable[..., Served], tmp_path: Path
) -> None:
    (tmp_path / "l.txt").write_text("k1\nk2\nabsent\n")
    text = config(origin, tmp_path / "cache")
    served = serve(text, top='token = "s3cret-token"')
    with httpx.Client(headers={"authorization": "Bearer s3cret-token"}) as client:
        started = client.post(f"{served.admin_url}/cache/warm", params={"list": str(tmp_path / "l.txt")})
        id = started.json()["id"]
        deadline = time.monotonic() + 10
        while (found := client.get(f"{served.admin_url}/cache/warm/{id}").json())["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert (found["state"], found["warmed"], found["failed"]) == ("done", 2, 1)
    assert found["failures"][0]["key"] == "absent"
    assert httpx.get(f"{served.admin_url}/cache/warm").status_code == 401
