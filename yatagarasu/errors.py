"""The exception tree, by whose fault it is.

    YatagarasuError
    ├── ConfigError                what the operator wrote cannot work
    ├── RequestError               the client asked for something we refuse or do not have (4xx)
    │   ├── BadRequest 400         ├── NoSuchRoute 404        ├── NoSuchKey 404   ├── Gone 410
    │   ├── MethodNotAllowed 405   ├── PreconditionFailed 412 ├── BodyRefused 413 ├── TargetTooLong 414
    │   ├── RangeNotSatisfiable 416├── ExpectationFailed 417  └── HeaderTooLarge 431
    ├── AccessError                who may not: AccessDenied 403
    ├── OriginError                the S3 side failed us (502, 503, 504)
    │   ├── OriginUnreachable 502  no connection: refused, DNS, TLS, connect timeout
    │   ├── OriginBroken 502       connection lost, or an answer that is not HTTP or not true
    │   │   └── ConnectionDied     a kept-alive connection that was dead already
    │   ├── OriginLate 504         silence past a timeout
    │   ├── OriginStatus           an answer whose status says "failed" (5xx, 429)
    │   ├── OriginRefused 502      our credentials, region or bucket name are wrong there
    │   └── ObjectChanged 502      another generation appeared under a download
    ├── OverloadError 503          our own bounds: too many waiters, no connection slot
    ├── ClientGone 499             the client closed, or took no byte for `write_timeout`
    ├── WaitTimeout 504            this client waited `wait_timeout` for somebody else's fetch
    ├── StoreError                 a tier failed: a miss and a metric, never an answer
    └── InternalError 500          our own defect

Each error knows the HTTP `status` and S3 `code` a client sees, a `public` sentence that is safe to send,
and carries `context` fields for the log. The message (`str`) is for the log only. An edge renders each
side once: `describe` for the log; status, code and public for the client.
"""

from typing import ClassVar, Self, TypeVar

E = TypeVar("E", bound=BaseException)


class YatagarasuError(Exception):
    """Base of all; `context` maps field names to printable values: bucket, key, endpoint, attempt."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "InternalError"
    public: ClassVar[str] = "We encountered an internal error. Please try again."

    def __init__(self, message: str = "", /, **context: object) -> None:
        super().__init__(message or self.public)
        self.context = context

    def add(self, **context: object) -> None:
        """Add context fields that are not there yet: the innermost layer knows best."""
        self.context = {**context, **self.context}

    @property
    def http_status(self) -> int:
        """Status to answer with; an instance may know better than its class."""
        return self.status

    @property
    def retry_after_seconds(self) -> int | None:
        """Seconds for `Retry-After`, or None for no such field."""
        return None

    def for_waiter(self) -> Self:
        """A copy of this verdict for one of many waiters, to be raised `from` the one cause (F6)."""
        copy = self.__class__.__new__(self.__class__)
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.__cause__ = self
        return copy


def first_of(error: BaseException, kind: type[E]) -> E | None:
    """An error of a kind: this one, or the first within exception groups, as nurseries raise them; None without one."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := first_of(inner, kind)) is not None), None)
    return error if isinstance(error, kind) else None


def describe(error: BaseException) -> str:
    """Render an error and its causes on one line, outermost first: `message <- message <- …`."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        text = " ".join(str(current).split())
        name = type(current).__name__
        parts.append(f"{name}: {text}" if text else name)
        current = current.__cause__
    return " <- ".join(parts)


def let_go(error: BaseException) -> None:
    """Drop the frames that an error and its causes came through: as long as it is kept, they keep flights and files."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        current = rest.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = None
            rest += (current.__cause__, current.__context__)


class ConfigError(YatagarasuError):
    """What the operator wrote cannot work; the message names the thing."""


class RequestError(YatagarasuError):
    """The client asked for something we refuse or do not have."""

    status, code, public = 400, "InvalidRequest", "The request is not valid."


class BadRequest(RequestError):
    """Not HTTP, or HTTP that could be read in two ways."""

    status, code, public = 400, "BadRequest", "The request could not be understood."


class NoSuchRoute(RequestError):
    """No configured bucket has a path prefix that fits."""

    status, code, public = 404, "NoSuchRoute", "No bucket is served at this path."


class NoSuchKey(RequestError):
    """The origin has no such object."""

    status, code, public = 404, "NoSuchKey", "The specified key does not exist."


