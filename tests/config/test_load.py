"""Problems that a key has by itself; what keys mean together is in test_check.py."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from yatagarasu.config.load import Loaded, load, load_file

# Stands behind the rows' own text, so that their lines count from 1.
BUCKET = '\n[[buckets]]\nname = "z"\npath_prefix = "/z"\ns3 = { bucket = "some-bucket" }\n'


def read(text: str | bytes, base: Path = Path("/nonexistent"), **environ: str) -> Loaded:
    return load("c.toml", text, environ, base=base)


def place(loaded: Loaded) -> list[tuple[int, int, str, str]]:
    return [(problem.line, problem.column, problem.code, problem.key) for problem in loaded.problems]


# text, (line, column, code, key), part of the message, part of the hint
BAD = {
    # TOML
    "syntax-value": ("a = \n", (1, 5, "syntax", ""), "not TOML: Invalid value", None),
    "syntax-two-values": ("\na = 1 2\n", (2, 7, "syntax", ""), "Expected newline", None),
    "syntax-unclosed-string": ('[log]\nlevel = "info\n', (2, 14, "syntax", ""), "not TOML", None),
    "syntax-unclosed-array": ("a = [1,\n\n", (3, 1, "syntax", ""), "not TOML", None),
    "syntax-unclosed-long-string": ('a = """x\ny', (2, 2, "syntax", ""), "Unterminated string", None),
    "syntax-same-key-twice": ("a = 1\na = 2\n", (2, 6, "syntax", ""), "Cannot overwrite a value", None),
    "syntax-same-table-twice": ("[log]\n[log]\n", (2, 5, "syntax", ""), "Cannot declare ('log',) twice", None),
    "syntax-bare-carriage-return": ("a = 1\rb = 2\n", (1, 6, "syntax", ""), "not TOML", None),
    "syntax-control-character": ('a = "\x1b[2J"\n', (1, 6, "syntax", ""), "not TOML", None),
    "syntax-nested-too-deeply": ("a = " + "[" * 5000, (1, 37, "syntax", ""), "nested too deeply", None),
    "syntax-key-too-deep": (
        "[log]\nx." + ".".join("a" * 900) + " = 1\n" + BUCKET,
        (2, 63, "syntax", ""),
        "nested too deeply",
        None,
    ),
    "syntax-key-too-deep-for-tomli": (
        ".".join("a" * 5000) + " = 1\n" + BUCKET,
        (1, 65, "syntax", ""),
        "nested too deeply",
        None,
    ),
    "syntax-header-too-deep": (
        f"\n[{'.'.join('a' * 900)}]\n" + BUCKET,
        (2, 66, "syntax", ""),
        "nested too deeply",
        None,
    ),
    "syntax-arrays-too-deep": (
        f"a = {'[' * 300}{']' * 300}\n" + BUCKET,
        (1, 37, "syntax", ""),
        "nested too deeply",
        None,
    ),
    "syntax-tables-too-deep": (
        f"a = {'{a=' * 390}1{'}' * 390}\n" + BUCKET,
        (1, 99, "syntax", ""),
        "nested too deeply",
        None,
    ),
    "syntax-number-of-too-many-digits": (
        f"[server]\nx = '{'1' * 5000}' # {'1' * 5000}\nmax_connections = -{'1' * 5000}\n" + BUCKET,
        (3, 19, "syntax", ""),
        "a number has too many digits",
        None,
    ),
    # keys
    "unknown-section": (
        "[serevr]\n",
        (1, 2, "unknown-key", "serevr"),
        "unknown key 'serevr'",
        "did you mean 'server'?",
    ),
    "unknown-key": (
        "[server]\nlistn = []\n" + BUCKET,
        (2, 1, "unknown-key", "server.listn"),
        "unknown key 'listn'",
        "did you mean 'listen'?",
    ),
    "unknown-key-like-none": (
        "[log]\n  colour = true\n" + BUCKET,
        (2, 3, "unknown-key", "log.colour"),
        "unknown key 'colour'",
        "known here: level, format, access",
    ),
    "unknown-key-in-inline-table": (
        'cache = { memory = { max_sise = "1GiB" } }\n' + BUCKET,
        (1, 22, "unknown-key", "cache.memory.max_sise"),
        "unknown key 'max_sise'",
        "did you mean 'max_size'?",
    ),
    "unknown-key-in-bucket": (
        BUCKET + "ttl = '1h'\n",
        (6, 1, "unknown-key", "buckets[0].ttl"),
        "unknown key 'ttl'",
        "known here: name, path_prefix",
    ),
    "unknown-key-in-optional-table": (
        BUCKET + '[buckets.cors]\nallow_origin = "*"\nallow_origins = ["*"]\n',
        (7, 1, "unknown-key", "buckets[0].cors.allow_origin"),
        "unknown key 'allow_origin'",
        "did you mean 'allow_origins'?",
    ),
    "missing-buckets": ("", (1, 1, "missing-key", "buckets"), "the key 'buckets' is missing", None),
    "missing-in-array-of-tables": (
        '[[buckets]]\npath_prefix = "/a"\ndirectory = "."\n',
        (1, 3, "missing-key", "buckets[0].name"),
        "the key 'name' is missing",
        None,
    ),
    "missing-in-second-bucket": (
        BUCKET + '[[buckets]]\nname = "b"\ndirectory = "."\n',
        (6, 3, "missing-key", "buckets[1].path_prefix"),
        "the key 'path_prefix' is missing",
        None,
    ),
    "missing-in-inline-table": (
        '[[buckets]]\nname = "a"\npath_prefix = "/a"\ns3 = {}\n',
        (4, 1, "missing-key", "buckets[0].s3.bucket"),
        "the key 'bucket' is missing",
        None,
    ),
    # types
    "not-a-flag": (
        '[log]\naccess = "yes"\n' + BUCKET,
        (2, 10, "wrong-type", "log.access"),
        "must be true or false, not a string",
        None,
    ),
    "not-a-whole-number": (
        "[server]\nmax_connections = 1.5\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_connections"),
        "must be a whole number, not a number",
        None,
    ),
    "number-in-quotes": (
        '[server]\nmax_connections = "10"\n' + BUCKET,
        (2, 19, "wrong-type", "server.max_connections"),
        "must be a whole number, not a string",
        None,
    ),
    "flag-is-no-number": (
        "[origin]\nretry.attempts = true\n" + BUCKET,
        (2, 18, "wrong-type", "origin.retry.attempts"),
        "must be a whole number, not true or false",
        None,
    ),
    "not-a-number": (
        '[coalescing]\nfinish_abandoned_at = "half"\n' + BUCKET,
        (2, 23, "wrong-type", "coalescing.finish_abandoned_at"),
        "must be a number, not a string",
        None,
    ),
    "not-a-string": (
        "[admin]\nlisten = 9090\n" + BUCKET,
        (2, 10, "wrong-type", "admin.listen"),
        "must be a string in quotes, not a number",
        None,
    ),
    "secret-is-not-a-string": (
        BUCKET + "[admin]\ntoken = 1979-05-27\n",
        (7, 9, "wrong-type", "admin.token"),
        "must be a string in quotes, not a date or time",
        None,
    ),
    "not-an-array": (
        '[server]\nlisten = "127.0.0.1:80"\n' + BUCKET,
        (2, 10, "wrong-type", "server.listen"),
        "must be an array, not a string",
        None,
    ),
    "not-a-string-in-array": (
        '[server]\nlisten = ["127.0.0.1:80",\n 81]\n' + BUCKET,
        (3, 2, "wrong-type", "server.listen[1]"),
        "must be a string in quotes, not a number",
        None,
    ),
    "not-a-table": ("log = 5\n" + BUCKET, (1, 7, "wrong-type", "log"), "must be a table, not a number", None),
    "one-bucket-without-an-array": (
        "[buckets]\nname = 'a'\n",
        (1, 2, "wrong-type", "buckets"),
        "must be an array, not a table",
        None,
    ),
    "size-of-another-type": (
        "[cache]\nmemory.max_size = []\n" + BUCKET,
        (2, 19, "wrong-type", "cache.memory.max_size"),
        'must be a size such as "64KiB", not an array',
        None,
    ),
    "duration-of-another-type": (
        "[cache]\nttl = false\n" + BUCKET,
        (2, 7, "wrong-type", "cache.ttl"),
        'must be a duration such as "250ms", not true or false',
        None,
    ),
    # units
    "size-unit": (
        '[cache]\nmemory = { max_size = "64K" }\n' + BUCKET,
        (2, 23, "bad-unit", "cache.memory.max_size"),
        'did you mean "64KiB"?',
        None,
    ),
    "size-is-none": (
        '[server]\nmax_header_size = "big"\n' + BUCKET,
        (2, 19, "bad-unit", "server.max_header_size"),
        "'big' is not a size",
        None,
    ),
    "duration-without-unit": (
        "[server]\nidle_timeout = 75\n" + BUCKET,
        (2, 16, "bad-unit", "server.idle_timeout"),
        'did you mean "75s"?',
        None,
    ),
    "duration-unit": (
        BUCKET + 'cache = { ttl = "5 parsecs" }\n',
        (6, 17, "bad-unit", "buckets[0].cache.ttl"),
        "'parsecs' is not a unit of time; use ms, s, m, h or d",
        None,
    ),
    "duration-below-zero": (
        '[cache]\nttl = "-1s"\n' + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        "'-1s' is not a duration",
        None,
    ),
    "duration-nan": ("[cache]\nttl = nan\n" + BUCKET, (2, 7, "bad-unit", "cache.ttl"), "is not a duration", None),
    "duration-infinite": ("[cache]\nttl = inf\n" + BUCKET, (2, 7, "bad-unit", "cache.ttl"), "is not a duration", None),
    "duration-number-below-zero": (
        "[cache]\nttl = -1\n" + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        "is not a duration",
        None,
    ),
    "duration-of-many-digits": (
        "[cache]\nttl = 1234567\n" + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        'did you mean "1234567s"?',
        None,
    ),
    "duration-of-a-fraction": (
        "[cache]\nttl = 0.5\n" + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        'did you mean "0.5s"?',
        None,
    ),
    "duration-beyond-a-float": (
        f"[cache]\nttl = 0x{'f' * 5000}\n" + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        "is not a duration",
        None,
    ),
    "duration-too-long": (
        f'[cache]\nttl = "{"1s" * 1000}"\n' + BUCKET,
        (2, 7, "bad-unit", "cache.ttl"),
        "is too long for a duration",
        None,
    ),
    "size-beyond-arithmetic": (
        f'[server]\nmax_header_size = "{"9" * 1_500_000}"\n' + BUCKET,
        (2, 19, "bad-unit", "server.max_header_size"),
        "is too long for a size",
        None,
    ),
    # values
    "size-not-a-number": (
        "[server]\nmax_header_size = nan\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_header_size"),
        'must be a size such as "64KiB", not a number',
        None,
    ),
    "size-infinite": (
        "[server]\nmax_header_size = inf\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_header_size"),
        "must be a size",
        None,
    ),
    "size-of-a-fraction": (
        "[server]\nmax_header_size = 4096.0\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_header_size"),
        "must be a size",
        None,
    ),
    "size-is-no-flag": (
        "[server]\nmax_header_size = true\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_header_size"),
        "must be a size",
        None,
    ),
    "size-beyond-all": (
        f"[server]\nmax_header_size = 0x{'f' * 5000}\n" + BUCKET,
        (2, 19, "bad-value", "server.max_header_size"),
        "must be at most 4611686018427387904",
        None,
    ),
    "whole-number-with-a-point": (
        "[server]\nmax_connections = 10.0\n" + BUCKET,
        (2, 19, "wrong-type", "server.max_connections"),
        "must be a whole number",
        None,
    ),
    "count-beyond-all": (
        f"[server]\nmax_connections = 0x{'f' * 5000}\n" + BUCKET,
        (2, 19, "bad-value", "server.max_connections"),
        "must be at most 2147483648",
        None,
    ),
    "fraction-below-zero": (
        "[coalescing]\nfinish_abandoned_at = -0.1\n" + BUCKET,
        (2, 23, "bad-value", "coalescing.finish_abandoned_at"),
        "must be at least 0",
        None,
    ),
    "fraction-not-a-number": (
        "[coalescing]\nfinish_abandoned_at = nan\n" + BUCKET,
        (2, 23, "bad-value", "coalescing.finish_abandoned_at"),
        "must be a number, not nan",
        None,
    ),
    "fraction-infinite": (
        "[coalescing]\nfinish_abandoned_at = inf\n" + BUCKET,
        (2, 23, "bad-value", "coalescing.finish_abandoned_at"),
        "must be at most 1",
        None,
    ),
    "fraction-beyond-a-float": (
        f"[coalescing]\nfinish_abandoned_at = 0x{'f' * 5000}\n" + BUCKET,
        (2, 23, "bad-value", "coalescing.finish_abandoned_at"),
        "is beyond every number we take",
        None,
    ),
    "workers-beyond-all": (
        f"[server]\nworkers = 0x{'f' * 5000}\n" + BUCKET,
        (2, 11, "bad-value", "server.workers"),
        "must be at most 1024",
        None,
    ),
    "choice-beyond-print": (
        f"[log]\nlevel = 0x{'f' * 5000}\n" + BUCKET,
        (2, 9, "bad-value", "log.level"),
        "must be one of 'debug'",
        None,
    ),
    "size-below-zero": (
        "[server]\nmax_header_size = -1\n" + BUCKET,
        (2, 19, "bad-value", "server.max_header_size"),
        "must be at least 0",
        None,
    ),
    "size-beyond-everything": (
        f'[cache]\nmemory.max_size = "{"9" * 400}GiB"\n' + BUCKET,
        (2, 19, "bad-value", "cache.memory.max_size"),
        "must be at most 4611686018427387904",
        None,
    ),
    "duration-beyond-everything": (
        '[cache]\nttl = "9999999d"\n' + BUCKET,
        (2, 7, "bad-value", "cache.ttl"),
        "must be at most 315360000",
        None,
    ),
    "count-of-zero": (
        "[server]\nmax_connections = 0\n" + BUCKET,
        (2, 19, "bad-value", "server.max_connections"),
        "must be at least 1",
        None,
    ),
    "fraction-above-one": (
        "[coalescing]\nfinish_abandoned_at = 50\n" + BUCKET,
        (2, 23, "bad-value", "coalescing.finish_abandoned_at"),
        "must be at most 1",
        None,
    ),
    "workers": (
        '[server]\nworkers = "many"\n' + BUCKET,
        (2, 11, "bad-value", "server.workers"),
        'must be a whole number from 1, or "auto"',
        None,
    ),
    "workers-zero": (
        "[server]\nworkers = 0\n" + BUCKET,
        (2, 11, "bad-value", "server.workers"),
        'must be a whole number from 1, or "auto"',
        None,
    ),
    "none-of-the-choices": (
        '[log]\nlevel = "warn"\n' + BUCKET,
        (2, 9, "bad-value", "log.level"),
        "must be one of 'debug', 'info', 'warning' or 'error'",
        "did you mean 'warning'?",
    ),
    "none-of-the-choices-by-far": (
        '[log]\nformat = "xml"\n' + BUCKET,
        (2, 10, "bad-value", "log.format"),
        "must be one of 'auto', 'console' or 'json'",
        None,
    ),
    "empty-array": (
        "[server]\nlisten = []\n" + BUCKET,
        (2, 10, "bad-value", "server.listen"),
        "must not be empty",
        None,
    ),
    "no-buckets": ("buckets = []\n", (1, 11, "bad-value", "buckets"), "must not be empty", None),
    "empty-name": (
        '[[buckets]]\nname = ""\npath_prefix = "/a"\ndirectory = "."\n',
        (2, 8, "bad-value", "buckets[0].name"),
        "must not be empty",
        None,
    ),
    # variables
    "missing-variable": (
        BUCKET + '[admin]\ntoken = "${ADMIN_TOKEN}"\n',
        (7, 9, "missing-variable", "admin.token"),
        "the environment variable ADMIN_TOKEN is not set",
        "set it, or give a default: ${ADMIN_TOKEN:-...}",
    ),
    "missing-variable-within-a-text": (
        BUCKET.replace('"some-bucket"', '"a-${STAGE}-b"'),
        (5, 17, "missing-variable", "buckets[0].s3.bucket"),
        "the environment variable STAGE is not set",
        "${STAGE:-...}",
    ),
    "missing-variable-in-array": (
        '[server]\nlisten = ["127.0.0.1:0", "${LISTEN}"]\n' + BUCKET,
        (2, 26, "missing-variable", "server.listen[1]"),
        "the environment variable LISTEN is not set",
        None,
    ),
    "missing-variable-for-a-number": (
        '[server]\nmax_connections = "${MANY}"\n' + BUCKET,
        (2, 19, "missing-variable", "server.max_connections"),
        "the environment variable MANY is not set",
        None,
    ),
    "bad-variable": (
        '[admin]\ntoken = "pa${ss-word}"\n' + BUCKET,
        (2, 9, "bad-variable", "admin.token"),
        "${ begins no variable",
        "write ${NAME}, ${NAME:-default} or ${file:PATH}",
    ),
    "unclosed-variable": (
        '[admin]\ntoken = "${NAME"\n' + BUCKET,
        (2, 9, "bad-variable", "admin.token"),
        "${ begins no variable",
        None,
    ),
    "file-of-no-path": (
        '[admin]\ntoken = "${file:a\\u0000b}"\n' + BUCKET,
        (2, 9, "missing-file", "admin.token"),
        "embedded null byte",
        None,
    ),
    "file-without-end": (
        '[admin]\ntoken = "${file:/dev/zero}"\n' + BUCKET,
        (2, 9, "missing-file", "admin.token"),
        "cannot read /dev/zero: larger than 1MiB",
        None,
    ),
    "file-is-a-folder": (
        '[admin]\ntoken = "${file:/}"\n' + BUCKET,
        (2, 9, "missing-file", "admin.token"),
        "cannot read /: Is a directory",
        None,
    ),
    "missing-file": (
        '[admin]\ntoken = "${file:secrets/token}"\n' + BUCKET,
        (2, 9, "missing-file", "admin.token"),
        "cannot read secrets/token: No such file or directory",
        None,
    ),
}


