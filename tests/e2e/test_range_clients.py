"""Programs that read by ranges, through the disk tier, out of a real S3 server: again costs no origin request.

Every test here needs `[cache] disk`. The objects are larger than what the memory tier takes.
"""

import http.client
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import fsspec
import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.http import HTTPFileSystem
from pyarrow.fs import S3FileSystem

from tests.e2e.conftest import BUCKET, RealS3, Served, bucket_section, system_program

pytestmark = pytest.mark.e2e

MIB = 1024 * 1024
BLOCK = MIB
ROWS = 600_000
VIDEO = random.Random(3).randbytes(48 * MIB + 12_345)
MOOV = 300_000  # bytes at the end that a player needs before it can seek


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Four columns of 5 MB each, none of which compresses."""
    columns: dict[str, pa.Array] = {
        name: pc.random(ROWS, initializer=number) for number, name in enumerate(("price", "weight", "height"))
    }
    return pa.table({"id": pa.array(range(ROWS), pa.int64()), **columns})


@pytest.fixture(scope="module")
def filled(seaweed: RealS3, table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> RealS3:
    path = tmp_path_factory.mktemp("parquet") / "table.parquet"
    pq.write_table(table, path, row_group_size=ROWS // 4, compression="none", use_dictionary=False)
    assert path.stat().st_size > 18 * MIB
    client = seaweed.client()
    client.upload_file(str(path), BUCKET, "table.parquet")
    client.put_object(Bucket=BUCKET, Key="video.mp4", Body=VIDEO, ContentType="video/mp4")
    return seaweed


@pytest.fixture
def serve_disk(filled: RealS3, serve: Callable[..., Served], tmp_path: Path) -> Callable[[], Served]:
    """Start the proxy; each time on the same directory."""
    disk = f'[cache]\ndisk = {{ path = "{tmp_path}/disk", max_size = "1GiB", block_size = "{BLOCK}B" }}'
    return lambda: serve(bucket_section(filled.endpoint), top=disk)


@pytest.fixture
def proxied(serve_disk: Callable[[], Served]) -> Served:
    return serve_disk()


@dataclass(frozen=True)
class Cost:
    """What the origin was asked so far: requests, HEADs among them, and the body bytes it sent."""

    requests: int
    bytes: int


def cost(served: Served) -> Cost:
    """Once nothing is on its way any more: a client that leaves does not end a fetch at once."""
    before, deadline = None, time.monotonic() + 20
    while time.monotonic() < deadline:
        text = httpx.get(f"{served.admin_url}/metrics").text
        requests, size = (
            int(sum(map(float, re.findall(rf"^yatagarasu_{name}_total{{.*}} (\S+)$", text, re.MULTILINE))))
            for name in ("origin_requests", "origin_bytes")
        )
        now = Cost(requests, size)
        if now == before:
            return now
        before = now
        time.sleep(0.3)
    raise AssertionError(f"the origin is still being read: {before}")


@pytest.mark.slow
class TestParquet:
    """A table in four row groups: the footer first, then the chunks of the columns asked for."""

    def dataset(self, served: Served) -> ds.Dataset:
        """As pyarrow reads S3: path style, credentials that the proxy ignores."""
        filesystem = S3FileSystem(
            endpoint_override=urlsplit(served.url).netloc,
            scheme="http",
            access_key="anything",
            secret_key="at-all",
            region="us-east-1",
        )
        return ds.dataset("b/table.parquet", filesystem=filesystem, format="parquet")

    def test_pyarrow_reads_one_column_and_the_origin_sends_little_else(self, proxied: Served, table: pa.Table):
        assert self.dataset(proxied).to_table(columns=["weight"]).equals(table.select(["weight"]))
        first = cost(proxied)
        # 4.8 MB in four chunks, each rounded to whole blocks at both ends; the footer's block.
        assert 4_800_000 < first.bytes < 5 * BLOCK + 4 * 2 * BLOCK
        assert self.dataset(proxied).to_table(columns=["weight"]).equals(table.select(["weight"]))
        assert cost(proxied) == first

    def test_after_a_restart_the_origin_is_not_asked(
        self, proxied: Served, serve_disk: Callable[[], Served], table: pa.Table
    ):
        assert self.dataset(proxied).to_table(columns=["weight"]).equals(table.select(["weight"]))
        assert proxied.stop() == 0
        again = serve_disk()
        assert self.dataset(again).to_table(columns=["weight"]).equals(table.select(["weight"]))
        assert cost(again) == Cost(0, 0)

    def test_columns_one_after_the_other_share_their_bytes(self, proxied: Served, filled: RealS3, table: pa.Table):
        for name in table.column_names:
            assert self.dataset(proxied).to_table(columns=[name]).equals(table.select([name]))
        first = cost(proxied)
        assert first.bytes <= size_of(filled, "table.parquet")
        assert self.dataset(proxied).to_table().equals(table)
        assert cost(proxied) == first

    def test_duckdb_skips_row_groups(self, proxied: Served, table: pa.Table):
        query = "SELECT count(*), sum(price) FROM parquet WHERE id >= 500000"
        prices = table["price"].slice(500_000)
        first = None
        for _ in range(2):
            with duckdb.connect() as connection:
                connection.register("parquet", self.dataset(proxied))
                count, total = connection.execute(query).fetchone()
            assert count == len(prices)
            assert total == pytest.approx(pc.sum(prices).as_py())
            assert first in (None, cost(proxied))
            first = cost(proxied)

    def test_fsspec_over_plain_http(self, proxied: Served, table: pa.Table, web: Any):
        first = None
        for _ in range(2):
            with web.open(f"{proxied.url}/b/table.parquet") as file:
                assert pq.read_table(file, columns=["height"]).equals(table.select(["height"]))
            assert first in (None, cost(proxied))
            first = cost(proxied)


@pytest.fixture
def web() -> Iterator[HTTPFileSystem]:
    filesystem = fsspec.filesystem("http", skip_instance_cache=True)
    yield filesystem
    HTTPFileSystem.close_session(filesystem.loop, filesystem._session)


def size_of(server: RealS3, key: str) -> int:
    return int(server.client().head_object(Bucket=BUCKET, Key=key)["ContentLength"])


@pytest.mark.system
class TestCurl:
    """A download that breaks off half way, and `curl --continue-at -`."""

    def test_goes_on_where_it_broke_off_and_nothing_is_fetched_twice(self, proxied: Served, tmp_path: Path):
        target = tmp_path / "video.mp4"
        command = [system_program("curl"), "-sSf", "-o", str(target), f"{proxied.url}/b/video.mp4"]
        download = subprocess.Popen([*command, "--limit-rate", "32M"])
        deadline = time.monotonic() + 30
        while not target.exists() or target.stat().st_size < len(VIDEO) // 2:
            assert download.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        download.kill()
        download.wait()
        had = target.stat().st_size
        assert len(VIDEO) // 2 <= had < len(VIDEO)
        subprocess.run([*command, "--continue-at", "-"], check=True)
        assert target.read_bytes() == VIDEO
        spent = cost(proxied)
        assert len(VIDEO) <= spent.bytes <= len(VIDEO) + BLOCK
        subprocess.run(command, check=True)
        assert target.read_bytes() == VIDEO
        assert cost(proxied) == spent


class TestPlayer:
    """A browser's video element: it asks to the end, hangs up when it has enough, and asks elsewhere."""

    def seek(self, served: Served, start: int, *, take: int | None = None) -> None:
        """`bytes=start-`; check `take` bytes or all, then hang up."""
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=30)
        try:
            connection.request("GET", "/b/video.mp4", headers={"Range": f"bytes={start}-"})
            answer = connection.getresponse()
            assert answer.status == 206
            assert answer.headers["content-range"] == f"bytes {start}-{len(VIDEO) - 1}/{len(VIDEO)}"
            assert answer.read(take) == VIDEO[start:][:take]
        finally:
            connection.close()

    def play(self, served: Served) -> int:
        """Begin, fetch the index at the end, seek to the middle and back; returns how often it hung up early."""
        early = [(0, 300_000), (len(VIDEO) // 2, 2 * MIB), (len(VIDEO) // 5 + 7, MIB), (300_000, MIB)]
        self.seek(served, *early[0][:1], take=early[0][1])
        self.seek(served, len(VIDEO) - MOOV)
        for start, take in early[1:]:
            self.seek(served, start, take=take)
        return len(early)

    def test_seeks_get_their_bytes_and_share_them(self, proxied: Served):
        hung_up = 0
        for _ in range(2):
            hung_up += self.play(proxied)
        # Each time it hangs up, the block under way may be lost.
        assert cost(proxied).bytes <= len(VIDEO) + hung_up * BLOCK

    def test_a_whole_download_after_seeks_fetches_the_holes_only(self, proxied: Served):
        self.seek(proxied, len(VIDEO) - MOOV)
        hung_up = self.play(proxied)
        assert httpx.get(f"{proxied.url}/b/video.mp4").content == VIDEO
        spent = cost(proxied)
        assert len(VIDEO) <= spent.bytes <= len(VIDEO) + hung_up * BLOCK
        self.play(proxied)
        assert httpx.get(f"{proxied.url}/b/video.mp4").content == VIDEO
        assert cost(proxied) == spent
