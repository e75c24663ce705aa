"""The admin listener: requests of anybody, with the token and without, to the real application over a real core."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h11
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import Play, RecordingClient, Rig, ScriptedOrigin, WallClock
from tests.fuzz.hold import hold
from yatagarasu.admin.app import AdminApp, Readiness
from yatagarasu.admin.cache import CacheControl
from yatagarasu.admin.handler import AdminHandler
from yatagarasu.admin.warm import WarmControl
from yatagarasu.errors import BadRequest, first_of
from yatagarasu.http.headers import Headers
from yatagarasu.http.wire import HeaderBlock, HeaderBlocks
from yatagarasu.observe.exposition import render
from yatagarasu.origin.peer import CONTROL_PREFIX
from yatagarasu.proxy.inventory import Inventory
from yatagarasu.proxy.pipeline import Request
from yatagarasu.proxy.router import Line
from yatagarasu.warm.item import Item
from yatagarasu.warm.job import WarmJob
from yatagarasu.warm.jobs import WarmJobs
from yatagarasu.warm.journal import Journal
from yatagarasu.warm.order import Order
from yatagarasu.warm.outcome import Kind, Outcome, Part
from yatagarasu.warm.sources import Given

TOKEN = "canary-of-the-tokén"
_MAX_REQUESTS = 8
_KEYS = ("a/1", "a/2", "b")
_BEARER = re.compile(rf"bearer +{TOKEN.encode().decode('latin-1')}[ \t]*", re.IGNORECASE)
# In a target it stands for the last job that was started.
_JOB = "JOB"


@dataclass
class _Admin:
    """An application, what it is over, and another worker of the same."""

    handler: AdminHandler
    rig: Rig
    jobs: WarmJobs
    has_token: bool

    def state(self) -> object:
        """What a request may change."""
        entries = sorted((entry.key, entry.fresh_for(WallClock()()) > 0) for entry in self.rig.tiers)
        return entries, [(job["id"], job["state"]) for job in self.jobs.show()]


class _Warmer:
    async def warm(self, item: Item, part: Part) -> Outcome:
        await trio.sleep(60)
        return Outcome(Kind.WARMED, 1)

    async def settle(self) -> None:
        await trio.lowlevel.checkpoint()


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="canary-of-a-path-")


def admin(data: bytes) -> None:
    """Some requests, one after the other; the first byte says whether there is a token, and other workers."""
    if not data:
        return
    try:
        trio.run(_ask_all, data[0], data[1:], clock=MockClock(autojump_threshold=0))
    except ExceptionGroup as group:
        raise first_of(group, Exception) or group from None


async def _ask_all(bits: int, stream: bytes) -> None:
    async with trio.open_nursery() as nursery:
        admin = await _open(nursery, bits)
        blocks, job = HeaderBlocks(), ""
        for raw in stream.split(b"\r\n\r\n")[:_MAX_REQUESTS]:
            line, _, block = (raw.replace(_JOB.encode(), job.encode()) + b"\r\n").partition(b"\r\n")
            try:
                request = _request(admin, admin.handler.line(line), blocks.parse(block))
            except BadRequest:
                continue
            await wait_all_tasks_blocked()  # Jobs that were begun go on by themselves.
            before = admin.state()
            client = RecordingClient()
            result = await admin.handler.handle(request, client)
            hold(result.is_clean and result.status == client.status, f"{result!r}")
            found = _read(request, bytes(client.data), raw)
            _check(admin, request, client.status, before)
            job = found["id"] if isinstance(found, dict) and isinstance(found.get("id"), str) else job
        nursery.cancel_scope.cancel()


def _request(admin: _Admin, line: Line, block: HeaderBlock) -> Request:
    return Request(line, block, block.request_id or admin.handler.new_id(), "127.0.0.1", True, 0.0, 0.0)


def _check(admin: _Admin, request: Request, status: int, before: object) -> None:
    """Who may do what: nothing changes without the token, by a safe method, or for a page of another site's."""
    line, headers = request.line, request.block.headers
    is_probe = line.target.partition("?")[0] in ("/health", "/ready")
    has_changed = admin.state() != before
    is_known = not admin.has_token or _BEARER.fullmatch(headers.get("authorization", "")) is not None
    hold(status < 500 or (is_probe and status == 503), f"{status} to {line!r}")
    if not is_known and not is_probe:
        hold(status >= 400, f"{status} to a stranger's {line!r}")
    is_foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if not is_known or is_foreign or is_probe or line.method in ("GET", "HEAD", "OPTIONS") or status >= 400:
        hold(not has_changed, f"something has changed by {line!r}: {status}")


