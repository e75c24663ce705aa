import json
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from yatagarasu.admin.app import AdminApp, AdminResponse, Readiness
from yatagarasu.http.headers import Headers
from yatagarasu.observe.metrics import Metrics

_TOKEN = "s3cr3t-tokén"


class Origins:
    """Scripted answers to `check`; counts how often it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.found: dict[str, str | None] = {"assets": None}
        self.seconds = seconds
        self.asked = 0

    async def check(self) -> dict[str, str | None]:
        self.asked += 1
        await trio.sleep(self.seconds)
        return dict(self.found)


@pytest.fixture
def origins() -> Origins:
    return Origins()


def make_app(origins: Origins, token: str | None = None, metrics: Metrics | None = None) -> AdminApp:
    return AdminApp(metrics or Metrics(), Readiness(origins.check, clock=trio.current_time), token=token)


def bearer(token: str, scheme: str = "Bearer") -> Headers:
    return Headers([("authorization", f"{scheme} {token}".encode().decode("latin-1"))])


async def get(app: AdminApp, target: str, headers: Headers | None = None) -> AdminResponse:
    return await app.handle("GET", target, headers or Headers())


def field(answer: AdminResponse, name: str) -> str | None:
    return Headers(answer.headers).get(name)


async def test_health_says_ok(origins: Origins):
    answer = await get(make_app(origins), "/health")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


async def test_health_asks_no_origin(origins: Origins):
    await get(make_app(origins), "/health")
    assert origins.asked == 0


async def test_metrics_are_rendered(origins: Origins):
    metrics = Metrics()
    metrics.connections_total = 42
    answer = await get(make_app(origins, metrics=metrics), "/metrics")
    values = {s.name: s.value for f in text_string_to_metric_families(answer.body.decode()) for s in f.samples}
    assert values["yatagarasu_connections_total"] == 42


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
async def test_metrics_come_as_accept_asks(origins: Origins, accept: str, content_type: str):
    answer = await get(make_app(origins), "/metrics", Headers([("accept", accept)]))
    assert (field(answer, "content-type") or "").startswith(content_type)


async def test_a_query_changes_no_endpoint(origins: Origins):
    assert (await get(make_app(origins), "/health?verbose=1")).status == 200


async def test_the_index_leads_to_every_endpoint(origins: Origins):
    answer = await get(make_app(origins), "/")
    assert (field(answer, "content-type") or "").startswith("text/html")
    for path in (b"/metrics", b"/health", b"/ready"):
        assert path in answer.body


@pytest.mark.parametrize("target", ["/nothing", "/health/", "/metrics/x", "*"])
async def test_unknown_endpoints_are_404_in_json(origins: Origins, target: str):
    answer = await get(make_app(origins), target)
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "no such endpoint"})


@pytest.mark.parametrize("target", ["/metrics", "/health", "/ready", "/"])
async def test_other_methods_are_refused_and_told_which_are_not(origins: Origins, target: str):
    answer = await make_app(origins).handle("POST", target, Headers())
    assert (answer.status, field(answer, "allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("target", ["/metrics", "/health", "/ready", "/", "/nothing"])
async def test_no_answer_may_be_stored(origins: Origins, target: str):
    assert field(await get(make_app(origins), target), "cache-control") == "no-store"


@pytest.mark.parametrize("target", ["/metrics", "/", "/nothing"])
async def test_without_the_token_nothing_is_shown(origins: Origins, target: str):
    answer = await get(make_app(origins, _TOKEN), target)
    assert (answer.status, field(answer, "www-authenticate")) == (401, "Bearer")


@pytest.mark.parametrize("target", ["/health", "/ready"])
async def test_probes_need_no_token(origins: Origins, target: str):
    assert (await get(make_app(origins, _TOKEN), target)).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_the_token_opens_the_rest(origins: Origins, scheme: str):
    assert (await get(make_app(origins, _TOKEN), "/metrics", bearer(_TOKEN, scheme))).status == 200


@pytest.mark.parametrize("token", ["s3cr3t-à", "s3cr3t-Å"])
async def test_a_token_may_end_in_any_letter(origins: Origins, token: str):
    """In UTF-8 the last byte of these is a blank of Latin-1."""
    assert (await get(make_app(origins, token), "/metrics", bearer(token))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(bearer("wrong"), id="wrong"),
        pytest.param(bearer(""), id="empty"),
        pytest.param(bearer(_TOKEN[:-1]), id="too-short"),
        pytest.param(bearer(_TOKEN + "x"), id="too-long"),
        pytest.param(
            Headers([("authorization", f"Bearer \xa0{bearer(_TOKEN).pairs[0][1][7:]}")]), id="a-blank-of-latin-1"
        ),
        pytest.param(bearer(_TOKEN, "Basic"), id="another-scheme"),
        pytest.param(Headers([("authorization", _TOKEN)]), id="no-scheme"),
        pytest.param(Headers([("authorization", "Bearer \u20ac")]), id="not-latin-1"),
        pytest.param(Headers([*bearer(_TOKEN), *bearer("wrong")]), id="two-fields"),
    ],
)
async def test_anything_else_does_not(origins: Origins, headers: Headers):
    assert (await get(make_app(origins, _TOKEN), "/metrics", headers)).status == 401


async def test_a_token_is_asked_for_before_the_method_is_judged(origins: Origins):
    assert (await make_app(origins, _TOKEN).handle("DELETE", "/metrics", Headers())).status == 401


async def test_ready_lists_the_buckets(origins: Origins):
    answer = await get(make_app(origins), "/ready")
    assert answer.status == 200
    assert json.loads(answer.body) == {"ready": True, "buckets": {"assets": {"ready": True, "reason": None}}}


async def test_one_failing_origin_means_not_ready(origins: Origins):
    origins.found = {"assets": None, "media": "The origin could not answer."}
    answer = await get(make_app(origins), "/ready")
    assert answer.status == 503
    assert json.loads(answer.body) == {
        "ready": False,
        "buckets": {
            "assets": {"ready": True, "reason": None},
            "media": {"ready": False, "reason": "The origin could not answer."},
        },
    }


async def test_an_empty_reason_is_a_reason(origins: Origins):
    origins.found = {"assets": ""}
    answer = await get(make_app(origins), "/ready")
    assert (answer.status, json.loads(answer.body)["ready"]) == (503, False)


async def test_a_result_is_good_for_a_second(autojump_clock: Any):
    origins = Origins()
    app = make_app(origins)
    await get(app, "/ready")
    origins.found = {"assets": "down"}
    await trio.sleep(0.99)
    assert (await get(app, "/ready")).status == 200
    await trio.sleep(0.02)
    assert (await get(app, "/ready")).status == 503
    assert origins.asked == 2


async def test_concurrent_callers_share_one_check(autojump_clock: Any):
    origins = Origins(seconds=2)
    app = make_app(origins)
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await get(app, "/ready")).status)

    async with trio.open_nursery() as callers:
        for _ in range(10):
            callers.start_soon(ask)
    assert (statuses, origins.asked) == ([200] * 10, 1)


async def test_a_silent_origin_is_not_waited_for_longer_than_five_seconds(autojump_clock: Any):
    origins = Origins(seconds=3600)
    began = trio.current_time()
    answer = await get(make_app(origins), "/ready")
    assert (answer.status, trio.current_time() - began) == (503, 5.0)


async def test_a_caller_that_leaves_does_not_fail_the_others(autojump_clock: Any):
    origins = Origins(seconds=2)
    app = make_app(origins)
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await get(app, "/ready")).status)

    async with trio.open_nursery() as callers:
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await ask()

        callers.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        callers.start_soon(ask)
        await trio.sleep(1)
        leaving.cancel()
    assert statuses == [200]
