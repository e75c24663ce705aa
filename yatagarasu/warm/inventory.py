"""S3 Inventory: a manifest that names data files, CSV or Parquet, which lie beside it.

AWS: "Amazon S3 Inventory", "Locating your inventory list". Keys in its CSV files are percent-encoded; columns are as
`fileSchema` says. Of versioned buckets only what a plain GET would return is taken.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any
from urllib.parse import unquote_plus

from yatagarasu.errors import ConfigError
from yatagarasu.warm.item import Item, Malformed, excerpt
from yatagarasu.warm.lists import column_names, lines_of, make_item

_BLOCK_BYTES = 1 << 20
_ROWS = 10_000
# To be restored before they can be read. AWS: "Amazon S3 storage classes".
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


def read_inventory(path: str) -> Iterator[Item | Malformed]:
    """The objects that a manifest's data files list; a file that is missing or damaged is told, the others are read.

    Raises:
        ConfigError: it is no manifest, or of a format that cannot be read here.
    """
    try:
        with open(path, "rb") as file:
            manifest = json.load(file)
        format, files = manifest["fileFormat"], manifest["files"]
        bucket, schema = str(manifest["sourceBucket"]), str(manifest["fileSchema"])
        names = [(str(each["key"]), each.get("MD5checksum")) for each in files]
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{path}: not a manifest of S3 Inventory: {exc}") from exc
    if format not in ("CSV", "Parquet"):
        raise ConfigError(f"{path}: inventories in {format} cannot be read; CSV and Parquet can")
    columns = [name.strip() for name in schema.split(",")]
    for key, md5 in names:
        found = _find(path, key)
        if found is None:
            yield Malformed(path, 0, "a data file is missing", excerpt(key))
        elif md5 is not None and _md5(found) != md5:
            yield Malformed(found, 0, "its MD5 is not the manifest's", excerpt(key))
        elif format == "CSV":
            yield from _read_csv(found, columns, bucket)
        else:
            yield from read_parquet(found, bucket)


def _find(manifest: str, key: str) -> str | None:
    """A data file below one of the manifest's folders, by as much of its key as there is; AWS puts it into ../data."""
    folder = os.path.dirname(os.path.abspath(manifest))
    parts = key.split("/")
    for base in (folder, os.path.dirname(folder)):
        for at in range(len(parts)):
            path = os.path.normpath(os.path.join(base, *parts[at:]))
            if path.startswith(base.rstrip("/") + "/") and os.path.isfile(path):
                return path
        for name in ("data", "../data"):
            path = os.path.normpath(os.path.join(base, name, parts[-1]))
            if os.path.isfile(path):
                return path
    return None


def _md5(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_csv(path: str, columns: Sequence[str], bucket: str) -> Iterator[Item | Malformed]:
    import csv

    line = 0
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            for line, data in lines_of(file):
                try:
                    row = next(csv.reader([(data or b"").decode()], strict=True), [])
                except (UnicodeDecodeError, csv.Error) as exc:
                    yield Malformed(path, line, f"not CSV: {exc}", excerpt(data or b""))
                    continue
                if len(row) != len(columns):
                    yield Malformed(path, line, f"{len(row)} columns in place of {len(columns)}", excerpt(data or b""))
                    continue
                values = dict(zip(columns, row, strict=True))
                values["Key"] = unquote_plus(values.get("Key", ""))
                found = _understand(values, path, line, bucket)
                if found is not None:
                    yield found
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        yield Malformed(path, line, f"damaged gzip: {exc}")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from exc


def read_parquet(path: str, bucket: str | None = None) -> Iterator[Item | Malformed]:
    """The objects of a Parquet file with columns such as key, bucket, size, last_modified_date.

    Raises:
        ConfigError: pyarrow is not installed, or the file is no such one.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise ConfigError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from exc
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if "key" not in column_names(names):
                raise ConfigError(f"{path}: no column is the key; there are: {', '.join(names)}")
            line = 0
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    line += 1
                    found = _understand({_aws_name(name): value for name, value in row.items()}, path, line, bucket)
                    if found is not None:
                        yield found
    except (pyarrow.ArrowException, OSError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def _aws_name(name: str) -> str:
    """A column of Parquet inventories as those of CSV are called: is_latest, IsLatest."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _understand(values: Mapping[str, Any], path: str, line: int, bucket: str | None) -> Item | Malformed | None:
    """An item of a row; None for versions that a plain GET does not return."""
    if str(values.get("IsLatest", "true")).lower() == "false":
        return None
    if str(values.get("IsDeleteMarker", "false")).lower() == "true":
        return None
    known = dict(zip(column_names(values), values.values(), strict=True))
    key = known.get("key")
    if not isinstance(key, str):
        return Malformed(path, line, "no key")
    storage = str(values.get("StorageClass", ""))
    if storage in _ARCHIVED:
        return Malformed(path, line, f"archived ({storage}): it cannot be read before it is restored", excerpt(key))
    own = known.get("bucket")
    return make_item(path, line, key, own if isinstance(own, str) else bucket, known.get("size"), known.get("modified"))
