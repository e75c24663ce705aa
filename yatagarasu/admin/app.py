"""Admin endpoints as functions of a request: /metrics, /health, /ready. Sockets are the server's."""

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from yatagarasu.http.headers import Headers, Pair
from yatagarasu.observe.metrics import Metrics

# How long an answer about the origins is good, and how long the asking may take.
_READY_SECONDS = 1.0
_CHECK_SECONDS = 5.0
_NO_STORE = ("cache-control", "no-store")
_OPEN = ("/health", "/ready")
_INDEX = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>yatagarasu</title><h1>yatagarasu</h1><ul>"
    b"<li><a href=/metrics>metrics</a><li><a href=/health>health</a><li><a href=/ready>ready</a></ul></html>"
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
        token: asked for as `Authorization: Bearer` by everything but the probes; None asks for nothing.
    """

    def __init__(self, metrics: Metrics, readiness: Readiness, *, token: str | None = None) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._token = token
        self._render: Callable[[Metrics, str], tuple[bytes, str]] | None = None

    async def handle(self, method: str, target: str, headers: Headers) -> AdminResponse:
        """Answer one request."""
        path = target.partition("?")[0]
        if path not in _OPEN and not self._may(headers):
            return _json(401, {"error": "a bearer token is needed"}, ("www-authenticate", "Bearer"))
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

    async def _scrape(self, accept: str) -> AdminResponse:
        if self._render is None:
            # Importing prometheus_client takes 60 ms, which no client should wait for. Rendering takes one,
            # and stays here, where nobody changes the numbers meanwhile.
            self._render = await trio.to_thread.run_sync(_import_render)
        body, content_type = self._render(self._metrics, accept)
        return AdminResponse(200, (("content-type", content_type), _NO_STORE), body)

    def _may(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode("latin-1", "replace"), self._token.encode("utf-8")
        )

    async def _ready(self) -> AdminResponse:
        found = await self._readiness.get()
        is_ready = all(reason is None for reason in found.values())
        buckets = {name: {"ready": reason is None, "reason": reason} for name, reason in found.items()}
        return _json(200 if is_ready else 503, {"ready": is_ready, "buckets": buckets})


def _import_render() -> Callable[[Metrics, str], tuple[bytes, str]]:
    from yatagarasu.observe.exposition import render

    return render


def _json(status: int, value: object, *extra: Pair) -> AdminResponse:
    pairs = (("content-type", "application/json"), _NO_STORE, *extra)
    return AdminResponse(status, pairs, json.dumps(value).encode() + b"\n")
