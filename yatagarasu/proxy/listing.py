"""ListObjectsV2 through the proxy: scoped to the route's key prefix, tried as often as a fetch, never cached."""

import random

import trio

from yatagarasu.errors import BadRequest, OriginBroken, OriginError, OriginLate, YatagarasuError
from yatagarasu.http.headers import Pair
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.origin.retry import RetryBudget
from yatagarasu.proxy.origin_answer import origin_failure
from yatagarasu.proxy.router import Route
from yatagarasu.s3.listing import unscope_listing

# A page of 1,000 keys of 1,024 bytes, each three bytes long when encoded, with room for the rest.
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_PAGE_SECONDS = 60.0


class Lister:
    """Asks origins for pages.

    Args:
        log: None where nobody reads one.
    """

    def __init__(self, *, metrics: Metrics, log: Log | None = None) -> None:
        self._metrics = metrics
        self._log = log
        self._rng = random.Random()

    async def page(self, route: Route, query: str, request_id: str = "") -> tuple[int, list[Pair], bytes]:
        """One page of a client's listing; returns status, fields and XML.

        Raises:
            BadRequest: not a ListObjectsV2 request.
            OriginError: the origin failed, each time.

        Cancellation closes the connection.
        """
        if "list-type=2" not in query.split("&"):
            raise BadRequest("of a bucket only ListObjectsV2 (list-type=2) is served", bucket=route.bucket)
        budget, began = RetryBudget(route.retry, self._rng), trio.current_time()

        def explain(error: YatagarasuError) -> None:
            elapsed = round(trio.current_time() - began, 3)
            error.add(bucket=route.bucket, key="", endpoint=route.origin.endpoint, request_id=request_id)
            error.add(attempt=str(budget), elapsed_seconds=elapsed)

        with trio.move_on_after(_PAGE_SECONDS):
            while True:
                try:
                    body = await self._ask(route, query)
                except OriginError as exc:
                    explain(exc)
                    delay = budget.failed(exc)
                    if delay is None:
                        raise
                    retries = self._metrics.origin_retries
                    retries[route.bucket] = retries.get(route.bucket, 0) + 1
                    if self._log is not None:
                        self._log.warning("origin_retry", exc=exc)
                    await trio.sleep(delay)
                else:
                    return 200, [("content-type", "application/xml")], body
        late = OriginLate("a listing page took over a minute")
        explain(late)
        raise late

    async def _ask(self, route: Route, query: str) -> bytes:
        outcome = "cancelled"
        try:
            response = await route.origin.list(query)
            outcome = str(response.status)
        except YatagarasuError as exc:
            outcome = type(exc).__name__
            raise
        finally:
            self._metrics.count_origin_request(route.bucket, outcome)
        try:
            if response.status != 200:
                raise await origin_failure(response)
            page = bytearray()
            while data := await response.receive_some():
                page += data
                if len(page) > _MAX_PAGE_BYTES:
                    raise OriginBroken("a listing page over 8 MiB")
        finally:
            await response.aclose()
        return unscope_listing(bytes(page), route.bucket, route.origin.key_prefix)
