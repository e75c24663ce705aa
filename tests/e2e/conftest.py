"""A real S3 server (SeaweedFS, from PyPI) and the real command line, each as a process of its own."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import trio
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from yatagarasu.bench.origin import EmbeddedOrigin

ACCESS_KEY, SECRET_KEY = "weed-access", "weed-secret-canary"
BUCKET = "bucket"


def system_program(name: str) -> str:
    """The path of a program that PyPI does not bring; where it is missing the test is skipped, or fails in CI."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("YATAGARASU_REQUIRE_SYSTEM"), f"{name} is missing"
        pytest.skip(f"needs {name}: apt-get install {name}")
    return found


@dataclass
class RealS3:
    """A running S3 server that checks signatures."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = "us-east-1"

    def client(self) -> Any:
        return s3_client(self.endpoint, self.access_key, self.secret_key)


def s3_client(endpoint: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4",  # or URLs are presigned with version 2
            s3={"addressing_style": "path"},
            retries={"max_attempts": 1},
            connect_timeout=2,
            read_timeout=30,
        ),
    )


def free_ports(count: int) -> list[int]:
    """Ports below 20,000 that are free, as are those 10,000 above, which SeaweedFS takes for gRPC."""
    found: list[int] = []
    # Processes that test side by side look in ranges of their own.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    port = 10_000 + worker % 3 * 2_500 + os.getpid() % 2_000
    while len(found) < count:
        port += 1
        with socket.socket() as low, socket.socket() as high:
            try:
                low.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
    return found


@pytest.fixture(scope="session")
def seaweed_process() -> Iterator[str]:
    """SeaweedFS, started in the background: who needs it waits in `seaweed`."""
    folder = tempfile.mkdtemp(prefix="yatagarasu-weed-")
    identities = {
        "identities": [
            {
                "name": "admin",
                "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }
    Path(folder, "s3.json").write_text(json.dumps(identities))
    master, volume, filer, s3 = free_ports(4)
    weed = Path(sysconfig.get_path("scripts"), "weed")
    process = subprocess.Popen(
        [
            str(weed if weed.exists() else shutil.which("weed")),
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
            f"-master.port={master}",
            f"-volume.port={volume}",
            "-filer",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.config={folder}/s3.json",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=512",
            "-volume.max=20",
            "-volume.preStopSeconds=0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def seaweed(seaweed_process: str) -> RealS3:
    """SeaweedFS once it takes a PUT, with one bucket."""
    server = RealS3(seaweed_process)
    client = server.client()
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)
        else:
            return server


@dataclass
class Served:
    """A running `yatagarasu serve`."""

    process: subprocess.Popen[bytes]
    url: str
    admin_url: str
    folder: Path
    config: Path
    extra: dict[str, str] = field(default_factory=dict)

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


READY = re.compile(r"ready on (?P<url>\S+?)(?:, admin on (?P<admin>\S+))?\s")


def bucket_section(endpoint: str, *, name: str = "b", secret: str = SECRET_KEY, more: str = "") -> str:
    return f"""
[[buckets]]
name = "{name}"
path_prefix = "/{name}"
list = true
cache = {{ ttl = "1h" }}
{more}
[buckets.s3]
bucket = "{BUCKET}"
endpoint = "{endpoint}"
access_key = "{ACCESS_KEY}"
secret_key = "{secret}"
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `yatagarasu serve` on a config's buckets and wait for its ready line."""
    running: list[Served] = []
    numbers = itertools.count()

    def start(buckets: str, *, top: str = "", server: str = "") -> Served:
        folder = tmp_path / f"serve{next(numbers)}"
        folder.mkdir()
        config = folder / "yatagarasu.toml"
        text = f'[server]\nlisten = ["127.0.0.1:0"]\n{server}\n[admin]\nlisten = "127.0.0.1:0"\n{top}\n{buckets}'
        config.write_text(text)
        served = launch(["-c", str(config)], folder, config)
        running.append(served)
        return served

    yield start
    for served in running:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()


def launch(arguments: list[str], folder: Path, config: Path) -> Served:
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        process = subprocess.Popen([sys.executable, "-m", "yatagarasu", "serve", *arguments], stdout=out, stderr=err)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        text = (folder / "stderr").read_text()
        match = READY.search(text)
        if match is not None:
            return Served(process, match["url"], match["admin"] or "", folder, config)
        if process.poll() is not None:
            raise RuntimeError(f"serve ended with {process.returncode}: {text}")
        time.sleep(0.02)
    process.kill()
    raise RuntimeError("serve was not ready within 20 s")


@pytest.fixture
def embedded() -> Iterator[EmbeddedOrigin]:
    """The embedded origin on a thread of its own: what it was asked can be looked at."""
    origin = EmbeddedOrigin()
    ready = threading.Event()
    stop: list[trio.CancelScope] = []
    token: list[trio.lowlevel.TrioToken] = []

    async def run() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            stop.append(nursery.cancel_scope)
            await nursery.start(origin.serve)
            ready.set()

    thread = threading.Thread(target=trio.run, args=(run,), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield origin
    token[0].run_sync_soon(stop[0].cancel)
    thread.join(10)
