"""S3's error documents: read from an origin, written for a client, and which error of ours each one is.

AWS: "Error responses", list of error codes.
"""

import json
from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import escape

from yatagarasu.errors import (
    AccessDenied,
    BadRequest,
    Gone,
    NoSuchKey,
    OriginBroken,
    OriginRefused,
    OriginStatus,
    PreconditionFailed,
    RangeNotSatisfiable,
    YatagarasuError,
)

# What S3 says when our own credentials, clock, region or bucket name are wrong: an operator must act, and
# neither a client nor a retry can.
_OURS = frozenset(
    (
        "AccountProblem",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "ExpiredToken",
        "IllegalLocationConstraintException",
        "InvalidAccessKeyId",
        "InvalidBucketName",
        "InvalidSecurity",
        "InvalidToken",
        "NoSuchBucket",
        "NotSignedUp",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TemporaryRedirect",
        "TokenRefreshRequired",
    )
)


@dataclass(frozen=True, slots=True)
class S3Error:
    """What an error document says; `region` is where the bucket really is, where S3 says so."""

    code: str
    message: str = ""
    region: str | None = None


def parse_error(body: bytes) -> S3Error | None:
    """Read an error document; None where it is none. Entities and document types are refused."""
    values: dict[str, str] = {}
    path: list[str] = []
    root: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("a document type has no place here")

    def start(name: str, _: dict[str, str]) -> None:
        root[:] = root or [name]
        path.append(name.rpartition(":")[2])

    def end(_: str) -> None:
        path.pop()

    def text(data: str) -> None:
        if len(path) == 2 and len(values.get(path[1], "")) < 1024:
            values[path[1]] = values.get(path[1], "") + data

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        return None  # LookupError: an encoding that Python does not know.
    code = values.get("Code", "").strip()
    if root != ["Error"] or not code or len(code) > 100:
        return None
    return S3Error(code, values.get("Message", "").strip(), (values.get("Region") or "").strip() or None)


def error_for(status: int, error: S3Error | None, *, retry_after: int | None = None) -> YatagarasuError:
    """The error that an origin's answer stands for.

    Args:
        status: any but 2xx and 304.
        error: its document, None where there was none.
        retry_after: seconds, from Retry-After.
    """
    code = error.code if error is not None else ""
    said = f"origin answered {status}" + (f" {code}" if code else "")
    if error is not None and error.message and code not in ("SignatureDoesNotMatch", "InvalidAccessKeyId"):
        said += f": {error.message}"  # Those two quote the request, keys and all.
    if status in (429,) or status >= 500:
        return OriginStatus(said, status=status, retry_after=retry_after)
    if code in _OURS or 300 <= status < 400:
        where = f"; the bucket is in region {error.region}" if error is not None and error.region else ""
        return OriginRefused(said + where, s3_code=code)
    if status == 404:
        return NoSuchKey(said)
    if status == 410:
        return Gone(said)
    if status in (401, 403):
        return AccessDenied(said)
    if status == 412:
        return PreconditionFailed(said)
    if status == 416:
        return RangeNotSatisfiable(said)
    if status == 400:
        return BadRequest(said)
    return OriginBroken(said)


def render_error_xml(code: str, message: str, resource: str, request_id: str) -> bytes:
    """An error document as S3 writes it."""
    parts = (("Code", code), ("Message", message), ("Resource", resource), ("RequestId", request_id))
    inner = "".join(f"<{name}>{escape(_printable(value))}</{name}>" for name, value in parts)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def render_error_json(code: str, message: str, resource: str, request_id: str) -> bytes:
    """The same as JSON."""
    fields = {"code": code, "message": message, "resource": _printable(resource), "request_id": request_id}
    return json.dumps({"error": fields}).encode()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
