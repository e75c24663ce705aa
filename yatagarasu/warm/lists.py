r"""Object lists: text, CSV, JSON lines, what the AWS tools print, and S3 Inventory; any of them gzipped.

Text: a key or an s3:// URL a line, literal, nothing decoded; empty lines and lines that begin with # are passed over
(a key that begins with # is written as a URL). CSV: with a header, columns are found by their names; without one they
are `key`, or `bucket, key, size, last modified` as S3 Inventory has them. JSON lines: a string, or an object with the
names that the AWS tools use. Lines end with LF or CRLF. A line that is no object is told, and the others are read.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, Any

from yatagarasu.errors import ConfigError
from yatagarasu.http.numbers import parse_count
from yatagarasu.warm.item import Item, Malformed, excerpt, fault_of

FORMATS = ("text", "csv", "jsonl", "inventory", "parquet", "s3ls")
# A longer line is no key, and must not become memory. One JSON document may be a listing of some ten thousand objects.
_MAX_LINE_BYTES = 64 * 1024
_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_SNIFFED_BYTES = 4096
_BUFFER_BYTES = 256 * 1024
_BOM = b"\xef\xbb\xbf"
# The end of the year 9999, where Python's and ISO 8601's dates end.
_LAST_SECOND = 253_402_300_799
# What columns and fields are called by those who write lists.
_NAMES: Mapping[str, str] = {
    "key": "key", "object": "key", "objectkey": "key", "name": "key", "path": "key", "url": "key", "uri": "key",
    "bucket": "bucket", "bucketname": "bucket",
    "size": "size", "bytes": "size", "length": "size", "contentlength": "size",
    "lastmodified": "modified", "lastmodifieddate": "modified", "modified": "modified", "mtime": "modified",
}  # fmt: skip
# `aws s3 ls --recursive`: date and time, size, key.
_S3LS = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) +(\d+) (.+)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

Line = tuple[int, bytes | None]


def read_list(path: str, *, format: str | None = None, stdin: IO[bytes] | None = None) -> Iterator[Item | Malformed]:
    """The items of a list, as they are read, in order.

    Args:
        path: "-" is standard input.
        format: one of FORMATS; None to go by the name and the first bytes.

    Raises:
        ConfigError: it cannot be opened or read, or not in this format; names it.
    """
    name = "<stdin>" if path == "-" else path
    try:
        with ExitStack() as stack:
            file = _Start((stdin or sys.stdin.buffer) if path == "-" else stack.enter_context(open(path, "rb")))
            if file.look(2) == b"\x1f\x8b":
                file = _Start(gzip.GzipFile(fileobj=io.BufferedReader(file, _BUFFER_BYTES)))
            found = format or _format_of(path.removesuffix(".gz"), file)
            yield from _read(found, file, path, name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise ConfigError(f"{name}: damaged gzip: {exc}") from exc
    except OSError as exc:
        raise ConfigError(f"{name}: {exc.strerror or exc}") from exc


def _read(format: str, start: "_Start", path: str, name: str) -> Iterator[Item | Malformed]:
    file = io.BufferedReader(start, _BUFFER_BYTES)
    if format in ("inventory", "parquet"):
        # They import this module's readers.
        from yatagarasu.warm.inventory import read_inventory, read_parquet

        if path == "-":
            raise ConfigError(
                f"{name}: {format} cannot be read from standard input: it names, or is, a file to seek in"
            )
        yield from (read_inventory if format == "inventory" else read_parquet)(path)
    elif format == "csv":
        yield from read_csv(file, name)
    elif format == "jsonl":
        yield from _read_json(file, name, start.look(_SNIFFED_BYTES))
    elif format in ("text", "s3ls"):
        understand = _text_item if format == "text" else _s3ls_item
        yield from _each(lines_of(file), name, understand)
    else:
        raise ConfigError(f"{format!r} is no format of a list; there are: {', '.join(FORMATS)}")


class _Start(io.RawIOBase):
    """A file whose first bytes can be looked at before they are read: standard input cannot go back."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._start = b""

    def look(self, size: int) -> bytes:
        """The first `size` bytes, fewer where the file ends; only before anything is read."""
        while len(self._start) < size and (data := self._file.read(size - len(self._start))):
            self._start += data
        return self._start[:size]

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what was looked at, then what follows, as it comes."""
        size = len(buffer)
        data, self._start = self._start[:size], self._start[size:]
        data = data or getattr(self._file, "read1", self._file.read)(size)
        buffer[: len(data)] = data
        return len(data)


def _format_of(path: str, file: _Start) -> str:
    """The format that a name says, or else the first bytes."""
    base = path.rpartition("/")[2].lower()
    if base == "manifest.json":
        return "inventory"
    for suffix, format in (
        (".csv", "csv"), (".jsonl", "jsonl"), (".ndjson", "jsonl"), (".json", "jsonl"), (".parquet", "parquet"),
        (".txt", "text"),
    ):  # fmt: skip
        if base.endswith(suffix):
            return format
    start = file.look(_SNIFFED_BYTES).removeprefix(_BOM)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.lstrip()[:1] in (b"{", b"["):
        return "jsonl"
    *whole, last = start.split(b"\n")
    whole = whole or [last]  # The last one may be cut.
    texts = [line.decode("utf-8", "replace").rstrip("\r") for line in whole if line.strip()]
    return "s3ls" if texts and all(map(_S3LS.fullmatch, texts)) else "text"


# Lines


def lines_of(file: IO[bytes]) -> Iterator[Line]:
    """Lines with their numbers, from 1, without their ends; None in place of one that is too long."""
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(_MAX_LINE_BYTES)
            yield number, None
        else:
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _each(
    lines: Iterable[Line], name: str, understand: Callable[[str, str, int], Item | Malformed | None]
) -> Iterator[Item | Malformed]:
    """What each line that is not empty means; None is nothing."""
    for number, line in lines:
        if line is None:
            yield Malformed(name, number, f"a line of more than {_MAX_LINE_BYTES // 1024} KiB")
            continue
        if not line:
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            yield Malformed(name, number, f"not UTF-8: byte 0x{line[exc.start]:02x}", excerpt(line))
            continue
        found = understand(text, name, number)
        if found is not None:
            yield found


def make_item(
    name: str, line: int, key: str, bucket: str | None = None, size: object = None, modified: object = None
) -> Item | Malformed:
    """An item of what a list says, or what is wrong with that. A key may be an s3:// URL; texts are as they stand."""
    if key.startswith("s3://"):
        bucket, _, key = key.removeprefix("s3://").partition("/")
    if bucket and _BUCKET.fullmatch(bucket) is None:
        return Malformed(name, line, "not a bucket's name", excerpt(bucket))
    fault = fault_of(key)
    if fault is not None:
        return Malformed(name, line, fault, excerpt(key))
    try:
        return Item(key, bucket or None, _size(size), epoch_of(modified), name, line)
    except ValueError as exc:
        return Malformed(name, line, str(exc), excerpt(key))


