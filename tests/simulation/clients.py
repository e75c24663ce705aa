"""Clients of every temper, and whether what they got is true."""

import os
import random

import trio

from yatagarasu.cache.body import Bytes
from yatagarasu.errors import ClientGone
from yatagarasu.http.ranges import parse_content_range
from yatagarasu.proxy.pipeline import Result

# What a lying Content-Length is too long by.
LIES = (1, 1000)


class Untrue(AssertionError):
    """A client was told something that is not so."""


class SimClient:
    """One request's client: takes bytes, slowly perhaps, perhaps not to the end.

    Attributes:
        data: everything it has taken, heads included.
        result: what the proxy thinks became of it; None where it went away.
    """

    def __init__(self, rng: random.Random, name: str, method: str, key: str, fields: dict[str, str]) -> None:
        self.name, self.method, self.key, self.fields = name, method, key, fields
        self.data = bytearray()
        self.result: Result | None = None
        self.leaves_at = rng.choice([0.0, 0.02, 0.4, 3.0]) if rng.random() < 0.15 else float("inf")
        self._leaves_after = rng.choice([0, 300, 5_000, 60_000]) if rng.random() < 0.15 else None
        self._rate = rng.choice([5_000.0, 200_000.0]) if rng.random() < 0.25 else None

    async def send(self, *parts: Bytes) -> None:
        """Take bytes; see `yatagarasu.proxy.reader.Client`."""
        await trio.lowlevel.checkpoint()
        for part in parts:
            self.data += part
            if self._rate is not None and len(part):
                await trio.sleep(len(part) / self._rate)
            if self._leaves_after is not None and len(self.data) > self._leaves_after:
                raise ClientGone("the client has gone")

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Take bytes of a file."""
        stop = offset + count
        while offset < stop:
            piece = os.pread(fd, min(stop - offset, 32_768), offset)
            await self.send(piece)
            offset += len(piece)
        return count

    def describe(self) -> str:
        """What became of it, on one line."""
        asked = " ".join(f"{name}:{value}" for name, value in self.fields.items())
        head = bytes(self.data).partition(b"\r\n")[0].decode("latin-1") or "nothing"
        return f"{self.name} {self.method} {self.key} {asked} -> {head}, {len(self.data)} bytes, {self.result}"

    def check(self, versions: list[bytes]) -> None:
        """Hold what was taken against every content that the object has ever had. Raises Untrue."""
        head, gap, body = bytes(self.data).partition(b"\r\n\r\n")
        if not gap:
            if self.result is not None and self.result.is_clean:
                raise Untrue("a clean end without a head")
            return
        status = int(head[9:12])
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
        if status not in (200, 206):
            if status not in (304, 403, 404, 412, 416, 500, 502, 503, 504):
                raise Untrue(f"status {status}")
            if status == 500:
                raise Untrue("a defect of our own")
            return
        if self.method == "HEAD":
            if body:
                raise Untrue("a HEAD with a body")
            return
        is_clean = self.result is not None and self.result.is_clean
        promised: int | None = None
        if "content-length" in fields:
            promised = int(fields["content-length"])
            if len(body) > promised:
                raise Untrue("more than was promised")
            if is_clean and len(body) != promised:
                raise Untrue(f"{len(body)} of {promised} bytes, and a clean end")
        else:
            body, has_ended = _unchunk(body)
            if is_clean and not has_ended:
                raise Untrue("no last chunk, and a clean end")
            is_clean = has_ended
        is_whole = is_clean if promised is None else len(body) == promised
        start, stop = 0, None
        if fields.get("content-type", "").startswith("multipart/byteranges"):
            if is_whole:
                _check_parts(body, fields["content-type"].partition("boundary=")[2], versions)
            return
        if status == 206:
            found = parse_content_range(fields.get("content-range"))
            if found is None or found.start is None or found.stop is None:
                raise Untrue(f"content-range {fields.get('content-range')!r}")
            start, stop = found.start, found.stop
            versions = [data for data in versions if found.size in sizes_of(data)]
        for data in versions:
            wanted = data[start:stop]
            if body == wanted if is_whole else wanted.startswith(body):
                return
        raise Untrue(f"{status}: {len(body)} bytes that no version has, whole: {is_whole}")


def sizes_of(data: bytes) -> tuple[int | None, ...]:
    """What the origin may have called its size; with a Content-Length that lies nobody knows better."""
    return None, len(data), *(len(data) + lie for lie in LIES)


def _unchunk(body: bytes) -> tuple[bytes, bool]:
    data = b""
    while True:
        line, gap, body = body.partition(b"\r\n")
        if not gap:
            return data, False
        size = int(line, 16)
        if size == 0:
            return data, body == b"\r\n"
        data += body[:size]
        if len(body) < size + 2:
            return data, False
        body = body[size + 2 :]


def _check_parts(body: bytes, boundary: str, versions: list[bytes]) -> None:
    """Every part is true, and all of them of one version (RFC 9110, section 14.6)."""
    first, *parts, last = body.split(f"--{boundary}".encode())
    if first.strip() or last.strip() != b"--":
        raise Untrue("a multipart that is none")
    for part in parts:
        head, _, data = part.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode("latin-1").strip().lower().split("\r\n"))
        found = parse_content_range(lines.get("content-range"))
        if found is None or found.start is None:
            raise Untrue("a part without a place")
        versions = [
            version
            for version in versions
            if found.size in sizes_of(version) and version[found.start : found.stop] == data.removesuffix(b"\r\n")
        ]
    if not versions:
        raise Untrue("parts that no version has")
