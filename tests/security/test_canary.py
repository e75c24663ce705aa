"""Canaries: secrets that are put into every place which has one, and looked for in everything that comes out.

Real processes: `serve` with all its listeners, `validate-config`, `warm-cache`; behind them an origin that throws what it
was sent back in answers, error documents and fields.
"""

import base64
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.e2e.conftest import Served, launch, serve

__all__ = ["serve"]

pytestmark = pytest.mark.e2e

CANARIES = {
    "secret key": "canary/secret+key/0123456789abcdefghijkl",
    "session token": "canarySession//token+0123456789==",
    "admin token": "canary-admin-token-0123456789",
    "bearer token": "canary.client.bearer",
    "presigned signature": "canary0signature0of0a0url",
    "cookie": "canary_session_cookie",
}


class Echo(socketserver.BaseRequestHandler):
    """Says everything back that it was told, in the way that the key asks for."""

    def handle(self) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                try:
                    more = self.request.recv(65536)
                except OSError:
                    return
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            self.request.sendall(self.answer(head))
            if b"cut" in head.split(b" ")[1] or b"garbage" in head.split(b" ")[1]:
                return

    @staticmethod
    def answer(head: bytes) -> bytes:
        target = head.split(b" ")[1]
        said = head.replace(b"\r\n", b" | ").replace(b"<", b"(").replace(b"&", b"+")
        for status, code in ((403, b"SignatureDoesNotMatch"), (403, b"AccessDenied"), (400, b"AuthorizationHeaderMalformed"),
                             (500, b"InternalError"), (503, b"SlowDown"), (404, b"NoSuchKey"), (301, b"PermanentRedirect")):  # fmt: skip
            if code in target or code.lower() in target:
                body = b"<Error><Code>%s</Code><Message>%s</Message><StringToSign>%s</StringToSign></Error>" % (
                    code,
                    said,
                    said,
                )
                return b"HTTP/1.1 %d No\r\nlocation: /%s\r\ncontent-length: %d\r\n\r\n%s" % (
                    status,
                    quote(said).encode(),
                    len(body),
                    body,
                )
        if b"garbage" in target:
            return b"HTTX " + said + b"\r\n\r\n"
        if b"badlength" in target:
            return b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\n\r\n" % said
        if b"badrange" in target:
            return b"HTTP/1.1 206 OK\r\ncontent-range: %s\r\ncontent-length: 4\r\n\r\ndata" % said
        if b"cut" in target:
            return (
                b'HTTP/1.1 200 OK\r\netag: "%s"\r\ncontent-length: 4000\r\nconnection: close\r\n\r\ndata'
                % said.replace(b'"', b"")
            )
        return b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: "e"\r\n\r\ndata'


@pytest.fixture
def echo() -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def config(endpoint: str, cache: Path) -> str:
    return f"""
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = "127.0.0.1:0"
token = "${{CANARY_ADMIN}}"
[log]
level = "debug"
[cache]
ttl = "1h"
stale_if_error = "1h"
disk = {{ path = "{cache}", max_size = "64MiB" }}
[origin]
retry = {{ attempts = 2, backoff = "5ms" }}
[[buckets]]
name = "b"
path_prefix = "/b"
list = true
forward_request_headers = ["*"]
[buckets.s3]
bucket = "bkt"
endpoint = "{endpoint}"
access_key = "AKIAEXAMPLE"
secret_key = "${{CANARY_SECRET}}"
session_token = "{CANARIES["session token"]}"
"""