@pytest.mark.parametrize(("text", "where", "message", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_told_with_its_place(
    text: str, where: tuple[int, int, str, str], message: str, hint: str | None
) -> None:
    loaded = read(text)
    assert where in place(loaded)
    problem = loaded.problems[place(loaded).index(where)]
    assert message in problem.message
    assert problem.message.startswith(problem.key)
    assert problem.severity == "error"
    assert hint is None or hint in (problem.hint or "")
    assert loaded.config is None


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("unknown-section",)])
def test_one_mistake_is_told_once(name: str) -> None:
    assert len(read(BAD[name][0]).problems) == 1


def test_byte_that_is_not_utf_8_is_told_with_its_place() -> None:
    loaded = read("[log]\nä = 'x\xff'\n".encode("latin-1").replace(b"\xe4", "ä".encode()))
    assert place(loaded) == [(2, 7, "syntax", "")]
    assert loaded.problems[0].message == "not UTF-8: byte 0xff"


def test_utf_16_is_named() -> None:
    (problem,) = read(BUCKET.encode("utf-16")).problems
    assert (problem.line, problem.column, problem.code) == (1, 1, "syntax")
    assert problem.hint == "this is UTF-16: save it as UTF-8"


@pytest.mark.parametrize("content", ["\ufeff" + BUCKET, b"\xef\xbb\xbf" + BUCKET.encode()], ids=["str", "bytes"])
def test_byte_order_mark_is_ignored(content: str | bytes) -> None:
    assert read(content).problems == []


