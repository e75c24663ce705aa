"""Turn an origin's failing answer into the error it means."""

import trio

from yatagarasu.errors import OriginError, YatagarasuError
from yatagarasu.http.numbers import parse_count
from yatagarasu.origin.client import OriginResponse
from yatagarasu.s3.errors import error_for, parse_error

# S3's error documents are below 1 KiB; what is longer is not one.
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_BODY_SECONDS = 5.0
# Of Retry-After: what is longer would make clients sleep for ever.
_LONGEST_WAIT_SECONDS = 86_400


async def origin_failure(response: OriginResponse) -> YatagarasuError:
    """The error that an answer other than 2xx stands for, read from its status and S3's XML body."""
    text = bytearray()
    try:
        with trio.move_on_after(_ERROR_BODY_SECONDS):
            while len(text) < _MAX_ERROR_BYTES:
                data = await response.receive_some()
                if not data:
                    break
                text += data
    except OriginError:
        text.clear()  # The status alone must do.
    retry_after = parse_count(response.headers.get("retry-after"))
    if retry_after is not None:
        retry_after = min(retry_after, _LONGEST_WAIT_SECONDS)
    error = error_for(response.status, parse_error(bytes(text)) if text else None, retry_after=retry_after)
    error.add(endpoint=response.endpoint, status=response.status)
    return error
