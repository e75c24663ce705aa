"""Every format of object lists, and every way in which a line can be none."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from yatagarasu.errors import ConfigError
from yatagarasu.warm.item import Item, Malformed, fault_of
from yatagarasu.warm.lists import read_list

JANUARY = 1704164645.0  # 2024-01-02T03:04:05Z


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def found(path: str, format: str | None = None) -> list[tuple[object, ...]]:
    """Items as (line, key, and what else is known), malformed lines as (line, "!", reason)."""
    rows: list[tuple[object, ...]] = []
    for one in read_list(path, format=format):
        if isinstance(one, Malformed):
            assert one.source == path
            assert one.text.isprintable()
            rows.append((one.line, "!", one.reason))
        else:
            rows.append(
                (one.line, one.key, *(value for value in (one.bucket, one.size, one.modified) if value is not None))
            )
    return rows


GOOD = {
    "text": ("l.txt", "a\nb c\n\n# no key\nd%20e\n", [(1, "a"), (2, "b c"), (5, "d%20e")]),
    "text-crlf-bom-no-end": ("l.txt", b"\xef\xbb\xbfa\r\nb\r\nc", [(1, "a"), (2, "b"), (3, "c")]),
    "text-spaces-and-slashes-are-the-keys-own": ("l", " a \n/b\n//\n", [(1, " a "), (2, "/b"), (3, "//")]),
    "text-urls": (
        "l.txt",
        "s3://my-bucket/a/b\ns3://my-bucket/#x\n",
        [(1, "a/b", "my-bucket"), (2, "#x", "my-bucket")],
    ),
    "text-empty": ("l.txt", "", []),
    "csv-header": (
        "l.csv",
        'Size,Key,LastModified\n10,"a,b",2024-01-02T03:04:05Z\n,c,\n',
        [(2, "a,b", 10, JANUARY), (3, "c")],
    ),
    "csv-other-names": ("l.csv", "bucket,Object Key,bytes\nmy-b,x,5\n", [(2, "x", "my-b", 5)]),
    "csv-no-header": ("l.csv", "a\nb\n", [(1, "a"), (2, "b")]),
    "csv-inventory": (
        "l.csv",
        '"my-b","k 1","7","2024-01-02T03:04:05.000Z"\n',
        [(1, "k 1", "my-b", 7, JANUARY)],
    ),
    "csv-key-over-two-lines": ("l.csv", 'key,size\n"a\nb",1\nc,2\n', [(3, "a\nb", 1), (4, "c", 2)]),
    "jsonl": (
        "l.jsonl",
        '"a"\n{"Key": "b", "Size": 3, "LastModified": "2024-01-02T03:04:05+00:00"}\n\n{"key": "c", "bucket": "my-b"}\n',
        [(1, "a"), (2, "b", 3, JANUARY), (4, "c", "my-b")],
    ),
    "jsonl-epoch": ("l.ndjson", '{"key": "a", "mtime": 5.5}', [(1, "a", 5.5)]),
    "list-objects": (
        "l.json",
        json.dumps(
            {"Contents": [{"Key": "a", "Size": 1, "ETag": "x"}, {"Key": "b"}], "RequestCharged": None}, indent=4
        ),
        [(0, "a", 1), (0, "b")],
    ),
    "list-objects-on-one-line": ("l.json", '{"Contents": [{"Key": "a"}]}', [(0, "a")]),
    "list-objects-of-nothing": ("l.json", '{\n  "RequestCharged": null\n}', []),
    "json-array": ("l.json", '["a", {"Key": "b"}]', [(0, "a"), (0, "b")]),
    "s3ls": (
        "listing",
        "2024-01-02 03:04:05       1234 a b/c\n2024-01-02 03:04:05          0 d\n",
        [(1, "a b/c", 1234), (2, "d", 0)],
    ),
    "sniffed-jsonl": ("l", '{"key": "a"}\n{"key": "b"}\n', [(1, "a"), (2, "b")]),
    "sniffed-json": ("l", '{\n"Contents": [{"Key": "a"}]}', [(0, "a")]),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("name", "content", "rows"), GOOD.values(), ids=GOOD)
def test_format(name: str, content: str | bytes, rows: list[tuple[object, ...]], packed: bool, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    if packed:
        name, data = name + ".gz", gzip.compress(data)
    assert found(write(tmp_path, name, data)) == rows


@pytest.mark.parametrize(("name", "content", "rows"), GOOD.values(), ids=GOOD)
def test_standard_input_loses_nothing_to_the_look_at_it(
    name: str, content: str | bytes, rows: list[tuple[object, ...]]
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    format = (
        {"csv": "csv", "txt": "text", "json": "jsonl", "jsonl": "jsonl", "ndjson": "jsonl"}.get(name.rpartition(".")[2])
        if "." in name
        else None
    )
    keys = [one.key for one in read_list("-", format=format, stdin=Drops(data)) if isinstance(one, Item)]
    assert keys == [row[1] for row in rows]


class Drops(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken, self._data = self._data[: min(7, size)], self._data[min(7, size) :]
        return taken


LONG = "k" * 1025
BAD = {
    "not-utf-8": ("l.txt", b"a\n\xff\xfe\nb\n", [(1, "a"), (2, "!", "not UTF-8: byte 0xff"), (3, "b")]),
    "too-long-a-key": ("l.txt", f"{LONG}\nb\n", [(1, "!", "a key of 1025 bytes: S3 takes 1024"), (2, "b")]),
    "too-long-a-line": (
        "l.txt",
        "a\n" + "x" * 200_000 + "\nb\n",
        [(1, "a"), (2, "!", "a line of more than 64 KiB"), (3, "b")],
    ),
    "dots": (
        "l.txt",
        "a/../b\n.\n..a\n",
        [
            (1, "!", "a key with a segment of dots only"),
            (2, "!", "a key with a segment of dots only"),
            (3, "..a"),
        ],
    ),
    "url-without-key": (
        "l.txt",
        "s3://my-bucket\ns3://my-bucket/\n",
        [(1, "!", "an empty key"), (2, "!", "an empty key")],
    ),
    "url-without-bucket": ("l.txt", "s3://A_b/k\n", [(1, "!", "not a bucket's name")]),
    "csv-quote": ("l.csv", 'key\na\n"b"c\nd\n', [(2, "a"), (3, "!", "not CSV: ',' expected after '\"'"), (4, "d")]),
    "csv-short-row": (
        "l.csv",
        "bucket,key\nmy-b\nmy-b,x\n",
        [(2, "!", "1 columns, and none of them is the key"), (3, "x", "my-b")],
    ),
    "csv-size": (
        "l.csv",
        "key,size\na,-1\nb,1e3\nc,3\n",
        [(2, "!", "not a size: -1"), (3, "!", "not a size: 1e3"), (4, "c", 3)],
    ),
    "csv-date": ("l.csv", "key,mtime\na,yesterday\n", [(2, "!", "not a date: yesterday")]),
    "csv-not-utf-8": ("l.csv", b"key\n\xff\nb\n", [(2, "!", "not UTF-8: byte 0xff"), (3, "b")]),
    "jsonl-broken": (
        "l.jsonl",
        '{"key": "a"}\n{"key": \n{"key": "b"}\n',
        [(1, "a"), (2, "!", "not JSON: Expecting value: line 1 column 9 (char 8)"), (3, "b")],
    ),
    "jsonl-others": (
        "l.jsonl",
        '1\n{}\n{"key": 5}\n{"key": "a", "bucket": 1}\n{"key": ""}\n{"key": "a", "size": true}\n',
        [(line, "!", "neither a key nor an object with one") for line in range(1, 5)]
        + [(5, "!", "an empty key"), (6, "!", "not a size: True")],
    ),
    "jsonl-numbers-without-bounds": (
        "l.jsonl",
        "".join(f'{{"key": "a", "LastModified": {number}}}\n' for number in ("9" * 400, "1e400", "-1", "NaN", "1e12"))
        + '{"key": "b", "LastModified": 1e9}\n',
        [*((line, "!", "not a date: a number beyond the year 9999") for line in range(1, 6)), (6, "b", 1e9)],
    ),
    "jsonl-surrogate": ("l.jsonl", '"a"\n"\\ud800"\n', [(1, "a"), (2, "!", "a key that is not UTF-8")]),
    "jsonl-deep": ("l.jsonl", '"a"\n' + "[" * 60_000, [(1, "a"), (2, "!", None)]),
    "document-broken": ("l.json", '{\n"Contents": [\n', [(3, "!", None)]),
    "document-other": ("l.json", '{\n"Contents": 5}', [(1, "!", "neither a listing nor a list")]),
    "s3ls-line": (
        "l",
        "2024-01-02 03:04:05       1 a\n",
        [(1, "a", 1)],
    ),
}


@pytest.mark.parametrize(("name", "content", "rows"), BAD.values(), ids=BAD)
def test_malformed_line_is_told_and_the_others_are_read(
    name: str, content: str | bytes, rows: list[tuple[object, ...]], tmp_path: Path
) -> None:
    got = found(write(tmp_path, name, content))
    assert [row[:2] if row[-1] is None else row for row in rows] == [
        one[:2] if want[-1] is None else one for one, want in zip(got, rows, strict=True)
    ]


def test_named_format_beats_the_files_name(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", "a,b\n")
    assert found(path, "text") == [(1, "a,b")]
    assert found(write(tmp_path, "l.txt", "x\n2024-01-02 03:04:05 5 k\n"), "s3ls") == [
        (1, "!", "not a line of aws s3 ls"),
        (2, "k", 5),
    ]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "absent.txt", "absent.txt: No such file"),
        (gzip.compress(b"a\n" * 10_000, mtime=0)[:-20], "l.gz", "l.gz: damaged gzip"),
        (b"\x1f\x8b\x08\x00rubbish-rubbish", "l.gz", "l.gz: damaged gzip"),
    ],
)
def test_list_that_cannot_be_read_is_named(content: bytes | None, name: str, message: str, tmp_path: Path) -> None:
    path = str(tmp_path / name) if content is None else write(tmp_path, name, content)
    with pytest.raises(ConfigError, match=message):
        list(read_list(path))


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        list(read_list(str(tmp_path)))


def test_long_document_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yatagarasu.warm.lists._MAX_DOCUMENT_BYTES", 1 << 20)
    path = write(tmp_path, "l.json", "[" + ",".join(['"k"'] * 500_000) + "]")
    with pytest.raises(ConfigError, match="jq -c"):
        list(read_list(path))


class Endless(io.RawIOBase):
    """A list of two hundred thousand lines that nobody has in memory."""

    def __init__(self, make: Iterator[bytes]) -> None:
        self._make = make

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._make, b"")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["text", "csv", "jsonl"])
def test_long_lists_take_no_memory(format: str) -> None:
    line = {"text": "key%d\n", "csv": "key%d,5\n", "jsonl": '{"key": "key%d"}\n'}[format]
    lines = (("key,size\n" if number == 0 and format == "csv" else "") + line % number for number in range(200_000))
    tracemalloc.start()
    count = sum(1 for _ in read_list("-", format=format, stdin=Endless(text.encode() for text in lines)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 4 << 20


KEYS = st.lists(st.text(min_size=1, max_size=20).filter(lambda key: fault_of(key) is None), max_size=20)


@given(KEYS)
def test_any_key_comes_through_json(keys: list[str]) -> None:
    jsonl = "\n".join(json.dumps({"Key": key}) for key in keys).encode()
    assert [one.key for one in read_list("-", format="jsonl", stdin=io.BytesIO(jsonl)) if isinstance(one, Item)] == keys


@given(st.lists(st.binary(max_size=60), max_size=10), st.sampled_from(["text", "csv", "jsonl", "s3ls", None]))
def test_any_bytes_are_items_or_malformed(lines: list[bytes], format: str | None) -> None:
    data = b"\n".join(lines)
    assume(not data.startswith(b"\x1f\x8b"))  # What begins as gzip does and is none is refused as a whole, above.
    for one in read_list("-", format=format, stdin=io.BytesIO(data)):
        assert isinstance(one, Item | Malformed)
        assert isinstance(one, Malformed) or fault_of(one.key) is None
