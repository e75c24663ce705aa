import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from yatagarasu.errors import ConfigError
from yatagarasu.server.listener import ListenerPool, close_listeners, format_address, open_listeners


@pytest.fixture
def pool() -> Iterator[ListenerPool]:
    pool = ListenerPool()
    yield pool
    pool.keep(())


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_each_worker_has_its_own_socket_of_one_port(pool: ListenerPool):
    shares = pool.spread(["127.0.0.1:0"], 3)
    assert [len(share) for share in shares] == [1, 1, 1]
    assert len({share[0].fileno() for share in shares}) == 3
    assert len({port_of(share[0]) for share in shares}) == 1


def test_the_kernel_spreads_connections_over_them(pool: ListenerPool):
    shares = pool.spread(["127.0.0.1:0"], 2)
    clients = [socket.create_connection(shares[0][0].getsockname()) for _ in range(64)]
    counts = [0, 0]
    for index, (listener,) in enumerate(shares):
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            counts[index] += 1
    for client in clients:
        client.close()
    assert sum(counts) == 64
    assert min(counts) > 5


def test_two_free_ports_are_two(pool: ListenerPool):
    shares = pool.spread(["127.0.0.1:0", "127.0.0.1:0"], 2)
    assert [len(share) for share in shares] == [2, 2]
    assert len({port_of(sock) for share in shares for sock in share}) == 2


def test_asking_again_gives_the_same_sockets(pool: ListenerPool):
    assert pool.spread(["127.0.0.1:0"], 2) == pool.spread(["127.0.0.1:0"], 2)
    assert pool.common(["127.0.0.1:0"]) == pool.common(["127.0.0.1:0"])


def test_with_fewer_workers_no_socket_is_left_alone(pool: ListenerPool):
    """Connections may be waiting in any of them."""
    before = {sock for share in pool.spread(["127.0.0.1:0"], 5) for sock in share}
    after = pool.spread(["127.0.0.1:0"], 2)
    assert [len(share) for share in after] == [3, 2]
    assert {sock for share in after for sock in share} == before


def test_with_more_workers_the_port_stays(pool: ListenerPool):
    before = {port_of(share[0]) for share in pool.spread(["127.0.0.1:0"], 1)}
    assert {port_of(share[0]) for share in pool.spread(["127.0.0.1:0"], 3)} == before


def test_what_is_not_kept_is_closed(pool: ListenerPool):
    old, new = pool.spread(["127.0.0.1:0"], 1)[0], pool.spread(["localhost:0"], 1)[0]
    pool.keep(new)
    assert [sock.fileno() >= 0 for sock in (*old, *new)] == [False, True]
    assert pool.spread(["localhost:0"], 1) == (new,)


def test_a_port_of_somebody_else_is_taken(pool: ListenerPool):
    """SO_REUSEPORT alone would let us in."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="taken by another process"):
            pool.spread([f"127.0.0.1:{port_of(taken)}"], 2)


def test_our_own_port_can_be_listened_on_more_widely(pool: ListenerPool):
    port = port_of(pool.spread(["127.0.0.1:0"], 1)[0][0])
    wide = pool.spread([f"0.0.0.0:{port}"], 2)
    assert port_of(wide[1][0]) == port


def test_workers_share_a_unix_socket(pool: ListenerPool, tmp_path: Path):
    path = tmp_path / "s"
    first, second = pool.spread([f"unix:{path}"], 2)
    assert first == second
    assert format_address(first[0]) == f"unix:{path}"
    pool.keep(())
    assert not path.exists()


def test_only_the_process_that_bound_a_unix_socket_takes_its_name_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "s"
    listeners = open_listeners([f"unix:{path}"])
    parent = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: parent + 1)
        close_listeners(listeners)
    assert path.exists()
    assert listeners[0].fileno() < 0
    close_listeners(open_listeners([f"unix:{path}"]))
    assert not path.exists()


def test_a_second_listener_on_a_unix_socket_is_refused(tmp_path: Path):
    address = f"unix:{tmp_path / 's'}"
    listeners = open_listeners([address])
    with pytest.raises(ConfigError, match="taken by another process"):
        open_listeners([address])
    close_listeners(listeners)


def test_a_name_that_cannot_be_taken_away_stays(tmp_path: Path):
    """Whoever closes has requests to finish: what stands in the way of a name must not end that."""
    path = tmp_path / "s"
    first, second = open_listeners([f"unix:{path}", f"unix:{tmp_path / 't'}"])
    path.unlink()
    path.mkdir()
    close_listeners([first, second])
    assert first.fileno() == second.fileno() == -1
    assert not (tmp_path / "t").exists()
