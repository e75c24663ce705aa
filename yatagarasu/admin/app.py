"""Admin endpoints as functions of a request: /metrics, /health, /ready, /cache. Sockets are the server's."""

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from yatagarasu.admin.cache import OPERATIONS, CacheControl, Everyone
from yatagarasu.admin.warm import PATH as WARM_PATH
from yatagarasu.admin.warm import WarmControl
from yatagarasu.errors import BadRequest, StoreError
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.peer import CONTROL_PREFIX

# How long an answer about the origins is good, and how long the asking may take.
_READY_SECONDS = 1.0
_CHECK_SECONDS = 5.0
# A worker that says nothing within this time is left out of a scrape.
_SCRAPE_SECONDS = 1.0
_NO_STORE = ("cache-control", "no-store")
_OPEN = ("/health", "/ready")
_INDEX = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>yatagarasu</title><h1>yatagarasu</h1><ul>"
    b"<li><a href=/metrics>metrics</a><li><a href=/health>health</a><li><a href=/ready>ready</a>"
    b"<li><a href=/cache>cache</a><li><a href=/cache/entries>entries</a><li><a href=/cache/warm>warming</a></ul></html>"
)


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """An answer: status, fields, whole body."""

    status: int
    headers: tuple[Pair, ...]
    body: bytes


class Readiness:
    """Whether the origins answer, asked at most once a second however many want to know.

    Args:
        check: asks every origin; returns by bucket None, or a sentence that may be shown to anybody.
        clock: monotonic seconds.
    """

    def __init__(self, check: Callable[[], Awaitable[dict[str, str | None]]], *, clock: Callable[[], float]) -> None:
        self._check = check
        self._clock = clock
        self._known: dict[str, str | None] = {}
        self._known_until = float("-inf")
        self._lock = trio.Lock()

    async def get(self) -> dict[str, str | None]:
        """By bucket: None where its origin answers, else why not. Cancellation leaves the old answer."""
        if self._clock() < self._known_until:
            return self._known
        async with self._lock:
            if self._clock() >= self._known_until:
                found: dict[str, str | None] = {"*": "no answer in time"}
                with trio.move_on_after(_CHECK_SECONDS):
                    found = await self._check()
                self._known, self._known_until = found, self._clock() + _READY_SECONDS
        return self._known


class AdminApp:
    """Answers admin requests.

    Args:
        cache: answers below /cache; None where there is nothing to control.
        warm: answers below /cache/warm; the same.
        everyone: asks the other workers; None where there are none.
        token: asked for as `Authorization: Bearer` by everything but the probes; None asks for nothing.
    """

    def __init__(
        self,
        metrics: Metrics,
        readiness: Readiness,
        *,
        cache: CacheControl | None = None,
        warm: WarmControl | None = None,
        everyone: Everyone | None = None,
        token: str | None = None,
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._cache = cache
        self._warm = warm
        self._everyone = everyone
        self._token = token
        self._render: Callable[[Metrics, str], tuple[bytes, str]] | None = None

    async def handle(self, method: str, target: str, headers: Headers) -> AdminResponse:
        """Answer one request of whoever runs this."""
        path, _, query = target.partition("?")
        if path not in _OPEN and not self._may(headers):
            return _json(401, {"error": "a bearer token is needed"}, ("www-authenticate", "Bearer"))
        is_warm = path == WARM_PATH or path.startswith(f"{WARM_PATH}/")
        if path in OPERATIONS or is_warm:
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                # A page of somebody else's, in the browser of somebody who may reach this listener.
                return _json(403, {"error": "not from another site"})
            if self._warm is not None and is_warm:
                return await self._jobs(self._warm, method, path, query)
            if self._cache is not None and not is_warm:
                return await self._control(self._cache, method, path, query)
        if method not in ("GET", "HEAD"):
            return _json(405, {"error": "method not allowed"}, ("allow", "GET, HEAD"))
        if path == "/health":
            return _json(200, {"status": "ok"})
        if path == "/ready":
            return await self._ready()
        if path == "/metrics":
            return await self._scrape(headers.get("accept", ""))
        if path == "/":
            return AdminResponse(200, (("content-type", "text/html; charset=utf-8"), _NO_STORE), _INDEX)
        return _json(404, {"error": "no such endpoint"})

    async def answer_peer(self, method: str, target: str, headers: Headers) -> AdminResponse:
        """Answer another worker, of this process alone. The token was its business."""
        path, _, query = target.removeprefix(CONTROL_PREFIX.rstrip("/")).partition("?")
        if path == "/metrics":
            return _json(200, self._metrics.dump())
        if self._warm is not None and (path == WARM_PATH or path.startswith(f"{WARM_PATH}/")):
            try:
                status, value = self._warm.answer_peer(method, path)
            except BadRequest as exc:
                return _json(400, {"error": str(exc)})
            return _json(status, value)
        operation = OPERATIONS.get(path, {}).get(method)
        if self._cache is None or operation is None:
            return _json(404, {"error": "no such endpoint"})
        return await _told(self._cache.answer_peer(operation, query))

    @staticmethod
    async def _control(cache: CacheControl, method: str, path: str, query: str) -> AdminResponse:
        operations = OPERATIONS[path]
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            allowed = ", ".join([*operations, "HEAD"] if "GET" in operations else operations)
            return _json(405, {"error": "method not allowed"}, ("allow", allowed))
        return await _told(cache.answer(operation, method, path, query))

    @staticmethod
    async def _jobs(warm: WarmControl, method: str, path: str, query: str) -> AdminResponse:
        return await _told(warm.answer("GET" if method == "HEAD" else method, path, query))

    async def _scrape(self, accept: str) -> AdminResponse:
        if self._render is None:
            # Importing prometheus_client takes 60 ms, which no client should wait for. Rendering takes one,
            # and stays here, where nobody changes the numbers meanwhile.
            self._render = await trio.to_thread.run_sync(_import_render)
        metrics = self._metrics
        if self._everyone is not None:
            dumps, _ = await self._everyone("GET", "/metrics", _SCRAPE_SECONDS)
            metrics = Metrics.merge([metrics.dump(), *dumps])
        body, content_type = self._render(metrics, accept)
        return AdminResponse(200, (("content-type", content_type), _NO_STORE), body)

    def _may(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        # Spaces alone: the last byte of a letter may be what Latin-1 calls one, as in "à".
        return kind.lower() == "bearer" and hmac.compare_digest(
            token.strip(" ").encode("latin-1", "replace"), self._token.encode("utf-8")
        )

    async def _ready(self) -> AdminResponse:
        found = await self._readiness.get()
        is_ready = all(reason is None for reason in found.values())
        buckets = {name: {"ready": reason is None, "reason": reason} for name, reason in found.items()}
        return _json(200 if is_ready else 503, {"ready": is_ready, "buckets": buckets})


def _import_render() -> Callable[[Metrics, str], tuple[bytes, str]]:
    from yatagarasu.observe.exposition import render

    return render


async def _told(answer: Awaitable[tuple[int, Any]]) -> AdminResponse:
    """Status and value as an answer, or why there is none."""
    try:
        status, value = await answer
    except BadRequest as exc:
        return _json(400, {"error": str(exc)})
    except StoreError as exc:
        # Of a purge a part may be done; it is done once it is answered with 200.
        return _json(503, {"error": f"{exc}: ask again"}, ("retry-after", "1"))
    return _json(status, value)


def _json(status: int, value: object, *extra: Pair) -> AdminResponse:
    pairs = (("content-type", "application/json"), _NO_STORE, *extra)
    return AdminResponse(status, pairs, json.dumps(value).encode() + b"\n")