def _size(value: object) -> int | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    size = None if isinstance(value, bool) else parse_count(text)
    if size is None:
        raise ValueError(f"not a size: {excerpt(text)}")
    return size


def epoch_of(value: object) -> float | None:
    """Epoch seconds of an ISO 8601 date, of UTC where it says no zone, or of a number. Raises ValueError."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= _LAST_SECOND:  # JSON's numbers have no bounds.
            raise ValueError("not a date: a number beyond the year 9999")
        return float(value)
    else:
        try:
            found = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise ValueError(f"not a date: {excerpt(str(value))}") from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


# Formats


def _text_item(text: str, name: str, line: int) -> Item | Malformed | None:
    return None if text.startswith("#") else make_item(name, line, text)


def _s3ls_item(text: str, name: str, line: int) -> Item | Malformed | None:
    match = _S3LS.fullmatch(text)
    if match is None:
        return Malformed(name, line, "not a line of aws s3 ls", excerpt(text))
    # Its times are local ones of whoever listed: they say nothing here.
    return make_item(name, line, match[3], None, match[2])


def column_names(names: Iterable[str]) -> list[str]:
    """What columns or fields of these names are to us: key, bucket, size, modified, or "" for nothing."""
    return [_NAMES.get(re.sub(r"[^a-z]", "", name.lower()), "") for name in names]


def read_csv(file: IO[bytes], name: str, columns: list[str] | None = None) -> Iterator[Item | Malformed]:
    """The items of a CSV file (RFC 4180); `columns` as of `column_names`, None for those that the file says."""
    lines = _Texts(file)
    rows = csv.reader(lines, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as exc:
            yield Malformed(name, lines.number, f"not CSV: {exc}", lines.last)
            rows = csv.reader(lines, strict=True)
            continue
        if row is None:
            return
        if lines.fault is not None:
            yield Malformed(name, lines.number, lines.fault, lines.last)
            lines.fault = None
            continue
        if not row or row == [""]:
            continue
        if columns is None:
            columns = column_names(row)
            if "key" in columns:
                continue
            # No header: S3 Inventory's order.
            columns = ["key"] if len(row) == 1 else ["bucket", "key", "size", "modified"]
        values = dict(zip(columns, row, strict=False))
        if "key" not in values:
            yield Malformed(name, lines.number, f"{len(row)} columns, and none of them is the key", lines.last)
            continue
        yield make_item(
            name, lines.number, values["key"], values.get("bucket"), values.get("size"), values.get("modified")
        )


class _Texts:
    """Lines of a file for the CSV reader, which must see no bytes: what cannot be read is `fault`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._lines = lines_of(file)
        self.number = 0
        self.last = ""
        self.fault: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            self.fault, self.last = f"a line of more than {_MAX_LINE_BYTES // 1024} KiB", ""
            return "x"
        self.last = excerpt(line)
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as exc:
            self.fault = f"not UTF-8: byte 0x{line[exc.start]:02x}"
            return "x"


