"""The admin application behind the same HTTP/1.1 connection code as the proxy."""

from yatagarasu.admin.app import AdminApp
from yatagarasu.errors import ClientGone, YatagarasuError
from yatagarasu.http.wire import encode_head, parse_request_line
from yatagarasu.proxy.hot import NeverHot
from yatagarasu.proxy.pipeline import Request, Result
from yatagarasu.proxy.reader import Client
from yatagarasu.proxy.response import RequestIds, error_answer
from yatagarasu.proxy.router import Line


class AdminHandler(NeverHot):
    """Hands requests to an `AdminApp`; nothing is hot, nothing is in the access log."""

    def __init__(self, app: AdminApp) -> None:
        self._app = app
        self._ids = RequestIds()

    def line(self, raw: bytes) -> Line:
        """Read a request line. Raises BadRequest."""
        return Line(*parse_request_line(raw))

    def new_id(self) -> str:
        """A request id."""
        return self._ids.new()

    async def handle(self, request: Request, client: Client) -> Result:
        """Answer one request."""
        line, block = request.line, request.block
        result = Result(must_close=not request.keeps_alive)
        try:
            if block.error is not None:
                raise block.error.for_waiter()
            if line.error is not None:
                raise line.error.for_waiter()
            block.check_version(line.minor)
            answer = await self._app.handle(line.method, line.target, block.headers)
            status, pairs, body = answer.status, list(answer.headers), answer.body
        except YatagarasuError as exc:
            result.must_close = True
            status, pairs, body = error_answer(exc, block.headers, line.target, request.request_id)
        pairs = [pair for pair in pairs if pair[0].lower() != "content-length"]
        pairs += [("content-length", str(len(body))), ("x-request-id", request.request_id)]
        if result.must_close:
            pairs.append(("connection", "close"))
        result.status = status
        try:
            await client.send(encode_head(status, pairs) + b"\r\n", b"" if line.method == "HEAD" else body)
        except ClientGone:
            result.is_clean = False
        return result