def _read(request: Request, data: bytes, raw: bytes) -> Any:
    """An answer as others read it: whole, JSON where it says so, nothing in it that nobody is to know."""
    peer = h11.Connection(h11.CLIENT)
    method = b"HEAD" if request.line.method == "HEAD" else b"GET"
    peer.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    fields: Mapping[bytes, bytes] = {}
    body = b""
    while not isinstance(event := peer.next_event(), h11.EndOfMessage):
        hold(isinstance(event, h11.Response | h11.Data), f"not whole: {data[:300]!r}")
        if isinstance(event, h11.Response):
            fields = dict(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
    hold(peer.trailing_data[0] == b"", "something behind the answer")
    for secret in (TOKEN.encode(), json.dumps(TOKEN).strip('"').encode(), _folder().name.encode()):
        hold(secret not in data or secret in raw, f"{secret!r} is in {data[:300]!r}")
    if fields.get(b"content-type") == b"application/json" and body:
        return json.loads(body, parse_constant=lambda word: hold(False, f"{word} is not JSON"))
    return None


async def _open(nursery: trio.Nursery, bits: int) -> _Admin:
    has_token, has_others, is_failing = bool(bits & 1), bool(bits & 2), bool(bits & 4)
    ours = await _core(nursery)
    theirs = await _core(nursery) if has_others else ours
    other = AdminApp(theirs.metrics, _readiness(False), cache=CacheControl(_inventory(theirs)))

    async def everyone(method: str, target: str, seconds: float) -> tuple[list[Any], int]:
        await trio.lowlevel.checkpoint()
        answer = await other.answer_peer(method, CONTROL_PREFIX + target.lstrip("/"), Headers())
        return ([json.loads(answer.body)], 0) if answer.status == 200 else ([], 1)

    asks = everyone if has_others else None
    jobs = WarmJobs(nursery, _new_job, folder=Path(_folder().name), log=ours.coalescer._log, clock=WallClock())
    app = AdminApp(
        ours.metrics,
        _readiness(is_failing),
        cache=CacheControl(_inventory(ours), asks),
        warm=WarmControl(jobs, may_read_lists=has_token, everyone=asks),
        everyone=asks,
        token=TOKEN if has_token else None,
    )
    # Else it is imported by a thread, for which this clock does not wait.
    app._render = render
    return _Admin(AdminHandler(app), ours, jobs, has_token)


async def _core(nursery: trio.Nursery) -> Rig:
    origin = ScriptedOrigin(
        {key: key.encode() for key in _KEYS}, default=Play(headers=[("surrogate-key", "red blue"), ("vary", "accept")])
    )
    rig = Rig(nursery, origin)
    for key in _KEYS:
        await rig.ask(key)
    return rig


def _inventory(rig: Rig) -> Inventory:
    return Inventory(rig.tiers, rig.coalescer, clock=WallClock())


def _readiness(is_failing: bool) -> Readiness:
    async def check() -> dict[str, str | None]:
        await trio.lowlevel.checkpoint()
        return {"b": "The origin could not answer." if is_failing else None}

    return Readiness(check, clock=trio.current_time)


def _new_job(order: Order, journal: Journal) -> WarmJob:
    """As the system makes one, but that it has nothing to do for a minute."""
    source = Given(iter([Item("k", source="list", line=1)]))
    return WarmJob(lambda: source, _Warmer(), order.settings(WallClock()()), journal=journal, clock=WallClock())
