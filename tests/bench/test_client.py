"""Answers as a client of the load generator reads them, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yatagarasu.bench.checks import ErrorKind
from yatagarasu.bench.client import BUFFER_BYTES, HEAD, PENDING, Broken, Client
from yatagarasu.bench.mix import Ask
from yatagarasu.bench.pattern import pattern_bytes
from yatagarasu.bench.response import Garbage, read_head

BODY = pattern_bytes(3, 100, 900)
WHOLE = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 800\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12c\r\n" + BODY[:300] + b"\r\n1f4\r\n" + BODY[300:]
CHUNKED += b"\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\n\r\n" + BODY
BUFFER = bytearray(BUFFER_BYTES)


def client(*, size: int | None = 800, seed: int | None = 3, status: int = 200, is_head: bool = False) -> Client:
    made = Client(is_head_method=is_head, skips=True)
    made.expect(Ask(b"", status, size, seed, 100), 1)
    made.is_checked = seed is not None
    return made


def feed(made: Client, *pieces: bytes) -> int:
    """The status that the last piece brings."""
    status = PENDING
    for piece in pieces:
        assert status == PENDING
        BUFFER[: len(piece)] = piece
        status = made.receive(BUFFER, len(piece))
    return status


@pytest.mark.parametrize("message", [WHOLE, CHUNKED, INTERIM], ids=["length", "chunked", "interim"])
@given(cuts=st.lists(st.integers(1, 900), max_size=8))
def test_an_answer_is_whole_in_any_pieces(message: bytes, cuts: list[int]):
    ends = sorted({min(cut, len(message)) for cut in cuts} | {len(message)})
    pieces = [message[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    made = client()
    assert feed(made, *pieces) == 200
    assert (made.fault, made.body_bytes, made.closes) == (None, 800, False)


@given(at=st.integers(0, 799), cut=st.integers(1, 850), message=st.sampled_from([WHOLE, CHUNKED]))
def test_a_flipped_byte_is_found_in_any_place(at: int, cut: int, message: bytes):
    flipped = bytes((BODY[at] ^ 1,))
    body = BODY[:at] + flipped + BODY[at + 1 :]
    message = message.replace(BODY, body).replace(BODY[:300], body[:300]).replace(BODY[300:], body[300:])
    made = client()
    assert feed(made, message[:cut], message[cut:]) == 200
    assert made.fault is ErrorKind.BODY


def test_a_body_without_a_length_ends_with_its_connection():
    made = client()
    assert feed(made, UNTIL_CLOSED, b"") == 200
    assert (made.fault, made.closes) == (None, True)


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([b""], ErrorKind.CLOSED),
        ([b"HTTP/1.1 200 OK\r\n", b""], ErrorKind.SHORT),
        ([WHOLE[:-1], b""], ErrorKind.SHORT),
        ([CHUNKED[:-2], b""], ErrorKind.SHORT),
        ([UNTIL_CLOSED[:-1], b""], ErrorKind.SHORT),
        ([WHOLE + b"x"], ErrorKind.GARBAGE),
        ([CHUNKED + b"HTTP/1.1 200 OK\r\n\r\n"], ErrorKind.GARBAGE),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"], ErrorKind.GARBAGE),
        ([b"\x00\x01 this is not HTTP\r\n\r\n"], ErrorKind.GARBAGE),
        ([b"\x00\x01 this is not HTTP"], ErrorKind.GARBAGE),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000], ErrorKind.GARBAGE),
    ],
    ids=lambda value: None if isinstance(value, list) else value,
)
def test_a_broken_answer_has_its_kind(pieces: list[bytes], kind: ErrorKind):
    with pytest.raises(Broken) as caught:
        feed(client(), *pieces)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20 OK\r\n",
    ],
)
def test_heads_that_are_none(head: bytes):
    with pytest.raises(Garbage):
        read_head(head)


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", False),
    ],
)
def test_whether_a_connection_stays(head: bytes, closes: bool):
    assert read_head(head).closes is closes


def test_another_length_than_expected_is_a_fault():
    made = client(size=801)
    assert feed(made, WHOLE) == 200
    assert made.fault is ErrorKind.LENGTH
    made = client(size=801)
    assert feed(made, CHUNKED) == 200
    assert made.fault is ErrorKind.LENGTH


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body_whatever_they_say(status: int):
    made = client(status=status, size=None, seed=None)
    assert feed(made, b"HTTP/1.1 %d X\r\nContent-Length: 800\r\n\r\n" % status) == status
    assert made.body_bytes == 0


def test_an_answer_to_head_has_the_length_and_no_body():
    made = client(is_head=True)
    assert feed(made, WHOLE[: -len(BODY)]) == 200
    assert (made.fault, made.shape) == (None, None)


def test_an_answer_that_came_at_once_leaves_its_outline():
    made = client()
    feed(made, WHOLE)
    assert made.shape is not None
    assert made.shape.length_field == b"\r\nContent-Length: 800\r\n"
    made.expect(made.ask, 2)
    assert made.left == HEAD
    made.take_whole(BUFFER, made.shape.head_end + 4, made.shape.size, made.shape.status)
    assert (made.fault, made.body_bytes) == (None, 800)


@pytest.mark.parametrize(
    "message",
    [WHOLE.replace(b"Server: x", b"Connection: close"), WHOLE[:-1], CHUNKED],
    ids=["closes", "in pieces", "chunked"],
)
def test_other_answers_leave_none(message: bytes):
    made = client()
    feed(made, message)
    assert made.shape is None


def test_bytes_that_nobody_checks_are_skipped_once_the_head_is_read():
    made = client(seed=None)
    assert feed(made, WHOLE[:100]) == PENDING
    assert made.flags
    checked = client()
    assert feed(checked, WHOLE[:100]) == PENDING
    assert not checked.flags
    made.expect(made.ask, 2)
    assert not made.flags
