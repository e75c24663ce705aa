"""Processes that a benchmark needs: the faulty origin, ourselves, nginx; each on the core it is given."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "bench-access", "bench-secret"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


@contextmanager
def process(command: list[str], core: int, **arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A pinned process, ended by SIGTERM, then SIGKILL."""
    running = subprocess.Popen(["taskset", "-c", str(core), *command], **arguments)  # type: ignore[call-overload]
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def origin(*arguments: str, core: int = 1, signed: bool = True) -> Iterator[int]:
    """The embedded origin as a process; yields its port."""
    port = free_port()
    keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY] if signed else []
    command = [sys.executable, "-m", "yatagarasu.bench.standalone", "--port", str(port), *keys, *arguments]
    with process(command, core, stdout=subprocess.DEVNULL):
        wait_port(port)
        yield port


@contextmanager
def ourselves(origin_port: int, *, core: int = 0, memory: str = "", signed: bool = True) -> Iterator[tuple[int, int]]:
    """One worker with access log to a file; yields its port and process id."""
    port = free_port()
    keys = f'access_key = "{ACCESS_KEY}"\nsecret_key = "{SECRET_KEY}"' if signed else "anonymous = true"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "yatagarasu.toml")
        config.write_text(
            f"""
[server]
listen = ["127.0.0.1:{port}"]
max_connections = 20_000
idle_timeout = "1h"
[admin]
listen = "127.0.0.1:0"
[cache]
ttl = "1h"
{memory}
[[buckets]]
name = "b"
path_prefix = "/b"
[buckets.s3]
bucket = "bench"
endpoint = "http://127.0.0.1:{origin_port}"
{keys}
"""
        )
        command = [sys.executable, "-m", "yatagarasu", "serve", "-c", str(config)]
        with (
            open(Path(folder, "access.log"), "wb") as access,
            process(command, core, stdout=access, stderr=subprocess.DEVNULL) as running,
        ):
            wait_port(port)
            yield port, running.pid


@contextmanager
def nginx(origin_port: int, *, core: int = 0) -> Iterator[int]:
    """Run nginx with proxy_cache and an access log, one worker; yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 20000; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=1s;
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 3600;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_cache_path {folder}/cache keys_zone=c:64m max_size=8g inactive=1h use_temp_path=off;
  upstream o {{ server 127.0.0.1:{origin_port}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port};
    location /b/ {{ proxy_pass http://o/bench/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache c; proxy_cache_valid 200 1h; proxy_cache_lock on; add_header X-Cache $upstream_cache_status; }} }}
}}
"""
        )
        with process([shutil.which("nginx") or "nginx", "-c", str(config)], core, stderr=subprocess.DEVNULL):
            wait_port(port)
            yield port


def wrk(
    url: str,
    *,
    seconds: int = 4,
    connections: int = 32,
    core: int | str = 1,
    script: str | None = None,
    threads: int = 1,
) -> tuple[float, float]:
    """Requests/s and bytes/s of a closed loop; raises where anything but 2xx came back."""
    command = ["taskset", "-c", str(core), "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    command += ["--timeout", "30s"]
    command += ["-s", script] if script else []
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output:
        raise RuntimeError(output)
    requests = float(re.search(r"Requests/sec:\s+([0-9.]+)", output)[1])  # type: ignore[index]
    transfer = re.search(r"Transfer/sec:\s+([0-9.]+)([KMG]?)B", output)
    assert transfer is not None
    return requests, float(transfer[1]) * {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}[transfer[2]]


def memory_bytes(pid: int) -> int:
    """Anonymous memory of a process: what its own data takes, less the page cache it maps."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no such process {pid}")
