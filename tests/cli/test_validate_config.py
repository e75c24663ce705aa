"""The command as a user or a CI job meets it: what is printed where, and the exit code."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from yatagarasu.bench.origin import EmbeddedOrigin
from yatagarasu.bench.store import ObjectStore
from yatagarasu.cli import app
from yatagarasu.config.model import Config

GOOD = '[[buckets]]\nname = "a"\npath_prefix = "/a"\ns3 = { bucket = "some-bucket" }\n'
WARNED = '[admin]\nlisten = "0.0.0.0:9090"\n' + GOOD
BAD = '[log]\naccess = "yes"\n' + GOOD


def invoke(*arguments: str | Path, input: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["validate-config", *map(str, arguments)], input=input, env=env)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    return path


def test_good_file(good: Path) -> None:
    result = invoke(good)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{good}: ok\n")


def test_bad_file(bad: Path) -> None:
    result = invoke(bad)
    assert result.exit_code == 1
    assert result.stdout.startswith(
        f"{bad}:2:10: error: log.access: must be true or false, not a string [wrong-type]\n"
    )
    assert result.stdout.count("^") == 1
    assert result.stderr == ""


def test_warning_is_printed_and_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "warned.toml"
    path.write_text(WARNED)
    result = invoke(path)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path}:2:10: warning: ")
    assert result.stderr == f"{path}: ok\n"


def test_several_files_are_all_told_about(good: Path, bad: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    result = invoke(good, bad, absent)
    assert result.exit_code == 1
    assert f"{bad}:2:10: error: " in result.stdout
    assert f"{absent}:1:1: error: cannot read {absent}: No such file or directory [unreadable]" in result.stdout
    assert result.stderr == f"{good}: ok\n"


def test_source_lines_are_those_of_the_right_file(bad: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("\nserver = 1\n" + GOOD)
    result = invoke(bad, other)
    assert '    2 | access = "yes"\n' in result.stdout
    assert "    2 | server = 1\n" in result.stdout


@pytest.mark.parametrize(("text", "code"), [(GOOD, 0), (BAD, 1)], ids=["good", "bad"])
def test_dash_is_standard_input(text: str, code: int) -> None:
    result = invoke("-", input=text)
    assert result.exit_code == code
    assert (result.stderr or result.stdout).startswith("<stdin>:")


def test_standard_input_that_is_not_utf_8_is_a_problem() -> None:
    result = invoke("-", input=b"a = '\xff'\n")
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:6: error: not UTF-8: byte 0xff [syntax]\n")


def test_variables_come_from_the_environment() -> None:
    text = GOOD.replace("some-bucket", "${VALIDATED_BUCKET}")
    assert invoke("-", input=text, env={"VALIDATED_BUCKET": "some-bucket"}).exit_code == 0
    assert "[bad-bucket]" in invoke("-", input=text, env={"VALIDATED_BUCKET": "x"}).stdout


@pytest.mark.parametrize(
    "arguments", [[], ["--format", "xml", "-"], ["--frmat", "json", "-"]], ids=["no-file", "format", "option"]
)
def test_usage_errors_exit_with_2_and_say_so_on_stderr(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr != ""


def test_json(good: Path, bad: Path) -> None:
    result = invoke("--format", "json", good, bad)
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["ok"], report["errors"]) == (False, 1)
    assert [(item["file"], item["line"], item["column"], item["code"]) for item in report["problems"]] == [
        (str(bad), 2, 10, "wrong-type")
    ]


def test_json_of_a_good_file(good: Path) -> None:
    result = invoke("--format", "json", good)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "errors": 0, "problems": []}


def test_github(bad: Path) -> None:
    result = invoke("--format", "github", bad)
    assert result.exit_code == 1
    assert result.stdout == (
        f"::error file={bad},line=2,col=10,title=wrong-type::log.access: must be true or false, not a string\n"
    )


def test_github_of_a_good_file_is_silence(good: Path) -> None:
    result = invoke("--format", "github", good)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(("text", "code", "count"), [(GOOD, 0, 0), (BAD, 1, 1)], ids=["good", "bad"])
def test_sarif(text: str, code: int, count: int) -> None:
    result = invoke("--format", "sarif", "-", input=text)
    assert result.exit_code == code
    (run,) = json.loads(result.stdout)["runs"]
    assert len(run["results"]) == count


def schema_paths(schema: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    """Dotted paths of every key that a JSON Schema names."""
    for name, child in node.get("properties", {}).items():
        yield name
        for option in (child, child.get("items", {}), *child.get("anyOf", ())):
            reference = option.get("$ref", "").removeprefix("#/$defs/")
            if reference:
                yield from (f"{name}.{path}" for path in schema_paths(schema, schema["$defs"][reference]))


def model_paths(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for section in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(section, type) and issubclass(section, BaseModel):
                yield from (f"{name}.{path}" for path in model_paths(section))


def test_schema_names_every_key() -> None:
    result = invoke("--schema")
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    named = set(schema_paths(schema, schema))
    assert named == set(model_paths(Config))
    assert {"server.listen", "cache.memory.max_size", "origin.retry.attempts", "buckets.s3.access_key"} <= named
    assert {"buckets.cors.allow_origins", "buckets.cache.ttl_override", "coalescing.join_ahead"} <= named


def test_schema_refuses_unknown_keys_and_takes_texts_for_sizes() -> None:
    schema = json.loads(invoke("--schema").stdout)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["buckets"]
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())
    size, duration = (
        schema["$defs"]["MemoryConfig"]["properties"]["max_size"],
        schema["$defs"]["ServerConfig"]["properties"]["idle_timeout"],
    )
    assert "string" in size["type"]
    assert "string" in duration["type"]


def checked(endpoint: str, secret_key: str, bucket: str = "some-bucket") -> str:
    return (
        '[origin]\nretry = { attempts = 1 }\n[[buckets]]\nname = "media"\npath_prefix = "/media"\n[buckets.s3]\n'
        f'bucket = "{bucket}"\nendpoint = "{endpoint}"\naccess_key = "AKIDEXAMPLE"\nsecret_key = "{secret_key}"\n'
    )


@pytest.fixture
def closed_endpoint() -> Iterator[str]:
    """A port that is ours and refuses: bound, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def live_endpoint() -> Iterator[str]:
    """The embedded S3 origin on a thread of its own, as the command runs trio itself."""
    store = ObjectStore()
    store.put("some-bucket", "key", b"body")
    origin = EmbeddedOrigin(store, credentials={"AKIDEXAMPLE": "right-secret"})
    ready = threading.Event()
    handles: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(origin.serve)
            handles.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(10)
    yield origin.endpoint
    token, scope = handles[0]
    token.run_sync_soon(scope.cancel)
    thread.join(10)


