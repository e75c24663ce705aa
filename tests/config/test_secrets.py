"""No secret of a config is ever printed, whatever is wrong with the config: a canary in each, and every format."""

import itertools
from pathlib import Path

import pytest
from typer.testing import CliRunner

from yatagarasu.cli import app
from yatagarasu.config.redact import secret_spans

CANARY = "c4narySONG"
FORMATS = ("text", "json", "github", "sarif")

# Each with `@` for the value.
KEYS = {
    "access_key": "[buckets.s3]\nbucket = 'some-bucket'\naccess_key = @",
    "secret_key": "[buckets.s3]\nbucket = 'some-bucket'\nsecret_key = @",
    "session_token": "[buckets.s3]\nbucket = 'some-bucket'\nsession_token = @",
    "endpoint": "[buckets.s3]\nbucket = 'some-bucket'\nendpoint = @",
    "token": "[admin]\ntoken = @",
}
HEAD = "[[buckets]]\nname = 'a'\npath_prefix = '/a'\n"
# How a value may hold the secret.
USER = {
    "password": f"http://user:{CANARY}@127.0.0.1:9000",
    "user": f"http://{CANARY}@127.0.0.1:9000",
    "slash-and-at": f"https://user:p@ss/{CANARY}#?@127.0.0.1:9000",
    "space-and-quote": f"https://user:p ' {CANARY}@127.0.0.1:9000",
    "no-scheme": f"user:{CANARY}@127.0.0.1:9000",
    "no-host": f"http://user:{CANARY}",
    "one-slash": f"http:/user:{CANARY}@host",
    "query": f"http://127.0.0.1:9000?password={CANARY}",
}
# What may be wrong beside it, with `@` for the table's line of a secret.
MISTAKES = {
    "nothing": "@\n",
    "same-key-twice": "@\n@\n",
    "next-line": "@\nunknown = 1\n",
    "line-before": "unknown = 1\n@\n",
    "no-value": "@\nregion =\n",
    "broken-tail": "@ x\n",
    "second-string": f"@ '{CANARY}'\n",
    "unclosed-table": "@\n[x\n",
}


