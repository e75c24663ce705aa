import json
import re
from typing import Any

import pytest
import trio
import trio.testing

from yatagarasu.http.headers import Headers
from yatagarasu.observe import access_log
from yatagarasu.observe.access_log import AccessLog

_NOW = 1_700_000_000.25


class Written:
    """Collects batches."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []

    def __call__(self, batch: bytes) -> None:
        self.batches.append(batch)

    @property
    def lines(self) -> list[str]:
        return b"".join(self.batches).decode("ascii").splitlines()


@pytest.fixture
def written() -> Written:
    return Written()


def record(log: AccessLog, **changed: Any) -> None:
    fields: dict[str, Any] = {
        "now": _NOW,
        "request_id": "00ff",
        "peer": "127.0.0.1:5000",
        "method": "GET",
        "target": "/assets/a.png",
        "bucket": "assets",
        "key": "a.png",
        "status": 200,
        "size": 1234,
        "seconds": 0.00025,
        "outcome": "hit",
        "headers": Headers(),
        "cause": "",
    }
    log.record(**(fields | changed))


def test_a_json_line_has_every_field(written: Written):
    log = AccessLog(written)
    headers = Headers([("User-Agent", "curl/8"), ("Referer", "https://example.org/")])
    record(log, headers=headers, cause="OriginBroken: cut")
    log.flush()
    (line,) = written.lines
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "00ff",
        "client": "127.0.0.1:5000",
        "method": "GET",
        "target": "/assets/a.png",
        "bucket": "assets",
        "key": "a.png",
        "status": 200,
        "bytes": 1234,
        "seconds": 0.00025,
        "cache": "hit",
        "user_agent": "curl/8",
        "referer": "https://example.org/",
        "cause": "OriginBroken: cut",
    }


def test_what_is_absent_is_left_out(written: Written):
    log = AccessLog(written)
    record(log)
    log.flush()
    assert not {"referer", "cause"} & json.loads(written.lines[0]).keys()


_FORGED = 'x"}\r\n{"status":200,"\x1b[31m\x00\u2028\xff\udc80'


@pytest.mark.parametrize("field", ["request_id", "peer", "method", "target", "bucket", "key", "cause"])
@pytest.mark.parametrize("format", ["json", "console"])
def test_no_field_can_forge_a_line(written: Written, field: str, format: str):
    log = AccessLog(written, format=format)
    record(log, **{field: _FORGED})
    log.flush()
    (batch,) = written.batches
    assert batch.count(b"\n") == 1
    assert re.fullmatch(rb"[ -~]+\n", batch)


@pytest.mark.parametrize("field", ["request_id", "peer", "method", "target", "bucket", "key", "cause"])
def test_odd_characters_survive_in_json(written: Written, field: str):
    log = AccessLog(written)
    record(log, **{field: _FORGED})
    log.flush()
    name = {"peer": "client"}.get(field, field)
    assert json.loads(written.lines[0])[name] == _FORGED


@pytest.mark.parametrize("name", ["user-agent", "referer"])
def test_no_header_can_forge_a_line(written: Written, name: str):
    log = AccessLog(written)
    record(log, headers=Headers([(name, 'x","status":200,"y":"\x80')]))
    log.flush()
    assert json.loads(written.lines[0])[name.replace("-", "_")] == 'x","status":200,"y":"\x80'


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("padding", [0, 1000], ids=["short-target", "long-target"])
def test_signatures_in_a_target_are_struck_out(written: Written, format: str, padding: int):
    log = AccessLog(written, format=format)
    record(log, target=f"/a?p={'x' * padding}&X-Amz-Signature=0123abcd&X-Amz-Security-Token=tokentoken&b=kept")
    log.flush()
    (line,) = written.lines
    assert "0123abcd" not in line
    assert "tokentoken" not in line
    assert "X-Amz-Signature=***&X-Amz-Security-Token=***&b=kept" in line


def test_signatures_in_a_referer_are_struck_out(written: Written):
    log = AccessLog(written)
    record(log, headers=Headers([("referer", "https://h/a?Signature=0123abcd")]))
    log.flush()
    assert json.loads(written.lines[0])["referer"] == "https://h/a?Signature=***"


def test_lines_of_one_batch_keep_their_own_fields(written: Written):
    """Pieces are put together once for equal requests: never one request's for another's."""
    log = AccessLog(written)
    firefox, curl = Headers([("user-agent", "firefox")]), Headers([("user-agent", "curl")])
    record(log, target="/a", key="a", headers=firefox)
    record(log, target="/a", key="a", headers=curl, now=_NOW + 1)
    record(log, target="/b", key="b", headers=firefox, method="HEAD")
    log.flush()
    seen = [json.loads(line) for line in written.lines]
    assert [(line["method"], line["key"], line["user_agent"], line["time"][17:19]) for line in seen] == [
        ("GET", "a", "firefox", "20"),
        ("GET", "a", "curl", "21"),
        ("HEAD", "b", "firefox", "20"),
    ]


def test_flush_writes_one_batch_and_nothing_twice(written: Written):
    log = AccessLog(written)
    record(log)
    record(log)
    log.flush()
    log.flush()
    assert [batch.count(b"\n") for batch in written.batches] == [2]


def test_a_disabled_log_records_nothing(written: Written):
    log = AccessLog(written, enabled=False)
    record(log)
    log.flush()
    assert written.batches == []
    assert log.dropped == 0


def test_lines_beyond_the_bound_are_dropped_and_counted(written: Written, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access_log, "_MAX_PENDING", 3)
    log = AccessLog(written)
    for _ in range(5):
        record(log)
    log.flush()
    assert (len(written.lines), log.dropped) == (3, 2)
    record(log)
    assert log.dropped == 2


def test_console_lines_are_for_people(written: Written):
    log = AccessLog(written, format="console")
    record(log, cause="why it failed")
    log.flush()
    (line,) = written.lines
    assert line.startswith("2023-11-14T22:13:20.250Z 200 hit ")
    assert "0.25 ms" in line
    assert "GET /assets/a.png  127.0.0.1:5000 00ff" in line
    assert line.endswith('"why it failed"')


def test_an_answer_without_a_head_is_called_cut(written: Written):
    log = AccessLog(written, format="console")
    record(log, status=0)
    log.flush()
    assert " cut hit" in written.lines[0]


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (304, 32), (404, 33), (503, 31), (0, 31)])
def test_colours_on_a_terminal(written: Written, status: int, colour: int):
    log = AccessLog(written, format="console", colours=True)
    record(log, status=status)
    log.flush()
    assert f" \x1b[{colour}m{status or 'cut'}\x1b[0m " in written.lines[0]


async def test_run_writes_five_times_a_second(written: Written, nursery: trio.Nursery, autojump_clock: Any):
    log = AccessLog(written)
    nursery.start_soon(log.run)
    await trio.testing.wait_all_tasks_blocked()
    record(log)
    await trio.sleep(0.1)
    assert written.batches == []
    await trio.sleep(0.11)
    assert len(written.lines) == 1


async def test_cancellation_leaves_no_line_unwritten(written: Written, autojump_clock: Any):
    log = AccessLog(written)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        record(log)
        nursery.cancel_scope.cancel()
    assert len(written.lines) == 1


async def test_a_big_batch_is_written_in_bounded_pieces(nursery: trio.Nursery, autojump_clock: Any):
    written = Written()
    log = AccessLog(written)
    count = 2 * access_log._FLUSH_AT + 1
    for number in range(count):
        record(log, request_id=str(number))
    nursery.start_soon(log.run)
    await trio.sleep(0.3)
    assert [batch.count(b"\n") for batch in written.batches] == [access_log._FLUSH_AT, access_log._FLUSH_AT, 1]
    assert [json.loads(line)["request_id"] for line in written.lines] == [str(n) for n in range(count)]
