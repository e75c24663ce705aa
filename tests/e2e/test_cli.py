"""`yatagarasu serve` as a process: start, errors, signals."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Served, launch

pytestmark = pytest.mark.e2e


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yatagarasu", *arguments], capture_output=True, text=True, timeout=30, **more
    )


def folder_bucket(folder: Path, name: str = "b") -> str:
    return f'[[buckets]]\nname = "{name}"\npath_prefix = "/{name}"\ndirectory = "{folder}"\n'


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"hello")
    with open(folder / "large", "wb") as file:
        file.truncate(200_000_000)
    return folder


def test_a_folder_is_served_like_a_bucket(serve: Callable[..., Served], files: Path):
    served = serve(folder_bucket(files))
    assert httpx.get(f"{served.url}/b/a.txt").text == "hello"
    assert httpx.get(f"{served.url}/b/../a.txt".replace("..", "%2e%2e")).status_code == 400
    assert httpx.get(f"{served.url}/b/none").status_code == 404


def test_a_missing_file_is_named():
    done = run("serve", "-c", "/nowhere/x.toml")
    assert done.returncode == 1
    assert "/nowhere/x.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_config_shows_its_problems(tmp_path: Path):
    config = tmp_path / "bad.toml"
    config.write_text('[server]\nlisten = ["127.0.0.1:0"]\nidle_timeot = "3s"\n')
    done = run("serve", "-c", str(config))
    assert done.returncode == 1
    assert f"{config}:3:1" in done.stderr
    assert "idle_timeout" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_line(tmp_path: Path, files: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "c.toml"
        config.write_text(f'[server]\nlisten = ["127.0.0.1:{port}"]\n[admin]\nlisten = ""\n' + folder_bucket(files))
        done = run("serve", "-c", str(config))
    assert done.returncode == 1
    assert (
        done.stderr.strip() == f"yatagarasu: cannot listen on 127.0.0.1:{port}: the address is taken by another process"
    )


def test_usage_errors_exit_with_2():
    assert run("serve").returncode == 2
    assert run("serve", "--demo", "-c", "x").returncode == 2
    assert run("nonsense").returncode == 2


def test_sigterm_lets_a_download_finish(serve: Callable[..., Served], files: Path):
    served = serve(folder_bucket(files))
    with httpx.stream("GET", f"{served.url}/b/large", timeout=20) as response:
        chunks = response.iter_bytes(65_536)
        received = len(next(chunks))
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert served.process.poll() is None
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/b/a.txt")
        received += sum(len(chunk) for chunk in chunks)
    assert received == 200_000_000
    assert served.process.wait(5) == 0


def test_a_second_signal_ends_at_once(serve: Callable[..., Served], files: Path):
    served = serve(folder_bucket(files))
    with httpx.stream("GET", f"{served.url}/b/large", timeout=20) as response:
        chunks = response.iter_bytes(65_536)  # held: the response is closed with its iterator
        next(chunks)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(5) == 1


def test_the_drain_has_a_deadline(serve: Callable[..., Served], files: Path):
    served = serve(folder_bucket(files), top='[log]\nlevel = "info"\n')
    served.stop()
    text = served.config.read_text().replace("[server]", '[server]\ndrain_timeout = "300ms"')
    served.config.write_text(text)
    again = launch(["-c", str(served.config)], served.folder, served.config)
    with httpx.stream("GET", f"{again.url}/b/large", timeout=20) as response:
        chunks = response.iter_bytes(65_536)  # held: the response is closed with its iterator
        next(chunks)
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(5) == 1
    assert "drain_cut_short" in again.stderr()


def test_sighup_takes_a_new_config_and_refuses_a_bad_one(serve: Callable[..., Served], files: Path):
    served = serve(folder_bucket(files))
    good = served.config.read_text()
    served.config.write_text(good + folder_bucket(files, "second"))
    served.process.send_signal(signal.SIGHUP)
    wait_for(lambda: httpx.get(f"{served.url}/second/a.txt").status_code == 200)
    served.config.write_text("nonsense")
    served.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reload_refused" in served.stderr())
    assert httpx.get(f"{served.url}/second/a.txt").text == "hello"
    assert served.stop() == 0


def test_the_demo_serves_and_says_what_to_try(tmp_path: Path):
    served = launch(["--demo", "--listen", "127.0.0.1:0"], tmp_path, tmp_path)
    try:
        answer = httpx.get(f"{served.url}/demo/hello.txt")
        assert answer.text == "Hello from S3.\n"
        assert httpx.get(f"{served.url}/demo/hello.txt").headers["x-cache"] == "HIT"
        wait_for(lambda: f"curl -i {served.url}/demo/hello.txt" in served.stderr())
        assert served.stop() == 0
    finally:
        served.process.kill()
        served.process.wait()


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['yatagarasu', '--help']\n"
        "from yatagarasu.cli import run\nrun()\n"
        "print([name for name in ('boto3', 'botocore', 'httpx', 'pydantic', 'trio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    for command in ("serve", "validate-config", "warm-cache", "bench"):
        assert command in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
