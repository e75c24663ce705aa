"""What S3 says to a request, given a store and a fault: no sockets, no clock; `now` comes in.

AWS: GetObject, HeadObject, HeadBucket, ListObjectsV2; RFC 9110, sections 13 and 14.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from yatagarasu.bench.faults import Fault
from yatagarasu.bench.store import ObjectStore, StoredObject
from yatagarasu.errors import BadRequest
from yatagarasu.http.conditional import Outcome, evaluate, if_range_holds
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.ranges import format_content_range, parse_range, resolve
from yatagarasu.s3.errors import render_error_xml
from yatagarasu.s3.keys import decode_path
from yatagarasu.s3.listing import Listed, ListPage, ListRequest, render_list_v2
from yatagarasu.s3.signing import check_signature

_REQUEST_ID = "0123456789ABCDEF"
_STATUS_OF = {
    "AccessDenied": 403, "InvalidAccessKeyId": 403, "SignatureDoesNotMatch": 403, "RequestTimeTooSkewed": 403,
    "AuthorizationHeaderMalformed": 400, "AuthorizationQueryParametersError": 400, "InvalidURI": 400,
    "NoSuchKey": 404, "NoSuchBucket": 404, "MethodNotAllowed": 405, "InvalidRange": 416,
    "PreconditionFailed": 412, "InvalidRequest": 400, "SlowDown": 503, "InternalError": 500,
}  # fmt: skip
# What `response-*` may replace; the parameter is "response-" and the field's name.
_OVERRIDABLE = frozenset(
    ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: `path` and `query` as they came, encoded; `bucket` and `key` decoded."""

    method: str
    path: str
    query: str
    bucket: str
    key: str
    headers: Headers


@dataclass(slots=True)
class Answer:
    """A head without its framing, and either `body` or bytes [start, stop) of `stored`."""

    status: int
    pairs: list[Pair]
    body: bytes = b""
    stored: StoredObject | None = None
    start: int = 0
    stop: int = 0

    @property
    def size(self) -> int:
        """Body bytes."""
        return len(self.body) if self.stored is None else self.stop - self.start


def read_target(store: ObjectStore, method: str, target: str, headers: Headers) -> Asked:
    """Find bucket and key, in path style or virtual-hosted style.

    Raises:
        BadRequest: a path that is no key.
    """
    path, _, query = target.partition("?")
    rest = decode_path(path)[1:]
    host = headers.get("host", "").partition(":")[0]
    first, dot, _ = host.partition(".")
    if dot and first in store.buckets:
        return Asked(method, path, query, first, rest, headers)
    bucket, _, key = rest.partition("/")
    return Asked(method, path, query, bucket, key, headers)


def answer_request(
    store: ObjectStore, secret_for: Callable[[str], str | None] | None, asked: Asked, fault: Fault, now: float
) -> Answer:
    """S3's answer; `secret_for` None takes requests without a signature."""
    if fault.status is not None:
        code = fault.code or ("SlowDown" if fault.status == 503 else "InternalError")
        answer = error_answer(code, asked.path, status=fault.status)
        if fault.retry_after is not None:
            answer.pairs.append(("retry-after", str(fault.retry_after)))
        return answer
    if secret_for is not None:
        refusal = check_signature(asked.method, asked.path, asked.query, asked.headers, secret_for, now)
        if refusal is not None:
            return error_answer(refusal, asked.path)
    if asked.method not in ("GET", "HEAD"):
        answer = error_answer("MethodNotAllowed", asked.path)
        answer.pairs.append(("allow", "GET, HEAD"))
        return answer
    if asked.bucket not in store.buckets:
        return error_answer("NoSuchBucket", asked.path)
    if not asked.key:
        return _bucket_answer(store, asked)
    stored = store.get(asked.bucket, asked.key)
    if stored is None:
        return error_answer("NoSuchKey", asked.path)
    return _object_answer(asked, stored, fault, now)


def error_answer(code: str, path: str, *, status: int | None = None) -> Answer:
    """S3's error document; the status is the code's own unless it is given."""
    body = render_error_xml(code, code, path, _REQUEST_ID)
    return Answer(status or _STATUS_OF.get(code, 400), [("content-type", "application/xml")], body)


