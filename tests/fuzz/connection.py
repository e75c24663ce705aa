"""A whole client connection: its bytes, played against the real reactor, connection and pipeline.

What answers a request depends on what is known by its bytes, and on the pieces that they come in; what the answer is
must not. So the same bytes are played to a server that takes the long way with everything, and to one that gets to
know them and then knows them, in one piece and in many.
"""

import contextlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from unittest import mock

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import Rig, WallClock
from tests.fuzz.hold import hold
from tests.fuzz.second_reader import Answer, Asked, read_answers, read_requests, values_of
from tests.fuzz.served import KIB, Records, Stored, opened, small_turns, stored
from yatagarasu.errors import first_of
from yatagarasu.server.reactor import Reactor

_MAX_BYTES = 2 * KIB
# What surely fits into a socket's buffer.
_ROOM_BYTES = 48 * KIB
_AGE_SECONDS = 100.0
_SETTLING_SECONDS = 0.5


@dataclass(frozen=True)
class Played:
    """What came of the bytes of a connection: every answer, and whether it was closed then; `logged` as the log is."""

    answers: Sequence[Answer]
    is_closed: bool
    logged: Sequence[tuple[int, int]] = field(compare=False)


def connection(data: bytes) -> None:
    """The bytes of one client connection; the first two say how it is cut and how the client takes what it gets."""
    seed, stream = data[:2], data[2:_MAX_BYTES]
    if not stream:
        return
    clock, cached = MockClock(autojump_threshold=0), stored()
    clock.jump(_AGE_SECONDS)
    # What runs first of what may run is trio's to decide, at random: an input is to be played the same again.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    with mock.patch("time.time", WallClock()):
        try:
            trio.run(_compare, cached, stream, int.from_bytes(seed, "big"), clock=clock)
        except ExceptionGroup as group:
            raise first_of(group, Exception) or group from None


async def _compare(cached: Stored, stream: bytes, seed: int) -> None:
    rng, asked = random.Random(seed), read_requests(stream)
    async with opened(cached) as served:
        rig, cold, warm = served.rig, served.cold, served.warm
        expected = await _play(rig, cold, [stream], asked)
        _check(expected, asked)
        with small_turns():
            found = await _play(rig, cold if seed % 4 == 0 else warm, _pieces(stream, rng), asked, rng)
            hold(found == expected, f"in pieces: {_difference(found, expected)}")
            await _leave(warm, _pieces(stream, rng), rng)
        for way in ("at first", "when it is known"):
            found = await _play(rig, warm, [stream], asked)
            hold(found == expected, f"{way}: {_difference(found, expected)}")
            _check(found, asked)
        with small_turns():
            found = await _play(rig, warm, _pieces(stream, rng), asked, rng)
            hold(found == expected, f"when it is known, in pieces: {_difference(found, expected)}")
        await trio.sleep(_SETTLING_SECONDS)
        hold(rig.coalescer.is_idle and not rig.coalescer.waiting, f"left over: {rig.coalescer!r}")
        hold(rig.origin.open_responses == 0, "an origin's answer was left open")
        log = "".join(rig.log_lines)
        hold("connection_failed" not in log and "InternalError" not in log, log)


def _difference(found: Played, expected: Played) -> str:
    for number, (ours, theirs) in enumerate(zip(found.answers, expected.answers, strict=False)):
        if ours != theirs:
            return f"answer {number} is {ours!r}\nnot {theirs!r}"[:2000]
    return f"{len(found.answers)} answers, {found.is_closed=}, not {len(expected.answers)}, {expected.is_closed=}"