def test_byte_order_mark_moves_no_column() -> None:
    assert place(read("\ufeffa = 1\n" + BUCKET)) == [(1, 1, "unknown-key", "a")]


def test_byte_order_mark_elsewhere_is_a_mistake() -> None:
    assert place(read("\n\ufeffa = 1\n" + BUCKET)) == [(2, 1, "syntax", "")]


def test_variable_that_is_not_utf_8_is_a_problem() -> None:
    loaded = read('[admin]\ntoken = "${TOKEN}"\nlisten = "unix:/${PATH}"' + BUCKET, TOKEN="a\udcff", PATH="\udcff")
    assert place(loaded) == [(2, 9, "bad-variable", "admin.token"), (3, 10, "bad-variable", "admin.listen")]
    assert loaded.problems[0].message == "admin.token: the environment variable TOKEN is not UTF-8"


def test_pipe_is_read_and_its_files_start_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("hunter2")
    reading, writing = os.pipe()
    os.write(writing, ('[admin]\ntoken = "${file:token}"' + BUCKET).encode())
    os.close(writing)
    try:
        loaded = load_file(Path(f"/dev/fd/{reading}"), {})
    finally:
        os.close(reading)
    assert loaded.problems == []
    assert loaded.config is not None
    assert loaded.config.admin.token == SecretStr("hunter2")