def spellings(secret: str) -> set[bytes]:
    """A secret as it might be encoded on its way out."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), quote(secret).encode(), raw.hex().encode(), raw[:-2]}
    for shift in range(3):
        # Base64 of something with the secret in it: what does not depend on the neighbours.
        found.add(base64.b64encode(b"x" * shift + raw)[4:-4])
    return found


def assert_no_canary(where: str, data: bytes, *, but: str = "") -> None:
    for name, secret in CANARIES.items():
        if name == but:
            continue
        for spelling in spellings(secret):
            assert spelling not in data, (
                f"the {name} is in {where}: …{data[max(0, data.find(spelling) - 120) :][:300]!r}"
            )


KEYS = ["SignatureDoesNotMatch", "AccessDenied", "AuthorizationHeaderMalformed", "InternalError", "SlowDown", "NoSuchKey",
        "PermanentRedirect", "garbage", "badlength", "badrange", "cut", "good"]  # fmt: skip


def test_no_secret_comes_out_of_anything(
    echo: str, tmp_path: Path, serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CANARY_SECRET", CANARIES["secret key"])
    monkeypatch.setenv("CANARY_ADMIN", CANARIES["admin token"])
    folder, cache = tmp_path / "served", tmp_path / "cache"
    folder.mkdir()
    path = folder / "yatagarasu.toml"
    path.write_text(config(echo, cache))
    served = launch(["-c", str(path)], folder, path)
    answers: list[tuple[str, bytes]] = []

    def note(where: str, answer: httpx.Response) -> None:
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
        answers.append((where, head.encode() + b"\n\n" + answer.content))

    try:
        fields = {
            "authorization": f"Bearer {CANARIES['bearer token']}",
            "cookie": f"session={CANARIES['cookie']}",
            "referer": f"https://app.example/x?X-Amz-Signature={CANARIES['presigned signature']}",
        }
        signature = f"X-Amz-Signature={CANARIES['presigned signature']}&Signature={CANARIES['presigned signature']}"
        with httpx.Client(trust_env=False, timeout=10) as client:
            for key in KEYS:
                for target in (f"/b/{key}", f"/b/{key}?versionId=1&{signature}", f"/b/{key}?{signature}"):
                    for accept in ("*/*", "application/json"):
                        try:
                            note(f"GET {target}", client.get(served.url + target, headers={**fields, "accept": accept}))
                        except httpx.TransportError:
                            assert key == "cut"
            note("a listing", client.get(f"{served.url}/b?list-type=2&prefix=AccessDenied", headers=fields))
            note("a bad path", client.get(f"{served.url}/b/%00?{signature}", headers=fields))
            note("a bad method", client.post(f"{served.url}/b/k?{signature}", headers=fields, content=b"x"))
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Bearer {CANARIES['admin token']}"},
            ):
                for target in (
                    "/metrics",
                    "/health",
                    "/ready",
                    "/cache/stats",
                    "/cache/entries?bucket=b",
                    "/nonsense",
                    "/cache/warm",
                ):
                    note(f"admin {target}", client.get(served.admin_url + target, headers=headers))
            listed = tmp_path / "keys.txt"
            listed.write_text("\n".join(KEYS))
            token = {"authorization": f"Bearer {CANARIES['admin token']}"}
            note("a job", client.post(f"{served.admin_url}/cache/warm", params={"list": str(listed)}, headers=token))
            time.sleep(1.0)
            note("the jobs", client.get(f"{served.admin_url}/cache/warm", headers=token))
        for text in (
            config(echo, cache).replace('"debug"', '"info"'),
            config(echo, cache).replace("secret_key =", "secretkey ="),
            "[[[ x",
        ):
            path.write_text(text)
            served.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
    finally:
        assert served.stop() == 0
    for where, data in answers:
        assert_no_canary(where, data)
    assert len(served.stdout().splitlines()) > 70
    assert "flight_failed" in served.stderr()
    assert "reload_failed" in served.stderr() or "reload" in served.stderr()
    assert_no_canary("the access log", served.stdout().encode())
    assert_no_canary("the error log", served.stderr().encode())
    for file in cache.rglob("*"):
        if file.is_file():
            assert_no_canary(str(file), file.read_bytes())


SPOILT: dict[str, Callable[[str], str]] = {
    "good": lambda text: text,
    "misspelt key": lambda text: text.replace("secret_key =", "secret_kye ="),
    "literal secret": lambda text: text.replace("${CANARY_SECRET}", CANARIES["secret key"]).replace("endpoint", "endp"),
    "broken table": lambda text: text.replace("[buckets.s3]", "[buckets.s3"),
    "bad escape": lambda text: text.replace("${CANARY_ADMIN}", CANARIES["admin token"] + "\\q"),
    "bad value": lambda text: text.replace('"1h"', "1h"),
    "refused": lambda text: text.replace('"bkt"', '"accessdenied"'),
    "badly signed": lambda text: text.replace('"bkt"', '"signaturedoesnotmatch"'),
}
QUICK = ("broken table", "bad escape")


@pytest.mark.parametrize(
    "spoil",
    [pytest.param(way, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, way in SPOILT.items()],
)
def test_no_command_tells_a_secret(
    echo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[str], str]
):
    monkeypatch.setenv("CANARY_SECRET", CANARIES["secret key"])
    monkeypatch.setenv("CANARY_ADMIN", CANARIES["admin token"])
    path, listed = tmp_path / "yatagarasu.toml", tmp_path / "keys.txt"
    path.write_text(spoil(config(echo, tmp_path / "cache")))
    listed.write_text("\n".join(KEYS[:4]))
    commands = [
        *(["validate-config", str(path), "--format", name] for name in ("text", "json", "github", "sarif")),
        ["validate-config", str(path), "--check-origins"],
        ["warm-cache", "-c", str(path), str(listed), "--json", "--allow-failures", "100"],
        ["warm-cache", "-c", str(path), "--prefix", "AccessDenied"],
        ["bench", "hit", "--config", str(path), "--seconds", "0.2", "--runs", "1", "--set", "size=1KiB"],
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "yatagarasu", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
        )
        for command in commands
    ]
    for command, process in zip(commands, running, strict=True):
        out, _ = process.communicate(timeout=60)
        assert_no_canary(" ".join(command), out)
        assert out, command
        assert b"Traceback" not in out, out