def told(text: str, tmp_path: Path, env: dict[str, str] | None = None) -> str:
    """Everything that the command says about a config, in every format."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    output = ""
    for name in FORMATS:
        result = CliRunner().invoke(app, ["validate-config", "--format", name, str(path)], env=env)
        assert result.exit_code in (0, 1), result.exception
        output += result.stdout + result.stderr
    return output


def values(key: str) -> dict[str, str]:
    return USER if key == "endpoint" else {"itself": CANARY}


def with_line(key: str, value: str, mistake: str) -> str:
    """A config whose key has this value, with this mistake."""
    table, _, line = KEYS[key].replace("@", value.replace("@", "\0")).rpartition("\n")
    return (HEAD + table + "\n" + mistake.replace("@", line)).replace("\0", "@")


@pytest.mark.parametrize(("key", "mistake"), list(itertools.product(KEYS, MISTAKES)), ids="-".join)
def test_literal_value_is_never_told(key: str, mistake: str, tmp_path: Path) -> None:
    for value in values(key).values():
        for spelt in (f'"{value}"', f'"""{value}"""', f'"""\n{value}\\\n"""', f'["{value}", "{value}"]', f'"{value}'):
            assert CANARY not in told(with_line(key, spelt, MISTAKES[mistake]), tmp_path), spelt


@pytest.mark.parametrize("key", KEYS)
def test_value_of_a_variable_is_never_told(key: str, tmp_path: Path) -> None:
    for value in values(key).values():
        (tmp_path / "value").write_text(value)
        for spelt in ('"${CANARY_VALUE}"', '"${file:value}"', f'"${{NOT_SET:-{value}}}"', f'"${{NOT_SET}}{value}"'):
            for mistake in ("@\n", "@\nunknown = 1\n"):
                text = with_line(key, spelt, mistake)
                assert CANARY not in told(text, tmp_path, {"CANARY_VALUE": value}), spelt


@pytest.mark.parametrize("key", KEYS)
def test_all_on_one_line_is_never_told(key: str, tmp_path: Path) -> None:
    name = KEYS[key].rpartition("\n")[2].partition(" ")[0]
    for value in values(key).values():
        inner = f'bucket = "x", {name} = "{value}", colour = 1, region = 5'
        output = told(f"{HEAD}s3 = {{ {inner} }}\n[admin]\ntoken = {{ {inner} }}\n", tmp_path)
        assert CANARY not in output
        assert "unknown key 'colour'" in output


@pytest.mark.parametrize(
    "line",
    [
        f'secretkey = "{CANARY}"',
        f'SecretKey = "{CANARY}"',
        f'secret-key = "{CANARY}"',
        f'acces_key = "{CANARY}"',
        f'sesion_token = "{CANARY}"',
        f'aws_secret_access_key = "{CANARY}"',
        f'aws_access_key_id = "{CANARY}"',
        f'password = "{CANARY}"',
        f'tokn = "{CANARY}"',
        f'token.value = "{CANARY}"',
        f'"token" . value = "{CANARY}"',
        f'token = {{ a = 1, b = "{CANARY}" }}',
        f'token = [ "a", # ]\n"{CANARY}" ]',
        f'[admin.token]\nvalue = "x${{NOT_SET}}{CANARY}"',
        f'endpont = "http://user:{CANARY}@host"',
        f'level = "http://user:{CANARY}@host"',
        f'level = "x" # token = {CANARY}',
        f'level = "x" # http://user:{CANARY}@host',
        f"token = {CANARY}",
        f"token: {CANARY}",
        f'token "{CANARY}"',
        f"export TOKEN={CANARY}",
        f'token == "{CANARY}"',
        f'token = "a" "{CANARY}"',
        f'token = "a"{CANARY}"',
        f"token = a,{CANARY}",
        f'{{ x = 1, token "{CANARY}" }}',
        f'token = "\\q{CANARY}"',
        f'token = """x\n{CANARY}',
        f'token = [ "x",\n"{CANARY}"',
        f'listen = ["user:{CANARY}@host:80"]',
        f"token = '{CANARY}'\nlisten = '{CANARY}'",
    ],
)
@pytest.mark.parametrize("table", ["server", "admin", "log"])
def test_value_of_a_key_that_is_not_quite_one_of_ours_is_never_told(line: str, table: str, tmp_path: Path) -> None:
    head = HEAD + "s3 = { bucket = 'some-bucket' }\n"
    output = told(f"{head}[{table}]\n{line}\n", tmp_path)
    assert "c.toml:" in output
    assert CANARY not in output.replace(f"listen = '{CANARY}'", "")


def test_secret_that_stands_in_another_key_too_is_not_in_a_message(tmp_path: Path) -> None:
    text = f'{HEAD}[buckets.s3]\nbucket = "${{CANARY}}/x"\naccess_key = "a"\nsecret_key = "${{CANARY}}"\n'
    output = told(text, tmp_path, {"CANARY": CANARY})
    assert CANARY not in output
    assert "buckets[0].s3.bucket: '***/x' is not a bucket name" in output


@pytest.mark.parametrize(
    "line",
    [
        'endpoint = "http://127.0.0.1:9000"',
        "endpoint = 'https://[::1]:9000/base'",
        'endpoint = "127.0.0.1:9000"',
        'endpoint = "http://h:99999"',
        'endpoint = "${ENDPOINT}"',
        'endpoint = "http://${HOST}:${PORT}/"',
        'endpoint = "${ENDPOINT:-http://127.0.0.1:9000}"   # a remark',
        'endpoint = "${file:/run/endpoint}"',
        "access = true",
        'key_prefix = "a" # what keys begin with',
        "cache_key_headers = ['X-A']",
        'name = "a@b"',
        "max_size = '1GiB'",
    ],
)
def test_what_is_no_secret_is_told(line: str) -> None:
    assert secret_spans(line, is_toml=True) == []


@pytest.mark.parametrize(
    "character", ["/", "=", '"', "'", "a", "[", "{", "\\", "://", "token=", 'token="', "[token]\n"]
)
@pytest.mark.parametrize("is_toml", [True, False])
def test_looking_for_secrets_takes_time_in_proportion(character: str, is_toml: bool) -> None:
    """A quadratic search would take minutes here."""
    text = character * (200_000 // len(character))
    spans = secret_spans(text, is_toml=is_toml)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