def test_file_without_end_is_a_problem() -> None:
    (problem,) = load_file(Path("/dev/zero"), {}).problems
    assert (problem.code, problem.message) == ("unreadable", "cannot read /dev/zero: larger than 4MiB")


def test_name_of_no_path_is_a_problem() -> None:
    (problem,) = load_file(Path("a\x00b"), {}).problems
    assert (problem.code, problem.message) == ("unreadable", "cannot read a\x00b: embedded null byte")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("loop.toml", "Too many levels of symbolic links"),
        ("a" * 300, "File name too long"),
    ],
    ids=["absent", "folder", "circle", "long-name"],
)
def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    path = tmp_path / name
    (problem,) = load_file(path, {}).problems
    assert (problem.file, problem.line, problem.column, problem.code) == (str(path), 1, 1, "unreadable")
    assert problem.message == f"cannot read {path}: {reason}"


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        '[server]\nlistn = 1\nidle_timeout = "5"\nlisten = ["nowhere"]\n[log]\naccess = 1\nlevel = "${LEVEL}"\n'
        + BUCKET
        + BUCKET.replace('"/z"', '"/y"').replace("some-bucket", "no bucket")
    )
    assert place(read(text)) == [
        (2, 1, "unknown-key", "server.listn"),
        (3, 16, "bad-unit", "server.idle_timeout"),
        (4, 11, "bad-address", "server.listen[0]"),
        (6, 10, "wrong-type", "log.access"),
        (7, 9, "missing-variable", "log.level"),
        (15, 8, "duplicate-name", "buckets[1].name"),
        (17, 17, "bad-bucket", "buckets[1].s3.bucket"),
    ]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        pytest.param(
            BUCKET + '[buckets.cors]\nallow_origins = ["*"]\nallow_credentials = "yes"\n',
            ["wrong-type"],
            id="same-table",
        ),
        pytest.param(BUCKET.replace("}", ', access_key = "a", secret_key = 5 }'), ["wrong-type"], id="its-partner"),
        pytest.param(BUCKET.replace("}", ', access_key = "a", secret_kee = "5" }'), ["unknown-key"], id="misspelt"),
        pytest.param(
            BUCKET.replace("}", ", anonymous = 1 }") + 'forward_request_headers = ["Authorization"]',
            ["wrong-type"],
            id="table-below",
        ),
        pytest.param(
            '[server]\nlisten = [5]\n[admin]\nlisten = "127.0.0.1:8080"' + BUCKET, ["wrong-type"], id="default"
        ),
        pytest.param(
            '[origin]\nconnect_timeout = 1\n[coalescing]\nwait_timeout = "2s"' + BUCKET, ["bad-unit"], id="other-table"
        ),
    ],
)
def test_a_bad_key_is_not_held_against_the_keys_that_depend_on_it(text: str, codes: list[str]) -> None:
    assert [problem.code for problem in read(text).problems] == codes


