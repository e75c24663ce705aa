"""AWS Signature Version 4 for S3 requests without a body: signing, and checking what others signed.

AWS: "Authenticating Requests: Using the Authorization Header" and "... Using Query Parameters".
"""

import hmac
from calendar import timegm
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from urllib.parse import quote, unquote

from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair

EMPTY_SHA256 = sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
# AWS refuses requests signed more than 15 minutes from its own time.
MAX_SKEW_SECONDS = 15 * 60
# Nor does it take a presigned URL that is to live longer than a week.
MAX_PRESIGNED_SECONDS = 7 * 24 * 3600
# Not signed by botocore either: what stands between may change them.
_UNSIGNED = frozenset(
    (
        "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
    )
)  # fmt: skip
_NAME = itemgetter(0)
_MONTHS = {"Jan": "01", "Feb": "02", "Mar": "03", "Apr": "04", "May": "05", "Jun": "06",
           "Jul": "07", "Aug": "08", "Sep": "09", "Oct": "10", "Nov": "11", "Dec": "12"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key, its secret, and what a temporary one has besides; `expires_at` is epoch seconds."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}…)"


def amz_date(now: float) -> str:
    """Epoch seconds as `YYYYMMDDTHHMMSSZ`."""
    text = format_http_date(now)
    clock = text[17:19] + text[20:22] + text[23:25]
    return f"{text[12:16]}{_MONTHS[text[8:11]]}{text[5:7]}T{clock}Z"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8"), "sha256")


def _digest(canonical: str) -> str:
    # Field values are latin-1 text (`http.headers`): what is hashed is the bytes that are sent.
    return sha256(canonical.encode("latin-1", "replace")).hexdigest()


def signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """The key of one day, region and service."""
    key = _hmac(f"AWS4{secret_key}".encode(), day)
    return _hmac(_hmac(_hmac(key, region), service), "aws4_request")


def canonical_query(query: str) -> str:
    """The query as it is signed: pairs sorted by their encoded form."""
    if not query:
        return ""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        pairs.append((_reencode(name), _reencode(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _reencode(text: str) -> str:
    return quote(unquote(text, "latin-1"), safe="-._~", encoding="latin-1")


class Signer:
    """Signs requests to one region.

    The HMAC of the day's key is kept, and the text of the second: a signature is one digest and one HMAC more.
    """

    __slots__ = ("_day", "_key_of", "_keyed", "_scope", "_second", "_stamp", "region", "service")

    def __init__(self, region: str, service: str = "s3") -> None:
        self.region = region
        self.service = service
        self._second = -1
        self._stamp = ""
        self._day = ""
        self._scope = ""
        self._key_of = ""
        self._keyed = hmac.new(b"", digestmod="sha256")

    def sign(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Sequence[Pair],
        credentials: Credentials,
        now: float,
    ) -> list[Pair]:
        """The fields to add to a request without a body.

        Args:
            host: the Host field's value.
            path: the encoded path; S3 signs it as it is.
            query: the encoded query, any order.
            headers: n pairs (lower-case name, value) that the request has besides Host.
            now: epoch seconds.
        """
        secret_key = credentials.secret_key
        if int(now) != self._second or secret_key != self._key_of:
            self._turn(int(now), secret_key)
        stamp, scope = self._stamp, self._scope
        added: list[Pair] = [("x-amz-date", stamp), ("x-amz-content-sha256", EMPTY_SHA256)]
        if credentials.session_token is not None:
            added.append(("x-amz-security-token", credentials.session_token))
        # By name alone: values of one name are signed in the order in which they are sent.
        signed = [("host", host), *added, *[pair for pair in headers if pair[0] not in _UNSIGNED]]
        signed.sort(key=_NAME)
        names, fields = _canonical_fields(signed)
        canonical = f"{method}\n{path}\n{canonical_query(query)}\n{fields}\n{names}\n{EMPTY_SHA256}"
        keyed = self._keyed.copy()
        keyed.update(f"{_ALGORITHM}\n{stamp}\n{scope}\n{_digest(canonical)}".encode())
        claim = f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={keyed.hexdigest()}"
        added.append(("authorization", f"{_ALGORITHM} {claim}"))
        return added

    def _turn(self, second: int, secret_key: str) -> None:
        """Another second, perhaps another day or key."""
        stamp = amz_date(second)
        day = stamp[:8]
        if day != self._day or secret_key != self._key_of:
            self._keyed = hmac.new(signing_key(secret_key, day, self.region, self.service), digestmod="sha256")
            self._scope = f"{day}/{self.region}/{self.service}/aws4_request"
        self._second, self._stamp, self._day, self._key_of = second, stamp, day, secret_key


def _canonical_fields(pairs: Sequence[Pair]) -> tuple[str, str]:
    """Signed names, and canonical lines, of sorted pairs; values of one name are joined with a comma."""
    lines = "".join([f"{name}:{value}\n" for name, value in pairs])
    merged = dict(pairs)
    if not ("  " in lines or ": " in lines or " \n" in lines) and len(merged) == len(pairs):
        return ";".join(merged), lines
    return _folded_fields(pairs)


def _folded_fields(pairs: Sequence[Pair]) -> tuple[str, str]:
    """The same where names repeat, or values have white space at an end or in a row."""
    merged: dict[str, str] = {}
    for name, value in pairs:
        text = " ".join(filter(None, value.split(" ")))
        merged[name] = f"{merged[name]},{text}" if name in merged else text
    lines = "".join(f"{name}:{value}\n" for name, value in merged.items())
    return ";".join(merged), lines


def check_signature(
    method: str,
    path: str,
    query: str,
    headers: Headers,
    secret_for: Callable[[str], str | None],
    now: float,
) -> str | None:
    """Check a request's signature as S3 does, header or query form.

    Args:
        path: as it came, encoded.
        secret_for: the secret of an access key, None for one that is not known.

    Returns:
        None where it is good, else S3's error code.
    """
    parameters = dict(part.partition("=")[::2] for part in query.split("&")) if query else {}
    if "X-Amz-Signature" in parameters:
        return _check_presigned(method, path, query, parameters, headers, secret_for, now)
    authorization = headers.get("authorization")
    if authorization is None:
        return "AccessDenied"
    kind, _, rest = authorization.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    scope = fields.get("Credential", "").split("/")
    if kind != _ALGORITHM or len(scope) != 5 or "Signature" not in fields:
        return "AuthorizationHeaderMalformed"
    stamp = headers.get("x-amz-date", "")
    skew = _skew(stamp, now)
    if skew is None:
        return "AccessDenied"
    if abs(skew) > MAX_SKEW_SECONDS:
        return "RequestTimeTooSkewed"
    return _compare(
        method,
        path,
        query,
        headers,
        fields.get("SignedHeaders", ""),
        headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        scope,
        stamp,
        fields["Signature"],
        secret_for,
    )


def _check_presigned(
    method: str,
    path: str,
    query: str,
    parameters: dict[str, str],
    headers: Headers,
    secret_for: Callable[[str], str | None],
    now: float,
) -> str | None:
    scope = unquote(parameters.get("X-Amz-Credential", "")).split("/")
    stamp = parameters.get("X-Amz-Date", "")
    skew = _skew(stamp, now)
    lifetime = parameters.get("X-Amz-Expires", "")
    if len(scope) != 5 or skew is None or not 0 < _lifetime_seconds(lifetime) <= MAX_PRESIGNED_SECONDS:
        return "AuthorizationQueryParametersError"
    if skew > _lifetime_seconds(lifetime) or skew < -MAX_SKEW_SECONDS:
        return "AccessDenied"
    rest = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
    names = unquote(parameters.get("X-Amz-SignedHeaders", ""))
    return _compare(
        method,
        path,
        rest,
        headers,
        names,
        "UNSIGNED-PAYLOAD",
        scope,
        stamp,
        parameters["X-Amz-Signature"],
        secret_for,
    )


def _compare(
    method: str,
    path: str,
    query: str,
    headers: Headers,
    names: str,
    payload: str,
    scope: list[str],
    stamp: str,
    signature: str,
    secret_for: Callable[[str], str | None],
) -> str | None:
    access_key, day, region, service, _ = scope
    secret = secret_for(access_key)
    if secret is None:
        return "InvalidAccessKeyId"
    signed = [(name, value) for name in names.split(";") for value in headers.get_all(name) or ("",)]
    _, fields = _canonical_fields(signed)
    canonical = f"{method}\n{path}\n{canonical_query(query)}\n{fields}\n{names}\n{payload}"
    text = f"{_ALGORITHM}\n{stamp}\n{day}/{region}/{service}/aws4_request\n{_digest(canonical)}"
    expected = hmac.digest(signing_key(secret, day, region, service), text.encode("utf-8"), "sha256").hex()
    # Bytes: text that is not ASCII cannot be compared in constant time.
    return None if hmac.compare_digest(expected.encode(), signature.encode()) else "SignatureDoesNotMatch"


def _lifetime_seconds(text: str) -> int:
    """X-Amz-Expires; zero, which S3 refuses too, where it is no number of a sane length."""
    return int(text) if len(text) <= 9 and text.isascii() and text.isdigit() else 0


def _skew(stamp: str, now: float) -> float | None:
    """Seconds by which `now` is later than a stamp, None where that is none."""
    digits = stamp[:8] + stamp[9:15]
    if len(stamp) != 16 or stamp[8] != "T" or stamp[15] != "Z" or not (digits.isascii() and digits.isdigit()):
        return None
    numbers = (stamp[:4], stamp[4:6], stamp[6:8], stamp[9:11], stamp[11:13], stamp[13:15])
    try:
        return now - timegm(tuple(int(number) for number in numbers))
    except ValueError:
        return None  # A month or year that no calendar has.