class Gone(RequestError):
    """The origin says the object is gone for good."""

    status, code, public = 410, "Gone", "The specified key is gone."


class MethodNotAllowed(RequestError):
    """Anything but GET, HEAD and OPTIONS."""

    status, code = 405, "MethodNotAllowed"
    public = "The specified method is not allowed against this resource."


class PreconditionFailed(RequestError):
    """If-Match or If-Unmodified-Since did not hold (RFC 9110, section 13)."""

    status, code = 412, "PreconditionFailed"
    public = "At least one of the preconditions you specified did not hold."


class BodyRefused(RequestError):
    """A request with a body: this proxy is read-only."""

    status, code, public = 413, "EntityTooLarge", "Request bodies are not accepted."


class TargetTooLong(RequestError):
    """The request target is over the limit."""

    status, code, public = 414, "KeyTooLongError", "The request target is too long."


class RangeNotSatisfiable(RequestError):
    """No requested range overlaps the object (RFC 9110, section 15.5.17). Context: `size`, bytes."""

    status, code, public = 416, "InvalidRange", "The requested range is not satisfiable."


class ExpectationFailed(RequestError):
    """An Expect other than 100-continue (RFC 9110, section 10.1.1)."""

    status, code, public = 417, "ExpectationFailed", "The expectation cannot be met."


class HeaderTooLarge(RequestError):
    """The header section is over `server.max_header_size`."""

    status, code, public = 431, "RequestHeaderSectionTooLarge", "The request header section is too large."


class AccessError(YatagarasuError):
    """Who may not."""

    status, code, public = 403, "AccessDenied", "Access Denied"


class AccessDenied(AccessError):
    """We, or the origin, refuse this client this object."""


class OriginError(YatagarasuError):
    """The S3 side failed us."""

    status, code, public = 502, "BadGateway", "The origin could not answer. Please try again."


class OriginUnreachable(OriginError):
    """No connection: refused, DNS, TLS, connect timeout."""


class OriginBroken(OriginError):
    """Connection lost, or an answer that is not HTTP or not true."""


class ConnectionDied(OriginBroken):
    """A kept-alive connection turned out to be dead: worth another try at once, on a fresh one."""


class OriginLate(OriginError):
    """Silence past a timeout."""

    status, code, public = 504, "GatewayTimeout", "The origin did not answer in time. Please try again."


class OriginStatus(OriginError):
    """An answer whose status says "failed": 5xx or 429.

    Overload (429, 503) is passed on as 503 so that SDKs back off; 504 stays; the rest is 502.
    """

    def __init__(self, message: str = "", /, *, status: int, retry_after: int | None = None, **context: object) -> None:
        super().__init__(message or f"origin answered {status}", status=status, **context)
        self.origin_status = status
        self.asked_to_wait = retry_after is not None
        self._retry_after = retry_after

    @property
    def http_status(self) -> int:
        """503 for 429 and 503, 504 for 504, else 502."""
        return {429: 503, 503: 503, 504: 504}.get(self.origin_status, 502)

    @property
    def retry_after_seconds(self) -> int | None:
        """What the origin asked for; one second where it overflowed without saying."""
        return (self._retry_after or 1) if self.http_status == 503 else None


class OriginRefused(OriginError):
    """Our credentials, region or bucket name are wrong there; retrying will not help."""


class ObjectChanged(OriginError):
    """Another generation of the object appeared under a download (F4)."""


class OverloadError(YatagarasuError):
    """Our own bounds are reached: too many waiters, no connection slot."""

    status, code, public = 503, "SlowDown", "Please reduce your request rate."

    @property
    def retry_after_seconds(self) -> int | None:
        """One second: bounds are about bursts."""
        return 1


class ClientGone(YatagarasuError):
    """The client closed its connection, or took no byte for `server.write_timeout`; nobody reads an answer."""

    status, code, public = 499, "ClientClosedRequest", "The client closed the connection."


class WaitTimeout(YatagarasuError):
    """One client waited `coalescing.wait_timeout` for a fetch and had no stale entry to fall back on."""

    status, code, public = 504, "GatewayTimeout", "The origin did not answer in time. Please try again."


class StoreError(YatagarasuError):
    """A tier failed: a miss and a metric, never an answer."""


class InternalError(YatagarasuError):
    """Our own defect."""
