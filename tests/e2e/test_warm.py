"""`warm-cache` as people run it: a subprocess, real sockets, what it says held against what the origin was asked."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import BUCKET, RealS3, Served, bucket_section
from yatagarasu.bench.faults import Fault
from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.pattern import pattern_bytes

pytestmark = pytest.mark.e2e

KIB, MIB = 1024, 1024 * 1024


class Place:
    """A folder with a config, lists, a cache; runs the command."""

    def __init__(self, folder: Path, endpoint: str, bucket: str = "bkt") -> None:
        self.folder = folder
        self.config = folder / "c.toml"
        self.cache = folder / "cache"
        self.settings = self.section(endpoint, bucket)
        self.config.write_text('[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ""\n' + self.settings)

    def section(self, endpoint: str, bucket: str) -> str:
        return f"""
[cache]
ttl = "1h"
disk = {{ path = "{self.cache}", max_size = "1GiB" }}
[origin]
retry = {{ attempts = 2, backoff = "10ms" }}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "{bucket}"
endpoint = "{endpoint}"
anonymous = true
"""

    def list(self, text: str, name: str = "l.txt") -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "yatagarasu", "warm-cache", *arguments]
        env = os.environ | {"XDG_STATE_HOME": str(self.folder / "state")}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **more)

    def run(self, *arguments: str, data: bytes | None = None, code: int = 0) -> tuple[dict[str, Any], str]:
        """The report as JSON, and stderr."""
        with self.start("-c", str(self.config), "--json", *arguments, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(data, 60)
        assert process.returncode == code, err.decode()
        return json.loads(out), err.decode()


@pytest.fixture
def place(tmp_path: Path, embedded: EmbeddedOrigin) -> Place:
    for number in range(300):
        embedded.store.put_pattern("bkt", f"k{number}", 10 * KIB, seed=number)
    embedded.store.put_pattern("bkt", "large", 5 * MIB, seed=1000)
    embedded.store.put_pattern("bkt", "empty", 0, seed=1)
    return Place(tmp_path, embedded.endpoint)


def keys(count: int) -> str:
    return "".join(f"k{number}\n" for number in range(count))


def test_what_was_warmed_is_a_hit_and_again_costs_nothing(
    place: Place, embedded: EmbeddedOrigin, serve: Callable[..., Served]
) -> None:
    names = place.list(keys(300) + "large\nempty\n")
    report, _ = place.run(names)
    assert (report["warmed"], report["failed"], report["bytes"]) == (302, 0, 300 * 10 * KIB + 5 * MIB)
    assert (report["requests"], embedded.request_count()) == (302, 302)
    assert report["bytes"] == embedded.bytes_sent()
    again, _ = place.run(names)
    assert (again["warmed"], again["present"], embedded.request_count()) == (0, 302, 302)
    served = serve(place.settings)
    with httpx.Client(base_url=served.url) as client:
        for number in range(0, 300, 7):
            answer = client.get(f"/b/k{number}")
            assert answer.headers["x-cache"] == "HIT"
            assert answer.content == pattern_bytes(number, 0, 10 * KIB)
        answer = client.get("/b/large")
        assert (answer.headers["x-cache"], answer.content) == ("HIT", pattern_bytes(1000, 0, 5 * MIB))
    assert embedded.request_count() == 302


def test_a_running_server_is_found_and_its_flights_are_joined(
    place: Place, embedded: EmbeddedOrigin, serve: Callable[..., Served]
) -> None:
    served = serve(place.settings)
    embedded.faults.add(Fault(latency=0.3))
    with place.start("-c", str(place.config), "--json", place.list(keys(40))) as process:
        with httpx.Client(base_url=served.url) as client:
            for number in range(40):
                client.get(f"/b/k{number}")
        out, err = process.communicate(timeout=60)
    assert f"through the server at {served.url.removeprefix('http://')}" in err.decode()
    report = json.loads(out)
    assert report["warmed"] + report["present"] == 40
    # One request for each object, whoever asked first.
    assert embedded.request_count() == 40


def test_through_any_proxy_and_without_a_config(
    place: Place, embedded: EmbeddedOrigin, serve: Callable[..., Served]
) -> None:
    served = serve(place.settings)
    with place.start("--via", f"{served.url}/b", "--json", place.list("s3://elsewhere/k1\nk2\nabsent\n")) as process:
        out, _ = process.communicate(timeout=60)
    report = json.loads(out)
    assert process.returncode == 1
    assert (report["warmed"], report["failed"], report["reasons"]) == (2, 1, {"answered 404": 1})


def test_the_bucket_is_listed_where_there_is_no_list(place: Place, embedded: EmbeddedOrigin) -> None:
    report, _ = place.run("--prefix", "k1", "--exclude", "k1?5", "--max-bytes", "10KiB")
    assert (report["listed"], report["warmed"], report["skipped"]) == (111, 101, 10)
    assert embedded.request_count() == 101 + 1


@pytest.mark.parametrize(
    ("arguments", "requests", "size"),
    [
        (("--ranges", "first=1MiB,last=64KiB"), ["bytes=0-1048575", "bytes=4194304-5242879"], MIB + 64 * KIB),
        (("--head-only",), [None], 0),
    ],
)
def test_parts_of_objects(
    arguments: tuple[str, ...],
    requests: list[str | None],
    size: int,
    place: Place,
    embedded: EmbeddedOrigin,
    serve: Callable[..., Served],
) -> None:
    report, _ = place.run(place.list("large\n"), *arguments)
    assert (report["warmed"], report["bytes"]) == (1, size)
    assert [seen.range for seen in embedded.requests] == requests
    served = serve(place.settings)
    ask = {"range": "bytes=5-99"} if size else {}
    answer = httpx.request("GET" if size else "HEAD", f"{served.url}/b/large", headers=ask)
    assert answer.headers["x-cache"] == "HIT"
    assert answer.content == (pattern_bytes(1000, 5, 100) if size else b"")
    assert len(embedded.requests) == len(requests)
    # What was left out comes when it is asked for, of the same version.
    assert httpx.get(f"{served.url}/b/large").content == pattern_bytes(1000, 0, 5 * MIB)


def test_malformed_lines_are_named_and_end_nothing(place: Place) -> None:
    names = place.list("k1\na/../b\nk2\n")
    report, err = place.run(names)
    assert (report["warmed"], report["malformed"]) == (2, 1)
    assert f"{names}:2: a key with a segment of dots only: a/../b" in err
    with place.start("-c", str(place.config), "--strict", "--restart", names) as process:
        _, strict = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"yatagarasu: {names}:2: a key with a segment of dots only" in strict.decode()
    assert "Traceback" not in strict.decode()


def test_failures_are_told_counted_and_allowed(place: Place, embedded: EmbeddedOrigin) -> None:
    names = place.list(keys(9) + "absent\n")
    failed = place.folder / "failed"
    report, err = place.run(names, "--failed", str(failed), code=1)
    assert (report["warmed"], report["failed"], report["reasons"]) == (9, 1, {"404 NoSuchKey": 1})
    assert f"failed: absent ({names}:10): 404 NoSuchKey" in err
    assert failed.read_text() == "absent\n"
    assert report["failures"] == [{"key": "absent", "source": names, "line": 10, "reason": "404 NoSuchKey"}]
    place.run(names, "--allow-failures", "10%")
    place.run(names, "--allow-failures", "9.9%", code=1)


def test_standard_input_and_other_buckets(place: Place) -> None:
    report, _ = place.run("-", data=b"k1\ns3://bkt/k2\ns3://other-bucket/k3\n", code=1)
    assert report["warmed"] == 2
    assert report["reasons"] == {"no bucket of the config is s3://other-bucket": 1}


@pytest.mark.slow
def test_slow_down_is_heeded_and_nothing_is_lost(place: Place, embedded: EmbeddedOrigin) -> None:
    # Two attempts are the proxy's own: the job must come back.
    embedded.faults.add(Fault(status=503), count=60)
    report, _ = place.run(place.list(keys(100)), "-j", "16")
    assert (report["warmed"], report["failed"]) == (100, 0)
    assert report["overloads"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_job_goes_on(number: signal.Signals, place: Place, embedded: EmbeddedOrigin) -> None:
    names = place.list(keys(300))
    with place.start("-c", str(place.config), "--rate", "60", "--json", names) as process:
        deadline = time.monotonic() + 20
        while embedded.request_count() < 150 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -number), err.decode()
    before = embedded.request_count()
    report, _ = place.run(names)
    if number == signal.SIGINT:
        first = json.loads(out)
        assert "the same command goes on" in first["notes"][0]
        assert report["done_earlier"] == first["warmed"]
    # Of a killed run, what the journal did not yet say is done; what the disk had of it is there all the same.
    assert report["done_earlier"] >= 60
    assert report["done_earlier"] + report["warmed"] + report["present"] == 300
    assert embedded.request_count() - before == report["warmed"]
    assert not list((place.folder / "state").rglob("*.json"))
    # The limit was kept: 60 a second from the first on, and a tenth of a second's worth at once.
    times = [seen.at for seen in embedded.requests][:before]
    assert before <= (times[-1] - times[0]) * 60 + 6 + 32


USAGE = {
    "nothing": ([], "give --config FILE, or --via URL"),
    "no-list": (["-c", "CONFIG"], "give object lists, or --prefix"),
    "concurrency": (["-c", "CONFIG", "-j", "0", "l"], "concurrency is a number from 1 to 1024"),
    "rate": (["-c", "CONFIG", "--rate", "0", "l"], "rate is a number of requests per second"),
    "bandwidth": (["-c", "CONFIG", "--bandwidth", "fast", "l"], "bandwidth: 'fast' is not a size"),
    "ranges": (["-c", "CONFIG", "--ranges", "first", "l"], "ranges: 'first' is not"),
    "both": (["-c", "CONFIG", "--ranges", "first=1", "--head-only", "l"], "exclude each other"),
    "newer": (["-c", "CONFIG", "--newer-than", "soon", "l"], "newer-than: 'soon' is neither"),
    "allow": (["-c", "CONFIG", "--allow-failures", "many", "l"], "allow-failures: 'many' is not a share"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage(arguments: list[str], message: str, place: Place) -> None:
    with place.start(*[str(place.config) if word == "CONFIG" else word for word in arguments]) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message in err.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.txt"], "absent.txt: No such file or directory"),
        (["--bucket", "bb", "l.txt"], "no bucket 'bb'; did you mean \"b\"?"),
        (["--via", "ftp://host", "l.txt"], "is not a URL like http://host:port/path"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], message: str, place: Place) -> None:
    place.list("k1\n")
    with place.start("-c", str(place.config), *arguments, cwd=place.folder) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert message in err.decode()
    assert "Traceback" not in err.decode()


def test_real_s3(seaweed: RealS3, tmp_path: Path, serve: Callable[..., Served]) -> None:
    client = seaweed.client()
    bodies = {f"warm/{number} +ü%2F{number}": os.urandom(3000 + number) for number in range(40)}
    bodies["warm/large"] = os.urandom(3 * MIB)
    for key, body in bodies.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
    place = Place(tmp_path, seaweed.endpoint)
    place.settings = f'[cache]\ndisk = {{ path = "{place.cache}", max_size = "1GiB" }}\n' + bucket_section(
        seaweed.endpoint
    )
    place.config.write_text('[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ""\n' + place.settings)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="warm/")
    listing = place.list(json.dumps({"Contents": listed["Contents"]}, default=str, indent=2), "l.json")
    report, _ = place.run(listing)
    assert (report["warmed"], report["bytes"]) == (41, sum(map(len, bodies.values())))
    again, _ = place.run("--prefix", "warm/")
    assert (again["present"], again["warmed"]) == (41, 0)
    served = serve(place.settings)
    s3 = seaweed.__class__(served.url, seaweed.access_key, seaweed.secret_key).client()
    for key, body in bodies.items():
        found = s3.get_object(Bucket="b", Key=key)
        assert found["Body"].read() == body
        assert found["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "HIT"