def _read_json(file: IO[bytes], name: str, start: bytes) -> Iterator[Item | Malformed]:
    """JSON lines, or one document: what `aws s3api list-objects-v2` prints, or a list of what a line may hold."""
    start = start.removeprefix(_BOM).lstrip()
    first_line = start.partition(b"\n")[0].strip()
    if first_line in (b"{", b"[") or re.match(rb'\{\s*"Contents"|\[', start):
        yield from _read_document(file, name)
        return
    yield from _each(lines_of(file), name, _json_item)


def _json_item(text: str, name: str, line: int) -> Item | Malformed | None:
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return Malformed(name, line, f"not JSON: {exc}", excerpt(text))
    return _value_item(value, name, line)


def _value_item(value: object, name: str, line: int) -> Item | Malformed:
    if isinstance(value, str):
        return make_item(name, line, value)
    if isinstance(value, dict):
        fields = dict(zip(column_names(map(str, value)), value.values(), strict=True))
        key, bucket = fields.get("key"), fields.get("bucket")
        if isinstance(key, str) and (bucket is None or isinstance(bucket, str)):
            return make_item(name, line, key, bucket, fields.get("size"), fields.get("modified"))
    return Malformed(name, line, "neither a key nor an object with one", excerpt(json.dumps(value)))


def _read_document(file: IO[bytes], name: str) -> Iterator[Item | Malformed]:
    data = file.read(_MAX_DOCUMENT_BYTES + 1)
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise ConfigError(
            f"{name}: a JSON document of over {_MAX_DOCUMENT_BYTES >> 20} MiB; make lines of it: jq -c '.Contents[]'"
        )
    try:
        document = json.loads(data.removeprefix(_BOM))
    except (ValueError, RecursionError) as exc:
        line = getattr(exc, "lineno", 1)
        yield Malformed(name, line, f"not JSON: {exc}", excerpt(data))
        return
    values = document.get("Contents", []) if isinstance(document, dict) else document
    if isinstance(document, dict) and "Contents" not in document and column_names(document).count("key"):
        values = [document]
    if not isinstance(values, list):
        yield Malformed(name, 1, "neither a listing nor a list", excerpt(data))
        return
    for value in values:
        yield _value_item(value, name, 0)
