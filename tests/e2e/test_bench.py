"""`yatagarasu bench` as people run it: what it says is what the origin and the servers saw."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import BUCKET, RealS3, Served, bucket_section, free_ports

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-m", "yatagarasu", "bench"]


def bench(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(path.read_text())
    return {f"{row['scenario']}: {row['case']}" if row["case"] else row["scenario"]: row for row in found["rows"]}


def numbers(row: dict[str, Any], at: int = 0) -> dict[str, float]:
    return row["runs"][at]["numbers"]


@pytest.fixture
def origin() -> Iterator[str]:
    port = free_ports(1)[0]
    with subprocess.Popen(
        [*COMMAND, "--origin-listen", f"127.0.0.1:{port}"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "embedded origin ready on" in process.stderr.readline()
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def leftovers() -> set[str]:
    """Processes and folders of benches that are still there."""
    found = {str(path) for path in Path("/tmp").glob("yatagarasu-bench-*")}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if b"yatagarasu-bench-" in line or b"yatagarasu.bench.worker" in line:
            found.add(line.replace(b"\0", b" ").decode())
    return found


@pytest.mark.slow
def test_a_short_tour_measures_everything_and_leaves_nothing(tmp_path: Path):
    before = leftovers()
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    # What else runs on the machine takes its part: some seconds more, that no load is without an answer.
    done = bench("--seconds", "15", "--json", out, "--html", page, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(out)
    names = {name.partition(":")[0] for name in rows}
    assert names == {
        "hit", "miss", "mixed", "stampede", "range", "large", "coalescing", "faults", "coalescer", "connections",
    }  # fmt: skip
    for name in ("hit", "miss", "mixed", "range", "large", "coalescing: on", "coalescing: off"):
        found = numbers(rows[name])
        assert found["failed"] == 0, name
        assert found["good"] > 0, name
        assert found["requests"] == found["good"], name
        assert 0 < found["p50"] <= found["p90"] <= found["p99"] <= found["p99.9"] <= found["max"], name
        assert found["throughput"] == pytest.approx(found["body_bytes"] / found["seconds"]), name
        if name != "mixed":
            assert found["saved_bytes"] == max(0, found["sent_bytes"] - found["origin_bytes"]), name
        assert f" {name} " in done.stdout, name
    # Every object that was asked for cost the origin one request, and as many bytes as it has.
    miss = numbers(rows["miss"])
    assert miss["origin_requests"] == miss["sent"]
    assert miss["origin_bytes"] == miss["sent_bytes"] == miss["sent"] * 10 * 1024
    stampede = numbers(rows["stampede"])
    assert (stampede["origin_requests"], stampede["good"]) == (1, 500)
    assert stampede["saved_bytes"] == 499 * 1024 * 1024
    assert numbers(rows["coalescing: on"])["origin_most"] == 1
    assert numbers(rows["coalescing: off"])["origin_most"] > 1
    assert numbers(rows["hit"])["origin_requests"] == 1
    assert 0.1 < numbers(rows["mixed"])["hit_ratio"] < 1
    survivors = {row["case"]: numbers(row) for row in rows.values() if row["scenario"] == "faults"}
    assert all(found["wrong"] == 0 for case, found in survivors.items() if case != "short lie, once")
    assert survivors["cut, once"]["whole"] == survivors["stall, once"]["whole"] == 8
    assert survivors["cut, once"]["origin_requests"] == 2
    assert "checks hold" in done.stdout
    assert page.read_text().count("<svg") >= 13
    assert leftovers() <= before


@pytest.mark.slow
def test_an_open_loop_keeps_its_rate_and_a_report_compares_with_itself(tmp_path: Path):
    out = tmp_path / "r.json"
    options = ("hit", "--set", "rate=500", "--seconds", "1", "--runs", "2", "--connections", "4", "-q")
    done = bench(*options, "--json", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    row = rows_of(out)["hit"]
    assert len(row["runs"]) == 2
    assert row["parameters"] == {"size": "10KiB", "keys": "1", "rate": "500"}
    # Poisson: a standard deviation is 22.
    assert all(abs(numbers(row, at)["rate"] - 500) < 150 for at in (0, 1))
    again = bench(*options, "--compare", out, "--fail-under", "0.5")
    assert again.returncode == 0, again.stdout
    assert "ratios above 1 are better" in again.stdout


@pytest.mark.slow
def test_a_slower_server_fails_the_comparison(tmp_path: Path):
    out = tmp_path / "r.json"
    options = ("hit", "--seconds", "0.5", "--runs", "2", "--connections", "4", "-q")
    assert bench(*options, "--json", out).returncode == 0
    report = json.loads(out.read_text())
    for run in report["rows"][0]["runs"]:
        run["numbers"]["rate"] *= 20
    out.write_text(json.dumps(report))
    done = bench(*options, "--compare", out, "--fail-under", "0.9")
    assert done.returncode == 1
    assert "worse" in done.stdout


@pytest.mark.slow
def test_a_foreign_proxy_before_the_origin(origin: str, serve: Callable[..., Served], tmp_path: Path):
    """Our own server stands in for somebody else's: the bench only knows its URL."""
    served = serve(bucket_section(origin).replace('bucket = "bucket"', 'bucket = "bench"'))
    out = tmp_path / "r.json"
    done = bench(
        "miss", "stampede", "faults", "--set", "faults.only=cut;stall", "--set", "when=once", "--set", "clients=20",
        "--target", f"{served.url}/b", "--origin", origin, "--pid", str(served.process.pid),
        "--seconds", "0.5", "--runs", "1", "--json", out,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    rows = rows_of(out)
    miss = numbers(rows["miss"])
    assert miss["origin_requests"] == miss["sent"] > 10
    assert miss["server_share"] > 0
    assert numbers(rows["stampede"])["origin_requests"] == 1
    assert numbers(rows["faults: cut, once"])["whole"] == 20
    total = httpx.get(f"{origin}/-/counts", trust_env=False).json()
    # One for the probe, two for each of the faults.
    assert total["requests"] == miss["sent"] + 1 + 1 + 2 + numbers(rows["faults: stall, once"])["origin_requests"]


@pytest.mark.slow
def test_any_url_can_be_measured(origin: str, tmp_path: Path):
    out = tmp_path / "r.json"
    url = f"{origin}/bench/3000B/x"
    done = bench("--target", url, "--seconds", "2", "--json", out)
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert set(rows) == {"hit", "range", "large"}
    hit = numbers(rows["hit"])
    assert hit["failed"] == 0
    assert hit["body_bytes"] / hit["good"] == pytest.approx(3000, rel=0.2)
    assert "origin_requests" not in hit


@pytest.mark.slow
def test_a_real_s3_server_by_itself_and_behind_us(seaweed: RealS3, serve: Callable[..., Served], tmp_path: Path):
    client = seaweed.client()
    client.put_object(Bucket=BUCKET, Key="bench-object", Body=os.urandom(50_000))
    presigned = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "bench-object"})
    served = serve(bucket_section(seaweed.endpoint))
    found = {}
    for name, url in (("s3", presigned), ("ours", f"{served.url}/b/bench-object")):
        out = tmp_path / f"{name}.json"
        done = bench("hit", "range", "--target", url, "--seconds", "1", "--runs", "1", "--json", out, "-q")
        assert done.returncode == 0, done.stdout + done.stderr
        found[name] = rows_of(out)
        hit, ranges = numbers(found[name]["hit"]), numbers(found[name]["range"])
        assert hit["failed"] == ranges["failed"] == 0
        assert hit["body_bytes"] / hit["seconds"] == pytest.approx(hit["rate"] * 50_000, rel=0.2)
        assert hit["good"] > 20
    # Every one of ours came out of the cache: the metrics have seen as many requests, and one origin request.
    text = httpx.get(f"{served.admin_url}/metrics", trust_env=False).text
    total = sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("yatagarasu_origin_requests_total")
    )
    assert total == 1


