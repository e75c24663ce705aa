"""A local folder as an origin: the same protocol, so that everything above it is the same code."""

import errno
import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import trio

from yatagarasu.errors import ConfigError, OriginBroken
from yatagarasu.http.conditional import Outcome, evaluate, if_range_holds
from yatagarasu.http.dates import format_http_date
from yatagarasu.http.headers import Headers, Pair
from yatagarasu.http.ranges import format_content_range, parse_range, resolve
from yatagarasu.origin.client import OriginRequest
from yatagarasu.s3.listing import Listed, ListPage, ListRequest, render_list_v2

_READ_BYTES = 256 * 1024
# What stands for "no such file". Anything else (no descriptors left, a failing disk) says nothing about the file,
# and a 404 made of it would be cached.
_ABSENT = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.ENXIO)
)


class _FileResponse:
    """An answer out of an open file, or out of no file."""

    def __init__(
        self,
        status: int,
        pairs: list[Pair],
        endpoint: str,
        *,
        fd: int = -1,
        start: int = 0,
        stop: int = 0,
        body: bytes = b"",
    ) -> None:
        self.status = status
        self.headers = Headers(pairs)
        self.endpoint = endpoint
        self._fd = fd
        self._pos, self._stop = start, stop
        self._body = body

    def take_buffered(self) -> bytes:
        """None: files are read in a thread."""
        return b""

    async def receive_some(self) -> bytes:
        """Body bytes, read in a thread: the disk may be slow."""
        if self._fd < 0:
            body, self._body = self._body, b""
            return body
        if self._pos >= self._stop:
            return b""
        data = await trio.to_thread.run_sync(self._read)
        self._pos += len(data)
        return data

    def _read(self) -> bytes:
        try:
            data = os.pread(self._fd, min(_READ_BYTES, self._stop - self._pos), self._pos)
            # Looked at after the read: a file written in place must not give bytes of two generations (F4).
            is_same = _etag(os.fstat(self._fd)) == self.headers.get("etag")
        except OSError as exc:
            raise OriginBroken(f"the file cannot be read: {exc.strerror}", endpoint=self.endpoint) from exc
        if not data or not is_same:
            raise OriginBroken("the file changed while it was read", endpoint=self.endpoint)
        return data

    async def aclose(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class DirectoryOrigin:
    """A folder as a bucket; keys are paths below it.

    ETags are strong: inode, size and modification time in nanoseconds. Links that lead out of the folder are
    not followed.
    """

    key_prefix = ""

    def __init__(self, root: Path, *, name: str) -> None:
        self.root = root
        self.name = name
        self.endpoint = f"directory:{root}"

    async def check(self) -> None:
        """Raises ConfigError where the folder is none, or cannot be read."""
        if not await trio.to_thread.run_sync(os.access, self.root, os.R_OK | os.X_OK):
            raise ConfigError(f"the folder {self.root} cannot be read")

    async def open(self, request: OriginRequest) -> _FileResponse:
        """Ask for a file."""
        opened = await trio.to_thread.run_sync(self._open, request.object_key)
        if opened is None:
            return _FileResponse(404, [("content-length", "0")], self.endpoint)
        fd, info = opened
        try:
            return self._answer(request, fd, info)
        except BaseException:
            os.close(fd)
            raise

    def _path(self, key: str) -> str | None:
        """Where a key is, links followed; None where that is outside the folder."""
        root = os.path.realpath(self.root)
        if not key or key.endswith("/") or "\0" in key:
            return None
        path = os.path.realpath(os.path.join(root, key.lstrip("/")))
        return path if path.startswith(root + os.sep) else None

    def _open(self, key: str) -> tuple[int, os.stat_result] | None:
        path = self._path(key)
        if path is None:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return None
            raise OriginBroken(f"the file cannot be opened: {exc.strerror}", endpoint=self.endpoint) from exc
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            return None
        return fd, info

    def _answer(self, request: OriginRequest, fd: int, info: os.stat_result) -> _FileResponse:
        headers = Headers(request.headers)
        etag, modified = _etag(info), format_http_date(info.st_mtime)
        kind, coding = mimetypes.guess_type(request.object_key)
        base: list[Pair] = [("etag", etag), ("last-modified", modified), ("accept-ranges", "bytes")]
        outcome = evaluate(request.method, headers, etag=etag, last_modified=modified)
        if outcome is not Outcome.PROCEED:
            os.close(fd)
            status = 304 if outcome is Outcome.NOT_MODIFIED else 412
            return _FileResponse(status, base if status == 304 else [("content-length", "0")], self.endpoint)
        base.append(("content-type", kind or "application/octet-stream"))
        if coding:
            base.append(("content-encoding", coding))
        size = info.st_size
        start, stop, status = 0, size, 200
        specs = parse_range(headers.get("range")) if request.method == "GET" else None
        if (
            specs is not None
            and len(specs) == 1
            and if_range_holds(headers, etag=etag, last_modified=modified, date=None)
        ):
            found = resolve(specs, size)
            if not found:
                os.close(fd)
                return _FileResponse(
                    416, [("content-range", f"bytes */{size}"), ("content-length", "0")], self.endpoint
                )
            (start, stop), status = found[0], 206
            base.append(("content-range", format_content_range(start, stop, size)))
        base.append(("content-length", str(stop - start)))
        if request.method == "HEAD":
            os.close(fd)
            return _FileResponse(status, base, self.endpoint)
        return _FileResponse(status, base, self.endpoint, fd=fd, start=start, stop=stop)

    async def list(self, query: str) -> _FileResponse:
        """A page of a listing."""
        request = ListRequest.parse(query)
        page = await trio.to_thread.run_sync(self._page, request)
        body = render_list_v2(self.name, page)
        return _FileResponse(200, [("content-type", "application/xml")], self.endpoint, body=body)

    def _page(self, request: ListRequest) -> ListPage:
        keys = sorted(self._keys())
        after = request.continuation_token or request.start_after
        found: list[Listed] = []
        prefixes: list[str] = []
        last = ""
        for key in keys:
            if not key.startswith(request.prefix) or (after and key <= after):
                continue
            cut = key.find(request.delimiter, len(request.prefix)) if request.delimiter else -1
            common = key[: cut + len(request.delimiter)] if cut >= 0 else None
            if common is not None and (common in prefixes or (after and after.startswith(common))):
                last = key
                continue
            if len(found) + len(prefixes) >= request.max_keys:
                return ListPage(found, prefixes, last or None, request)
            last = key
            if common is not None:
                prefixes.append(common)
                continue
            info = self._info(key)
            if info is not None:
                found.append(Listed(key, info.st_size, _etag(info), format_iso(info.st_mtime)))
        return ListPage(found, prefixes, None, request)

    def _info(self, key: str) -> os.stat_result | None:
        """What a listing says of a key, None for what `open` would not find."""
        path = self._path(key)
        try:
            info = os.stat(path) if path is not None else None
        except OSError:
            return None
        return info if info is not None and stat.S_ISREG(info.st_mode) else None

    def _keys(self) -> Iterator[str]:
        """Keys below the folder; a name that is no UTF-8 cannot be asked for, so it is none."""
        for folder, _, names in os.walk(self.root):
            base = os.path.relpath(folder, self.root)
            keys = (name if base == "." else f"{base}/{name}" for name in names)
            yield from (key for key in keys if key.isascii() or _is_utf8(key))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _etag(info: os.stat_result) -> str:
    return f'"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"'


def format_iso(epoch_seconds: float) -> str:
    """A time as listings have it."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(epoch_seconds))
