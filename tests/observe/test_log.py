import io
import json
from typing import Any

import pytest

from yatagarasu.errors import OriginBroken
from yatagarasu.observe.log import Log, Scrubber

_NOW = 1_700_000_000.0


class Clock:
    """Epoch seconds by hand."""

    def __init__(self) -> None:
        self.now = _NOW

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A pipe nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Log:
    return Log(stream=stream, clock=Clock())


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_an_event_is_one_json_line(log: Log, stream: io.StringIO):
    log.info("reloaded", buckets=2, took=0.5, ok=True, why=None)
    assert only(stream) == {
        "time": "2023-11-14T22:13:20Z",
        "level": "info",
        "event": "reloaded",
        "buckets": 2,
        "took": 0.5,
        "ok": True,
        "why": None,
    }


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_the_level_and_above_are_written(stream: io.StringIO, level: str, written: list[str]):
    log = Log(level=level, stream=stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("something")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == written


def test_an_error_brings_its_context_and_its_causes(log: Log, stream: io.StringIO):
    error = OriginBroken("cut", bucket="assets", attempt=2)
    error.__cause__ = ConnectionResetError("reset by peer")
    log.error("flight_failed", exc=error)
    found = only(stream)
    assert (found["bucket"], found["attempt"]) == ("assets", 2)
    assert found["cause"] == "OriginBroken: cut <- ConnectionResetError: reset by peer"


def test_a_field_beats_the_error_s_context(log: Log, stream: io.StringIO):
    log.error("flight_failed", exc=OriginBroken("cut", bucket="inner"), bucket="outer")
    assert only(stream)["bucket"] == "outer"


def test_context_cannot_change_what_the_line_is_about(log: Log, stream: io.StringIO):
    log.error("failed", exc=OriginBroken("cut", level="debug", event="fine", time=0))
    found = only(stream)
    assert (found["level"], found["event"], found["time"]) == ("error", "failed", "2023-11-14T22:13:20Z")
    assert (found["level_"], found["event_"], found["time_"]) == ("debug", "fine", 0)


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("secret", ["plain-secret", 'with"quote', "with\\backslash", "with/slash+é"])
def test_no_secret_gets_through(stream: io.StringIO, format: str, secret: str):
    log = Log(stream=stream, format=format, scrubber=Scrubber([secret]))
    log.error("failed", exc=OriginBroken(f"tried {secret}", seen=f"x{secret}x", many=[secret]), given=secret)
    text = stream.getvalue()
    for spelling in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1]):
        assert spelling not in text
    assert text.count("***") == 4


@pytest.mark.parametrize("name", ["authorization", "Authorization", "cookie", "token", "secret_key"])
def test_a_field_that_is_a_secret_by_name_is_never_written(log: Log, stream: io.StringIO, name: str):
    log.info("seen", **{name: "hunter2"})
    assert only(stream)[name] == "***"


def test_scrubbing_never_breaks_the_line(log: Log, stream: io.StringIO):
    log.info("seen", value='authorization: x\\" , "level": "forged', query='Signature=abc\\"def')
    found = only(stream)
    assert found["level"] == "info"
    assert "abc" not in found["query"]


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_value_can_forge_a_line(stream: io.StringIO, format: str):
    Log(stream=stream, format=format).info("seen", key='x\r\n{"level":"error"}\x1b[31m\udc80')
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert all(" " <= character <= "~" for character in text[:-1])


def test_a_console_value_that_could_be_misread_is_quoted(stream: io.StringIO):
    Log(stream=stream, format="console", clock=Clock()).warning("seen", plain="a/b", two="a b", pair="a=b", none="")
    assert stream.getvalue() == '2023-11-14T22:13:20Z warning seen plain=a/b two="a b" pair="a=b" none=""\n'


@pytest.mark.parametrize(
    ("kind", "format", "coloured"),
    [(Terminal, "console", True), (Terminal, "json", False), (io.StringIO, "console", False)],
)
def test_colours_only_on_a_terminal(kind: type[io.StringIO], format: str, coloured: bool):
    stream = kind()
    Log(stream=stream, format=format).error("failed")
    assert ("\x1b[31m" in stream.getvalue()) is coloured


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("make", [Broken, closed], ids=["broken-pipe", "closed"])
def test_a_stream_nobody_reads_stops_nothing(make: Any, format: str):
    Log(stream=make(), format=format).error("failed")


def test_no_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr", None)
    Log().error("failed")
    Log(format="console").error("failed")


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_numbers_json_does_not_have_are_written_as_text(log: Log, stream: io.StringIO, value: float):
    log.info("seen", value=value)
    assert only(stream)["value"] == str(value)


def test_any_object_can_be_a_field(log: Log, stream: io.StringIO):
    log.info("seen", odd={(1, 2): b"x"}, pair=("a", 1), nothing=None)
    assert only(stream)["odd"] == "{(1, 2): b'x'}"


def test_a_key_gets_one_turn_in_so_many_seconds(stream: io.StringIO):
    clock = Clock()
    log = Log(stream=stream, clock=clock)
    assert [log.rate_limited("accept", 10), log.rate_limited("accept", 10)] == [False, True]
    clock.now += 9.5
    assert log.rate_limited("accept", 10)
    clock.now += 0.5
    assert not log.rate_limited("accept", 10)


def test_keys_take_turns_of_their_own(log: Log):
    assert [log.rate_limited("a", 10), log.rate_limited("b", 10)] == [False, False]


def test_a_clock_set_back_silences_nothing(stream: io.StringIO):
    clock = Clock()
    log = Log(stream=stream, clock=clock)
    log.rate_limited("accept", 10)
    clock.now -= 3600
    assert not log.rate_limited("accept", 10)


def test_rate_limiting_remembers_a_bounded_number_of_keys(log: Log):
    for number in range(5000):
        log.rate_limited(str(number), 10)
    assert len(log._last) <= 1024