def test_variables_are_replaced_wherever_strings_stand() -> None:
    text = '[server]\nlisten = ["${HOST}:${PORT:-80}"]\n[log]\nlevel = "${LEVEL:-debug}"\n' + BUCKET
    config = read(text, HOST="127.0.0.1", LEVEL="").config
    assert config is not None
    assert config.server.listen == ["127.0.0.1:80"]
    assert config.log.level == "debug"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("server.max_connections", "12", 12),
        ("server.workers", "1", 1),
        ("server.idle_timeout", "5s", 5.0),
        ("server.max_header_size", "2KiB", 2048),
        ("server.max_header_size", "2048", 2048),
        ("log.access", "FALSE", False),
        ("log.access", "true", True),
        ("coalescing.finish_abandoned_at", "0.25", 0.25),
        ("admin.token", "12", SecretStr("12")),
    ],
)
def test_variable_alone_stands_for_the_type_its_key_wants(key: str, value: str, expected: object) -> None:
    section, _, name = key.partition(".")
    loaded = read(f'[{section}]\n{name} = "${{VALUE}}"' + BUCKET, VALUE=value)
    assert loaded.problems == []
    found = getattr(getattr(loaded.config, section), name)
    assert (found, type(found)) == (expected, type(expected))


def test_value_of_a_variable_is_not_searched_for_variables() -> None:
    config = read('[admin]\ntoken = "${A}"' + BUCKET, A="${B}$$").config
    assert config is not None
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "${B}$$"