@pytest.mark.slow
def test_a_config_of_ones_own_is_what_is_measured(tmp_path: Path):
    config = tmp_path / "own.toml"
    config.write_text(
        "[coalescing]\nenabled = false\n[[buckets]]\nname = 'x'\npath_prefix = '/x'\n[buckets.s3]\nbucket = 'none'\n"
        "endpoint = 'http://127.0.0.1:1'\n"
    )
    out = tmp_path / "r.json"
    done = bench("stampede", "--set", "clients=20", "--runs", "1", "--config", config, "--json", out)
    # Its herd is not coalesced: the check that the origin is asked once does not hold.
    assert done.returncode == 1
    assert numbers(rows_of(out)["stampede"])["origin_requests"] == 20
    assert "FAILED stampede: not one origin request per object" in done.stdout
    config.write_text("[cache]\nmemroy = 1\n[[buckets]]\nname = 'x'\npath_prefix = '/x'\n")
    done = bench("hit", "--config", config)
    assert done.returncode == 2
    assert "memroy" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no scenario 'nothing'"),
        (["hit", "--set", "size=x"], "size=x"),
        (["--set", "size=1KiB"], "scenarios that are named"),
        (["--fail-under", "0.9"], "needs --compare"),
        (["--target", "http://127.0.0.1:1/x"], "cannot measure http://127.0.0.1:1/x"),
        (["--target", "nonsense"], "cannot measure nonsense"),
        (["--target", "http://127.0.0.1:1/x", "--origin", "http://127.0.0.1:1"], "is not the origin"),
        (["--target", "http://127.0.0.1:1/x", "--config", "x"], "either --target or --config"),
        (["--origin", "http://127.0.0.1:1"], "are of a --target"),
        (["--config", "/nowhere.toml"], "/nowhere.toml: No such file"),
        (["--compare", "/nowhere.json"], "/nowhere.json: No such file"),
        (["--origin-listen", "nowhere"], "expected HOST:PORT"),
        (["--origin-listen", "192.0.2.1:80"], "192.0.2.1:80"),
        (["stampede", "--target", "http://127.0.0.1:1/x"], "stampede needs a server in front"),
    ],
)
def test_usage(arguments: list[str], message: str):
    done = bench(*arguments, "--seconds", "1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_scenarios_are_described():
    done = bench("--list")
    assert done.returncode == 0
    assert "stampede: a herd of clients" in done.stdout
    assert "exponent=0.9" in done.stdout


def test_ctrl_c_shows_what_is_there_and_ends_everything(tmp_path: Path):
    before = leftovers()
    out = tmp_path / "r.json"
    command = [*COMMAND, "hit", "miss", "--seconds", "3", "--runs", "1", "--json", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("miss"):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert " hit " in stdout
    assert set(rows_of(out)) == {"hit"}
    assert leftovers() <= before


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path):
    done = bench("coalescer", "--set", "count=100", "--runs", "1", "--json", tmp_path / "no" / "r.json")
    assert done.returncode == 2
    assert "r.json: No such file or directory" in done.stderr
    assert "join" in done.stdout  # What was measured is not lost.


def test_a_terminal_gets_a_live_line(tmp_path: Path):
    import pty

    parent, child = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "hit", "--seconds", "1", "--runs", "1"], stdout=subprocess.PIPE, stderr=child, text=True
    ) as process:
        os.close(child)
        said = b""
        try:
            while data := os.read(parent, 65_536):
                said += data
        except OSError:
            pass  # The terminal's other side is closed.
        os.close(parent)
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"requests/s" in said
    assert " hit " in stdout
