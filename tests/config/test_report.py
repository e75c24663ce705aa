import json
from urllib.parse import unquote

import pytest

from yatagarasu.config.report import Problem, render_github, render_json, render_sarif, render_text

ERROR = Problem("c.toml", 2, 10, "wrong-type", "log.access: must be true or false", "write true", key="log.access")
WARNING = Problem("d.toml", 1, 1, "open-admin", "admin: has no token", severity="warning", key="admin")
TEXT = '[log]\naccess = "yes"\n'


def shown_line(text: str, line: int, column: int = 1) -> str:
    """The source line as a report shows it, without its gutter."""
    report = render_text([Problem("c.toml", line, column, "x", "x")], {"c.toml": text})
    return report.split("\n")[1].partition(" | ")[2]


def test_text_shows_place_source_caret_and_hint() -> None:
    assert render_text([ERROR], {"c.toml": TEXT}) == (
        "c.toml:2:10: error: log.access: must be true or false [wrong-type]\n"
        '    2 | access = "yes"\n'
        "                 ^\n"
        "      = write true\n"
    )


def test_text_separates_problems_by_a_blank_line() -> None:
    report = render_text([ERROR, WARNING], {"c.toml": TEXT, "d.toml": "[admin]\n"})
    assert report.split("\n\n")[1].startswith("d.toml:1:1: warning: admin: has no token [open-admin]\n")


@pytest.mark.parametrize("text", ["", "a = 1"], ids=["unreadable", "shorter"])
def test_text_without_the_source_line_is_the_message_alone(text: str) -> None:
    problem = Problem("c.toml", 3, 1, "x", "what")
    assert render_text([problem], {"c.toml": text}) == "c.toml:3:1: error: what [x]\n"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        pytest.param('\taccess = "yes"', 1, 11, id="tab"),
        pytest.param('a = "\u2028\x0b"\naccess = "yes"', 2, 10, id="other-line-separators"),
        pytest.param('access = "yes"\r\n', 1, 10, id="crlf"),
        pytest.param('s3 = { secret_key = "hunter2hunter2", access = "yes" }', 1, 48, id="behind-a-secret"),
    ],
)
def test_caret_stands_below_the_value(text: str, line: int, column: int) -> None:
    lines = render_text([Problem("c.toml", line, column, "x", "x")], {"c.toml": text}).split("\n")
    assert lines[2].index("^") == lines[1].index('"yes"')


def test_colour_comes_only_when_asked_for() -> None:
    assert "\x1b" not in render_text([ERROR], {"c.toml": TEXT})
    assert "\x1b[31merror\x1b[0m" in render_text([ERROR], {"c.toml": TEXT}, colour=True)
    assert "\x1b[33mwarning\x1b[0m" in render_text([WARNING], {}, colour=True)


def test_source_cannot_steer_the_terminal() -> None:
    assert shown_line('a = "\x1b[2J\x07\x9b\u202e"', 1) == r'a = "\x1b[2J\x07\x9b\u202e"'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param('secret_key = "hunter2"', 1, id="basic"),
        pytest.param("secret_key = 'hunter2'", 1, id="literal"),
        pytest.param("  token='hunter2' # x", 1, id="no-spaces"),
        pytest.param('"session_token" = "hunter2"', 1, id="quoted-key"),
        pytest.param('admin.token = "hunter2"', 1, id="dotted-key"),
        pytest.param('s3 = { bucket = "b", access_key = "hunter2", anonymous = true }', 1, id="inline-table"),
        pytest.param('secret_key = "hunter2', 1, id="unfinished"),
        pytest.param("secret_key = hunter2", 1, id="bare"),
        pytest.param('secret_key = "x\\"hunter2"', 1, id="escaped-quote"),
        pytest.param('secret_key = """\nhunter2\n"""', 2, id="long"),
        pytest.param('secret_key = """\nhunter2', 2, id="long-unfinished"),
        pytest.param("secret_key = '''\nhunter2'''", 2, id="long-literal"),
        pytest.param('secret_key = "${KEY:-hunter2}"', 1, id="default"),
        pytest.param('secret_key = "hunter2${KEY}"', 1, id="beside-a-variable"),
    ],
)
def test_secret_is_never_shown(text: str, line: int) -> None:
    shown = shown_line(text, line)
    assert "hunter2" not in shown
    assert "***" in shown
    for column in range(1, len(text)):
        report = render_text([Problem("c.toml", line, column, "x", "x")], {"c.toml": text}, colour=True)
        assert "hunter2" not in report


@pytest.mark.parametrize(
    "line",
    [
        'secret_key = "${KEY}"',
        'secret_key = "${KEY:-}"',
        'token = "${file:/run/token}"',
        'key_prefix = "a"',
        'token_file = "a"',
    ],
)
def test_what_is_no_secret_is_shown(line: str) -> None:
    assert shown_line(line, 1) == line


def test_rest_of_a_line_with_a_secret_is_shown() -> None:
    line = 's3 = { bucket = "b", secret_key = "hunter2", region = "r" } # c'
    assert shown_line(line, 1) == line.replace('"hunter2"', "***")


def test_json_holds_every_field_and_the_count_of_errors() -> None:
    report = json.loads(render_json([ERROR, WARNING]))
    assert (report["ok"], report["errors"]) == (False, 1)
    assert report["problems"][0] == {
        "file": "c.toml",
        "line": 2,
        "column": 10,
        "code": "wrong-type",
        "message": "log.access: must be true or false",
        "hint": "write true",
        "severity": "error",
        "key": "log.access",
    }


@pytest.mark.parametrize("problems", [[], [WARNING]], ids=["nothing", "warning"])
def test_json_is_ok_without_errors(problems: list[Problem]) -> None:
    report = json.loads(render_json(problems))
    assert (report["ok"], report["errors"], len(report["problems"])) == (True, 0, len(problems))


def test_github_annotation() -> None:
    assert render_github([ERROR, WARNING]).split("\n") == [
        "::error file=c.toml,line=2,col=10,title=wrong-type::log.access: must be true or false (write true)",
        "::warning file=d.toml,line=1,col=1,title=open-admin::admin: has no token",
    ]


def test_github_escapes_what_its_runner_would_interpret() -> None:
    problem = Problem("a,b:c%.toml", 1, 1, "x", "50%\r\n::error::forged, but: no")
    assert render_github([problem]) == (
        "::error file=a%2Cb%3Ac%25.toml,line=1,col=1,title=x::50%25%0D%0A::error::forged, but: no"
    )


def test_sarif_says_where_and_what() -> None:
    log = json.loads(render_sarif([ERROR, WARNING]))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "yatagarasu"
    assert run["tool"]["driver"]["rules"] == [{"id": "open-admin"}, {"id": "wrong-type"}]
    assert run["results"][0] == {
        "ruleId": "wrong-type",
        "level": "error",
        "message": {"text": "log.access: must be true or false. write true"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "c.toml"},
                    "region": {"startLine": 2, "startColumn": 10},
                }
            }
        ],
    }
    assert run["results"][1]["level"] == "warning"


def test_sarif_without_problems_is_a_run_without_results() -> None:
    (run,) = json.loads(render_sarif([]))["runs"]
    assert run["results"] == []


@pytest.mark.parametrize("name", ["<stdin>", "a b.toml", "/etc/ä%20.toml"])
def test_sarif_file_is_a_uri(name: str) -> None:
    (run,) = json.loads(render_sarif([Problem(name, 1, 1, "x", "x")]))["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.isascii()
    assert not set(uri) & set("<> ")
    assert unquote(uri) == name
