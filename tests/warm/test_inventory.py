"""S3 Inventory as AWS lays it out: manifest, data files beside it."""

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yatagarasu.errors import ConfigError
from yatagarasu.warm.inventory import read_inventory, read_parquet
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.lists import read_list

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
DATE = "2024-01-02T03:04:05.000Z"
DATE_SECONDS = 1704164645.0


def row(key: str, **changes: str) -> list[str]:
    values = dict(
        zip(SCHEMA.split(", "), ["src-bucket", key, "", "true", "false", "10", DATE, "e", "STANDARD"], strict=True)
    )
    return list((values | changes).values())


def inventory(folder: Path, tables: dict[str, list[list[str]]], **changes: Any) -> str:
    """An inventory as `aws s3 sync` brings it; returns the manifest's path."""
    home = folder / "dest" / "src-bucket" / "daily"
    described = []
    for name, rows in tables.items():
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
        path = home / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.getvalue().encode()))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        described.append({"key": f"dest/src-bucket/daily/data/{name}", "size": path.stat().st_size, "MD5checksum": md5})
    manifest = {
        "sourceBucket": "src-bucket",
        "destinationBucket": "arn:aws:s3:::dest",
        "version": "2016-11-30",
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": described,
    }
    path = home / "2024-01-03T00-00Z" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest | changes))
    return str(path)


def keys(path: str) -> list[str]:
    return [one.key for one in read_list(path) if isinstance(one, Item)]


def faults(path: str) -> list[tuple[str, int, str]]:
    return [(Path(one.source).name, one.line, one.reason) for one in read_list(path) if isinstance(one, Malformed)]


def test_objects_of_all_files(tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [row("a"), row("b")], "2.csv.gz": [row("c")]})
    (first, *_) = read_list(path)
    assert isinstance(first, Item)
    assert (first.key, first.bucket, first.size, first.modified, first.line) == ("a", "src-bucket", 10, DATE_SECONDS, 1)
    assert keys(path) == ["a", "b", "c"]


def test_keys_are_decoded(tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [row("a+b%2Bc%20d/%C3%BC")]})
    assert keys(path) == ["a b+c d/ü"]


def test_only_what_a_plain_get_returns(tmp_path: Path) -> None:
    rows = [row("old", IsLatest="false"), row("gone", IsDeleteMarker="true"), row("new")]
    assert keys(inventory(tmp_path, {"1.csv.gz": rows})) == ["new"]


@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_archived_objects_are_told(storage: str, tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [row("a", StorageClass=storage), row("b", StorageClass="GLACIER_IR")]})
    assert keys(path) == ["b"]
    assert faults(path) == [("1.csv.gz", 1, f"archived ({storage}): it cannot be read before it is restored")]


@pytest.mark.parametrize("place", ["beside", "as-synced", "flat"])
def test_data_files_are_found(place: str, tmp_path: Path) -> None:
    manifest = Path(inventory(tmp_path, {"1.csv.gz": [row("a")]}))
    data = manifest.parent.parent / "data" / "1.csv.gz"
    if place == "beside":
        data.rename(manifest.parent / "1.csv.gz")
    elif place == "flat":
        (tmp_path / "flat" / "data").mkdir(parents=True)
        data.rename(tmp_path / "flat" / "data" / "1.csv.gz")
        manifest = manifest.rename(tmp_path / "flat" / "manifest.json")
    assert keys(str(manifest)) == ["a"]


def test_missing_and_damaged_files_are_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [row("a")], "2.csv.gz": [row("b")], "3.csv.gz": [row("c")]})
    data = Path(path).parent.parent / "data"
    (data / "1.csv.gz").unlink()
    (data / "2.csv.gz").write_bytes(gzip.compress(b"x"))
    assert keys(path) == ["c"]
    assert [reason for _, _, reason in faults(path)] == ["a data file is missing", "its MD5 is not the manifest's"]


def test_truncated_file_without_a_checksum(tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [row(f"k{number}") for number in range(5000)]})
    manifest = json.loads(Path(path).read_text())
    del manifest["files"][0]["MD5checksum"]
    Path(path).write_text(json.dumps(manifest))
    data = Path(path).parent.parent / "data" / "1.csv.gz"
    data.write_bytes(data.read_bytes()[:-1000])
    assert 0 < len(keys(path)) < 5000
    assert [reason.partition(":")[0] for _, _, reason in faults(path)] == ["damaged gzip"]


def test_rows_of_another_shape_are_told(tmp_path: Path) -> None:
    path = inventory(tmp_path, {"1.csv.gz": [["src-bucket", "a"], row("b")]})
    assert keys(path) == ["b"]
    assert faults(path) == [("1.csv.gz", 1, "2 columns in place of 9")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fileFormat": "ORC"}, "ORC cannot be read"),
        ({"files": 5}, "not a manifest"),
        ({"files": [{}]}, "not a manifest"),
    ],
)
def test_other_manifests_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        list(read_inventory(inventory(tmp_path, {}, **change)))


def test_data_files_outside_the_inventory_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("x")
    path = inventory(tmp_path, {}, files=[{"key": "../../../../secret.csv"}, {"key": str(tmp_path / "secret.csv")}])
    assert [reason for _, _, reason in faults(path)] == ["a data file is missing"] * 2


def parquet(path: Path, **columns: list[Any]) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)


def test_parquet_inventory(tmp_path: Path) -> None:
    path = inventory(tmp_path, {}, fileFormat="Parquet", files=[{"key": "dest/src-bucket/daily/data/1.parquet"}])
    data = Path(path).parent.parent / "data"
    data.mkdir()
    date = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    parquet(
        data / "1.parquet",
        bucket=["src-bucket"] * 3,
        key=["a+b", "old", "c"],
        is_latest=[True, False, True],
        size=[1, 2, None],
        last_modified_date=[date, date, date],
        storage_class=["STANDARD", "STANDARD", "GLACIER"],
    )
    (first, second) = read_list(path)
    assert isinstance(first, Item)
    # Keys in Parquet are as they are.
    assert (first.key, first.size, first.modified) == ("a+b", 1, DATE_SECONDS)
    assert isinstance(second, Malformed)


def test_parquet_on_its_own(tmp_path: Path) -> None:
    path = parquet(tmp_path / "l.parquet", Key=["a", "b", "c"], Size=[1, 2, 3])
    assert [(one.key, one.size) for one in read_list(path) if isinstance(one, Item)] == [("a", 1), ("b", 2), ("c", 3)]


def test_parquet_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column is the key; there are: x"):
        list(read_parquet(parquet(tmp_path / "l.parquet", x=[1])))


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ConfigError, match=r"l\.parquet"):
        list(read_list(str(tmp_path / "l.parquet")))
