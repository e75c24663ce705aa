"""Origins: what a flight asks for an object, and S3 as the usual one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yatagarasu import __version__
from yatagarasu.errors import OriginRefused, YatagarasuError
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.wire import encode_request
from yatagarasu.origin.credentials import CredentialSource
from yatagarasu.origin.transport import OriginTransport, RawResponse
from yatagarasu.s3.addressing import Address
from yatagarasu.s3.errors import error_for, parse_error
from yatagarasu.s3.keys import encode_key
from yatagarasu.s3.listing import scoped_list_query
from yatagarasu.s3.signing import Signer


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A request for one object: `query` without "?", canonical; n pairs (lower-case name, value)."""

    method: str
    object_key: str
    query: str = ""
    headers: tuple[Pair, ...] = ()


class OriginResponse(Protocol):
    """An origin's answer: head at hand, body to come."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """Fields in wire order."""
        ...

    @property
    def endpoint(self) -> str:
        """Who answered, for the log."""
        ...

    def take_buffered(self) -> bytes:
        """Body bytes that have come already, perhaps none; never waits."""
        ...

    async def receive_some(self) -> bytes:
        """Body bytes; b"" at the clean end. Raises OriginBroken before it."""
        ...

    async def aclose(self) -> None:
        """Let go; always to be called, also under cancellation, so it does not wait."""
        ...


class Origin(Protocol):
    """Where a bucket's objects come from."""

    @property
    def endpoint(self) -> str:
        """For the log."""
        ...

    @property
    def key_prefix(self) -> str:
        """What goes before every object key there."""
        ...

    async def open(self, request: OriginRequest) -> OriginResponse:
        """Ask for an object; returns when the head is there. Raises OriginError."""
        ...

    async def list(self, query: str) -> OriginResponse:
        """Ask for a page of a client's listing. Raises OriginError, BadRequest."""
        ...

    async def check(self) -> None:
        """Ask whether the bucket answers. Raises what stands against it."""
        ...


class S3Origin:
    """An S3 bucket, or part of one.

    Args:
        bucket: its name there.
        address: where it is.
        key_prefix: goes before every key; nothing outside it can be asked for.
        clock: epoch seconds.
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        address: Address,
        key_prefix: str,
        credentials: CredentialSource,
        transport: OriginTransport,
        clock: Callable[[], float],
    ) -> None:
        self.bucket = bucket
        self.key_prefix = key_prefix
        self.endpoint = address.endpoint
        self._address = address
        self._host = address.host_header
        self._signer = Signer(region)
        self._credentials = credentials
        self._transport = transport
        self._clock = clock
        self._agent: Pair = ("user-agent", f"yatagarasu/{__version__}")

    def __repr__(self) -> str:
        return f"<S3Origin {self.endpoint} {self.bucket}/{self.key_prefix}>"

    async def open(self, request: OriginRequest) -> RawResponse:
        """Ask for an object."""
        target = self._address.target(encode_key(self.key_prefix + request.object_key))
        return await self._send(request.method, target, request.query, request.headers, resends=False)

    async def list(self, query: str) -> RawResponse:
        """Ask for a page of a client's listing, within the key prefix."""
        return await self._send("GET", self._address.target(""), scoped_list_query(query, self.key_prefix), ())

    async def check(self) -> None:
        """Ask for the bucket's head, signed. Raises OriginError, AccessDenied or what else S3 answers."""
        response = await self._send("HEAD", self._address.target(""), "", ())
        await response.aclose()
        if response.status == 404:
            raise OriginRefused(f"there is no bucket {self.bucket}", bucket=self.bucket, endpoint=self.endpoint)
        if response.status >= 300:
            raise await self._explain(response.status)

    async def _explain(self, status: int) -> YatagarasuError:
        """A HEAD has no error document; a listing of nothing has one."""
        query = "list-type=2&max-keys=0"
        response = await self._send("GET", self._address.target(""), query, ())
        try:
            if response.status < 300:
                return error_for(status, None)
            body = b""
            while len(body) < 64 * 1024 and (data := await response.receive_some()):
                body += data
            error = error_for(response.status, parse_error(body))
            error.add(bucket=self.bucket, endpoint=self.endpoint)
            return error
        finally:
            await response.aclose()

    async def _send(
        self, method: str, path: str, query: str, headers: tuple[Pair, ...], *, resends: bool = True
    ) -> RawResponse:
        address = self._address
        pairs: list[Pair] = [("host", self._host), self._agent, ("accept-encoding", "identity"), *headers]
        credentials = await self._credentials.get()
        if credentials is not None:
            signed = [pair for pair in headers if pair[0].startswith("x-amz-") or pair[0] == "range"]
            pairs += self._signer.sign(method, self._host, path, query, signed, credentials, self._clock())
        head = encode_request(method, f"{path}?{query}" if query else path, pairs)
        return await self._transport.fetch(
            address.scheme, address.host, address.port, head, method=method, resends=resends
        )