def test_two_dollars_are_one() -> None:
    config = read('[admin]\ntoken = "$${A} costs 5$"' + BUCKET).config
    assert config is not None
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "${A} costs 5$"


def test_file_is_read_beside_the_config_and_stripped(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    config = read('[admin]\ntoken = "${file:token}"' + BUCKET, base=tmp_path).config
    assert config is not None
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "hunter2"


def test_empty_secret_is_none() -> None:
    text = BUCKET.replace("}", ', access_key = "${KEY:-}", secret_key = "${KEY:-}" }') + '[admin]\ntoken = "${KEY:-}"\n'
    config = read(text).config
    assert config is not None
    assert config.admin.token is None
    assert config.buckets[0].s3 is not None
    assert (config.buckets[0].s3.access_key, config.buckets[0].s3.secret_key) == (None, None)


def test_secrets_do_not_print() -> None:
    config = read(
        '[admin]\ntoken = "hunter2"' + BUCKET.replace("}", ', access_key = "AKIA", secret_key = "s3cr3t" }')
    ).config
    assert "**" in repr(config)
    assert not any(secret in repr(config) for secret in ("hunter2", "AKIA", "s3cr3t"))


GOOD = '[server]\nlisten = ["127.0.0.1:0", "unix:/s"]\n[log]\nlevel = "${L:-info}"\n[cache]\nttl = "1h"' + BUCKET


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 3), st.text("[]{}=\"'\n#.,$:\\ \t\x00a1é²", max_size=3)),
        max_size=6,
    )
)
def test_no_text_is_too_broken_to_be_told_about(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, new in edits:
        text = text[:start] + new + text[start + length :]
    loaded = read(text)
    assert (loaded.config is None) == loaded.has_errors
    lines = text.split("\n")
    assert all(1 <= problem.line <= len(lines) for problem in loaded.problems)
    assert all(1 <= problem.column <= len(lines[problem.line - 1]) + 1 for problem in loaded.problems)