def _check(played: Played, asked: Asked) -> None:
    """No more answers than requests, and no fewer, but for a refusal, which ends it."""
    answers = played.answers
    hold(all(answer.status < 500 or answer.status == 504 for answer in answers), f"{answers!r}"[:2000])
    hold(not any(answer.closes for answer in answers[:-1]), "an answer after the last one")
    good = answers[:-1] if answers and answers[-1].is_refusal else answers
    hold(len(good) <= len(asked.requests), f"{len(good)} answers to {asked!r}")
    hold(played.is_closed == bool(answers and answers[-1].closes), "closed without a word, or not closed")
    if not played.is_closed:
        hold(len(answers) == len(asked.requests), f"{len(answers)} answers to {asked!r}")
    for request, answer in zip(asked.requests, answers, strict=False):
        wants_the_origins = values_of(request, b"cache-control") & {b"no-cache", b"no-store"}
        hold(not wants_the_origins or answer.cache != b"HIT", f"{answer!r} to {request!r}"[:2000])
    hold(played.logged == [answer.logged for answer in answers], f"in the log: {played.logged!r}")


async def _play(
    rig: Rig, reactor: Reactor, pieces: Sequence[bytes], asked: Asked, rng: random.Random | None = None
) -> Played:
    """Send pieces and read all that comes; `rng` decides what happens between them."""
    rig.pipeline.access_log = records = Records()
    has_room = rng is None or rng.random() < 0.5
    client, got, is_closed = _connect(reactor, has_room=has_room), bytearray(), False
    for piece in pieces:
        is_closed = is_closed or not _send(client, piece)
        if rng is not None:
            await _turns(rng)
            if rng.random() < 0.5:
                is_closed = _take(client, got) or is_closed
    counts = [-1]
    while counts[-1] < len(got):
        counts.append(len(got))
        await wait_all_tasks_blocked()
        is_closed = _take(client, got) or is_closed
    # Nobody has to read, or send, for it to go on.
    hold(len(counts) <= 3 or not has_room or len(got) > _ROOM_BYTES, f"it got stuck: {counts}")
    client.close()
    await wait_all_tasks_blocked()
    hold(not reactor.connections, f"left over: {reactor.connections!r}")
    return Played(read_answers(bytes(got), asked, is_closed=is_closed), is_closed, records.lines)


async def _leave(reactor: Reactor, pieces: Sequence[bytes], rng: random.Random) -> None:
    """A client that goes away in the middle, with or without reading: nothing is left of it."""
    client = _connect(reactor, has_room=rng.random() < 0.5)
    for piece in pieces[: rng.randrange(len(pieces) + 1)]:
        _send(client, piece)
        await _turns(rng)
        if rng.random() < 0.3:
            with contextlib.suppress(OSError):
                client.recv(2 * KIB)
    client.close()
    await wait_all_tasks_blocked()
    hold(not reactor.connections, f"left over: {reactor.connections!r}")


def _connect(reactor: Reactor, *, has_room: bool) -> socket.socket:
    ours, client = socket.socketpair()
    client.setblocking(False)
    if not has_room:
        # As little as the kernel allows: what is sent does not fit.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    reactor.take(ours, "127.0.0.1")
    return client


def _send(client: socket.socket, piece: bytes) -> bool:
    """Send; whether the server is still there. Its buffer holds more than any input."""
    try:
        hold(client.send(piece) == len(piece), "the buffer is too small")
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _take(client: socket.socket, got: bytearray) -> bool:
    """Read what is there; whether that was the end. A client that is told so closes, too."""
    while True:
        try:
            data = client.recv(64 * KIB)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        if not data:
            client.shutdown(socket.SHUT_WR)
            return True
        got += data


async def _turns(rng: random.Random) -> None:
    """Let the server have some turns, or none: two are enough to read what was sent and answer it."""
    for _ in range(rng.choice((0, 2, 2, 3, 6))):
        await trio.lowlevel.checkpoint()


def _pieces(stream: bytes, rng: random.Random) -> list[bytes]:
    """Cut a stretch into bytes, or all at the lines' ends, or anywhere, or not at all."""
    way, cuts = rng.randrange(5), list[int]()
    if way == 0:
        start = rng.randrange(len(stream))
        cuts = list(range(start, min(start + 40, len(stream))))
    elif way == 1:
        # Between CR and LF is where it hurts.
        cuts = [pos + 1 for pos, byte in enumerate(stream) if byte == 13][:40]
    elif way < 4:
        cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.choice((1, 2, 8, 30))))
    return [stream[start:stop] for start, stop in pairwise([0, *cuts, len(stream)]) if start < stop]
