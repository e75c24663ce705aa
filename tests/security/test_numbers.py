"""Numbers from strangers: larger than a file, an integer of C or a sane wait, or made of digits that are none to `int`."""

from collections.abc import Callable

import pytest
import trio

from tests.security.conftest import Pair, open_pair

NUMBERS = ["0", "1", *(str(number) for bits in (31, 32, 53, 63, 64) for number in (2**bits - 1, 2**bits)),
           "9" * 18, "9" * 19, "9" * 400, "9" * 5_000, "00000000000000000000004", "-4", "+4", "4.0", "0x4", "\u00b2", "4\u00b2", "1e2", ""]  # fmt: skip

# What a number stands for in an answer; the body has four bytes, whatever is said of it.
ANSWERS: dict[str, Callable[[str], str]] = {
    "length": lambda number: f"200 OK\r\ncontent-length: {number}",
    "first": lambda number: f"206 OK\r\ncontent-length: 4\r\ncontent-range: bytes {number}-3/4",
    "last": lambda number: f"206 OK\r\ncontent-length: 4\r\ncontent-range: bytes 0-{number}/4",
    "size": lambda number: f"206 OK\r\ncontent-length: 4\r\ncontent-range: bytes 0-3/{number}",
    "all of it": lambda number: f"206 OK\r\ncontent-length: 4\r\ncontent-range: bytes {number}-{number}/{number}",
    "age": lambda number: f"200 OK\r\ncontent-length: 4\r\nage: {number}",
    "lifetimes": lambda number: f"200 OK\r\ncontent-length: 4\r\ncache-control: max-age={number}, s-maxage={number}, stale-if-error={number}",
    "targeted": lambda number: f"200 OK\r\ncontent-length: 4\r\ncdn-cache-control: max-age={number}",
    "wait": lambda number: f"503 No\r\ncontent-length: 4\r\nretry-after: {number}",
    "unsatisfied": lambda number: f"416 No\r\ncontent-length: 4\r\ncontent-range: bytes */{number}",
}  # fmt: skip


async def ask(pair: Pair, key: str, number: str) -> None:
    requests = [
        ("GET",),
        ("HEAD",),
        ("GET", f"Range: bytes={number}-"),
        ("GET", f"Range: bytes=0-{number}"),
        ("GET", f"Range: bytes=-{number}"),
        ("GET", f"Cache-Control: max-age={number}, min-fresh={number}, max-stale={number}"),
    ]
    for index, (method, *fields) in enumerate(requests):
        answer = await pair.get(f"/b/{key}{index}", *fields, method=method)
        assert answer.startswith(b"HTTP/1.1 "), answer
        assert not answer.startswith(b"HTTP/1.1 500"), answer
        head = answer.lower().partition(b"\r\n\r\n")[0]
        assert not [line for line in head.split(b"\r\n") if line.startswith(b"retry-after: ") and len(line) > 20]


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("has_disk", [False, True], ids=["memory", "disk"])
async def test_no_number_is_too_much(kind: str, has_disk: bool, tmp_path):  # type: ignore[no-untyped-def]
    cache = {"ttl": "1h", "memory": {"max_object_size": "1KiB"}}
    if has_disk:
        cache["disk"] = {"path": str(tmp_path / "cache"), "max_size": "64MiB"}
    origin = {"retry": {"attempts": 2, "backoff": "1ms", "max_backoff": "2ms"}}
    async with open_pair(cache=cache, origin=origin) as pair:
        pair.origin.closes = True
        with trio.fail_after(30):
            for number in NUMBERS:
                said = f'HTTP/1.1 {ANSWERS[kind](number)}\r\netag: "e"\r\n\r\ndata'.encode("latin-1")
                pair.origin.answer = lambda head, said=said: said
                await ask(pair, f"{NUMBERS.index(number)}-", number)
        assert "InternalError" not in pair.log.text
        assert "connection_failed" not in pair.log.text
