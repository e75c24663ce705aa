"""ListObjectsV2 through the proxy: scoped to the route's key prefix, never cached."""

import trio

from yatagarasu.errors import BadRequest, OriginBroken, OriginLate
from yatagarasu.http.headers import Pair
from yatagarasu.proxy.origin_answer import origin_failure
from yatagarasu.proxy.router import Route
from yatagarasu.s3.listing import unscope_listing

# A page of 1,000 keys of 1,024 bytes, each three bytes long when encoded, with room for the rest.
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_PAGE_SECONDS = 60.0


async def list_objects(route: Route, query: str) -> tuple[int, list[Pair], bytes]:
    """Ask the origin for one page; returns status, fields and XML.

    Raises:
        BadRequest: not a ListObjectsV2 request.
        OriginError: the origin failed.
    """
    if "list-type=2" not in query.split("&"):
        raise BadRequest("of a bucket only ListObjectsV2 (list-type=2) is served", bucket=route.bucket)
    with trio.move_on_after(_PAGE_SECONDS):
        response = await route.origin.list(query)
        try:
            if response.status != 200:
                raise await origin_failure(response)
            page = bytearray()
            while data := await response.receive_some():
                page += data
                if len(page) > _MAX_PAGE_BYTES:
                    raise OriginBroken("a listing page over 8 MiB", endpoint=response.endpoint)
        finally:
            await response.aclose()
        body = unscope_listing(bytes(page), route.bucket, route.origin.key_prefix)
        return 200, [("content-type", "application/xml")], body
    raise OriginLate("a listing page took over a minute", endpoint=route.origin.endpoint)