def _object_answer(asked: Asked, stored: StoredObject, fault: Fault, now: float) -> Answer:
    overrides: list[Pair] = []
    if "response-" in asked.query:
        overrides = _overrides(asked.query)
        if overrides and "authorization" not in asked.headers and "X-Amz-Signature=" not in asked.query:
            return error_answer("InvalidRequest", asked.path)  # Not for anonymous requests, S3 says.
    pairs: list[Pair] = [
        ("x-amz-request-id", _REQUEST_ID),
        ("date", format_http_date(now)),
        ("last-modified", stored.last_modified),
        ("accept-ranges", "bytes"),
    ]
    if fault.wrong_etag:
        pairs.append(("etag", '"00000000000000000000000000000000"'))
    elif fault.weak_etag:
        pairs.append(("etag", f"W/{stored.etag}"))
    elif not fault.missing_etag:
        pairs.append(("etag", stored.etag))
    pairs += stored.headers
    for replacing in (overrides, fault.headers):
        if replacing:
            replaced = {name for name, _ in replacing}
            pairs = [pair for pair in pairs if pair[0] not in replaced] + list(replacing)
    outcome = evaluate(asked.method, asked.headers, etag=stored.etag, last_modified=stored.last_modified)
    if outcome is Outcome.PRECONDITION_FAILED:
        return error_answer("PreconditionFailed", asked.path)
    if outcome is Outcome.NOT_MODIFIED:
        return Answer(304, pairs)
    specs = None if fault.ignore_range else parse_range(asked.headers.get("range"))
    if (
        specs is None
        or len(specs) != 1  # S3 has no multipart answers.
        or not if_range_holds(asked.headers, etag=stored.etag, last_modified=stored.last_modified, date=None)
    ):
        return Answer(200, pairs, b"", stored, 0, stored.size)
    found = resolve(specs, stored.size)
    if not found:
        answer = error_answer("InvalidRange", asked.path)
        answer.pairs.append(("content-range", f"bytes */{stored.size}"))
        return answer
    start, stop = found[0]
    shift = 7 if fault.wrong_content_range else 0
    pairs.append(("content-range", format_content_range(start + shift, stop + shift, stored.size + shift)))
    return Answer(206, pairs, b"", stored, start, stop)


def _overrides(query: str) -> list[Pair]:
    named = ((name.removeprefix("response-"), name, value) for name, value in parse_qsl(query))
    return [(field, value) for field, name, value in named if field != name and field in _OVERRIDABLE]


def _bucket_answer(store: ObjectStore, asked: Asked) -> Answer:
    if asked.method == "HEAD":
        return Answer(200, [("content-type", "application/xml")])
    try:
        request = ListRequest.parse(asked.query)
    except BadRequest:
        return error_answer("InvalidRequest", asked.path)
    body = render_list_v2(asked.bucket, _page(store, asked.bucket, request))
    return Answer(200, [("content-type", "application/xml")], body)


def _page(store: ObjectStore, bucket: str, request: ListRequest) -> ListPage:
    # A token is the last key that its page has used up, those rolled into a prefix included.
    token = request.continuation_token
    after = request.start_after if token is None else token
    found: list[Listed] = []
    prefixes: list[str] = []
    last: str | None = None
    for key in sorted(store.buckets[bucket]):
        if not key.startswith(request.prefix) or (after and key <= after):
            continue
        cut = key.find(request.delimiter, len(request.prefix)) if request.delimiter else -1
        common = key[: cut + len(request.delimiter)] if cut >= 0 else None
        # A key put between two pages must not bring back a prefix that the earlier one had.
        if common is not None and (common in prefixes[-1:] or (token and token.startswith(common))):
            last = key
            continue
        if len(found) + len(prefixes) >= request.max_keys:
            return ListPage(found, prefixes, last, request)
        last = key
        if common is not None:
            prefixes.append(common)
            continue
        stored = store.buckets[bucket][key]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stored.modified_at))
        found.append(Listed(key, stored.size, stored.etag, stamp))
    return ListPage(found, prefixes, None, request)