def test_check_origins_of_a_closed_port(closed_endpoint: str) -> None:
    result = invoke("--check-origins", "-", input=checked(closed_endpoint, "never-printed"))
    assert result.exit_code == 1
    assert f"media at {closed_endpoint}: failed: " in result.stderr
    assert result.stdout.startswith("<stdin>:6:10: error: buckets[0].s3: ")
    assert f"cannot connect to {closed_endpoint.removeprefix('http://')}: Connection refused" in result.stdout
    assert "never-printed" not in result.output
    assert "AKIDEXAMPLE" not in result.output


def test_check_origins_of_a_bucket_that_answers(live_endpoint: str) -> None:
    result = invoke("--check-origins", "-", input=checked(live_endpoint, "right-secret"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"media at {live_endpoint}: ok: " in result.stderr


@pytest.mark.parametrize(
    ("secret_key", "bucket", "answer"),
    [("wrong-secret", "some-bucket", "SignatureDoesNotMatch"), ("right-secret", "other-bucket", "other-bucket")],
    ids=["wrong-secret", "no-such-bucket"],
)
def test_check_origins_says_what_s3_answered(live_endpoint: str, secret_key: str, bucket: str, answer: str) -> None:
    result = invoke("--check-origins", "-", input=checked(live_endpoint, secret_key, bucket))
    assert result.exit_code == 1
    assert answer in result.stdout
    assert secret_key not in result.output


def test_check_origins_in_json_keeps_stdout_for_the_machine(closed_endpoint: str) -> None:
    result = invoke("--check-origins", "--format", "json", "-", input=checked(closed_endpoint, "never-printed"))
    (problem,) = json.loads(result.stdout)["problems"]
    assert (problem["code"], problem["line"], problem["key"]) == ("origin", 6, "buckets[0].s3")


def test_check_origins_asks_nobody_when_the_config_is_bad(closed_endpoint: str) -> None:
    result = invoke("--check-origins", "-", input=checked(closed_endpoint, "x") + "colour = 1\n")
    assert result.exit_code == 1
    assert "[unknown-key]" in result.stdout
    assert "media at" not in result.output


def test_check_origins_of_a_directory(tmp_path: Path) -> None:
    text = f'[[buckets]]\nname = "local"\npath_prefix = "/"\ndirectory = "{tmp_path}"\n'
    assert invoke("--check-origins", "-", input=text).exit_code == 0
    gone = invoke("--check-origins", "-", input=text.replace(f'"{tmp_path}"', f'"{tmp_path}/gone"'))
    assert gone.exit_code == 1
    assert gone.stdout.startswith("<stdin>:4:1: error: buckets[0].directory: ")
