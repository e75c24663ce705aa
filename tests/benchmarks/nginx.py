"""nginx as the disk tier's benchmarks compare with: whole objects as it keeps them best, or slices of 1 MiB."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import free_port, process, wait_port


@dataclass(frozen=True)
class Nginx:
    """A running nginx: its port, its master's process id, where its cache is."""

    port: int
    pid: int
    cache: Path


@contextmanager
def caching_nginx(
    origin_port: int,
    folder: Path,
    *,
    is_sliced: bool = False,
    workers: int = 1,
    cores: str = "0",
    max_size: str = "8g",
) -> Iterator[Nginx]:
    """`/b/` is the origin's bucket `bench`; proxy_cache with its lock, access log to a file, sendfile.

    Without `tcp_nopush`: on loopback, with its segments of 64 KiB, that made each 64 KiB range wait 40 ms for a
    delayed acknowledgement, 900 requests/s instead of 10,000.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    slices = "slice 1m; proxy_set_header Range $slice_range; proxy_cache_key $uri$slice_range;" if is_sliced else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"""
daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 20000; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=1s;
  sendfile on; keepalive_requests 1000000000; keepalive_timeout 3600;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=c:64m max_size={max_size} inactive=1h use_temp_path=off;
  upstream o {{ server 127.0.0.1:{origin_port}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port} reuseport;
    location /b/ {{ proxy_pass http://o/bench/; proxy_http_version 1.1; proxy_set_header Connection "";
      {slices}
      proxy_cache c; proxy_cache_valid 200 206 1h; proxy_cache_lock on; add_header X-Cache $upstream_cache_status; }} }}
}}
"""
    )
    command = [shutil.which("nginx") or "nginx", "-c", str(config)]
    with process(command, cores, stderr=subprocess.DEVNULL) as running:  # type: ignore[arg-type]
        wait_port(port)
        yield Nginx(port, running.pid, folder / "cache")
