"""What a load asks for, and when: seeded, shared among workers without gaps or doubles."""

import socket
from collections import Counter
from itertools import chain, islice, pairwise

import pytest

from yatagarasu.bench.arrivals import arrival_times
from yatagarasu.bench.endpoint import Endpoint, make_ask
from yatagarasu.bench.mix import Item, Items, Keys, Mix, Ranges
from yatagarasu.bench.plan import Closed, Herd, Open, Plan, Share, shares
from yatagarasu.bench.worker import draw_asks
from yatagarasu.errors import ConfigError

ENDPOINT = Endpoint(socket.AF_INET, ("127.0.0.1", 80), "h:80", "/b", None)
SECOND = 1_000_000_000


def targets(mix: Mix, count: int, *, index: int = 0, workers: int = 1, seed: int = 1) -> list[str]:
    plan = Plan(url="http://h/b", mix=mix, seed=seed)
    asks = draw_asks(plan, Share(index, workers, 1, None), ENDPOINT)
    return [ask.wire.split()[1].decode() for ask in islice(asks, count)]


def test_targets_come_in_turn():
    assert targets(Items((Item("/x"), Item("/y?v=1"))), 3) == ["/b/x", "/b/y?v=1", "/b/x"]


def test_the_url_alone_is_a_target_with_its_query():
    endpoint = Endpoint(socket.AF_INET, ("127.0.0.1", 80), "h", "/b/k?v=1", None)
    plan = Plan(url="http://h/b/k?v=1")
    assert make_ask(plan, endpoint, Item(), None, None).wire == b"GET /b/k?v=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    assert make_ask(plan, endpoint, Item("/z"), None, None).wire.startswith(b"GET /b/k/z HTTP")


def test_workers_share_a_sequence_without_gaps_or_doubles():
    keys = Keys("/k", 100, is_sequential=True, first=40)
    parts = [targets(keys, 20, index=index, workers=3) for index in range(3)]
    assert sorted(chain(*parts)) == sorted(f"/b/k{number}" for number in range(40, 100))
    assert parts[1][:2] == ["/b/k41", "/b/k44"]


def test_zipf_asks_for_a_key_in_proportion_to_its_rank():
    asked = Counter(targets(Keys("/k", 1000, exponent=1.0), 20_000))
    harmonic = sum(1 / rank for rank in range(1, 1001))
    for number in (0, 1, 9):
        assert asked[f"/b/k{number}"] == pytest.approx(20_000 / harmonic / (number + 1), rel=0.15)


def test_an_exponent_of_nought_asks_for_all_keys_alike():
    asked = Counter(targets(Keys("/k", 10, exponent=0.0), 10_000))
    assert len(asked) == 10
    assert min(asked.values()) > 850


def test_weights_are_kept():
    asked = Counter(targets(Items((Item("/x"), Item("/y")), weights=(3.0, 1.0)), 8_000))
    assert asked["/b/x"] == pytest.approx(6_000, rel=0.05)


def test_the_same_seed_asks_for_the_same_and_another_worker_or_seed_for_something_else():
    keys = Keys("/k", 1000)
    assert targets(keys, 50) == targets(keys, 50)
    assert targets(keys, 50) != targets(keys, 50, index=1, workers=2)
    assert targets(keys, 50) != targets(keys, 50, seed=2)


def test_a_key_has_its_size_for_good_and_sizes_their_weights():
    keys = Keys("/k", 20_000, sizes=((10, 3.0), (1000, 1.0)))
    sizes = Counter(keys.item(number).size for number in range(20_000))
    assert sizes[10] == pytest.approx(15_000, rel=0.02)
    assert keys.item(5) == keys.item(5)
    assert keys.item(5).seed != keys.item(6).seed


def test_ranges_lie_inside_their_objects():
    plan = Plan(url="http://h/b", mix=Ranges((Item("/x", 1000, 0), Item("/y", 50, 0)), 100, align=10))
    starts = set()
    for ask in islice(draw_asks(plan, Share(0, 1, 1, None), ENDPOINT), 500):
        size = 1000 if b" /b/x " in ask.wire else 50
        length = min(100, size)
        assert f"Range: bytes={ask.start}-{ask.start + length - 1}\r\n".encode() in ask.wire
        assert (ask.status, ask.size, ask.start % 10) == (206, length, 0)
        assert ask.start + length <= size
        starts.add(ask.start)
    assert {0, 900} <= starts


def test_ranges_in_order_cover_every_byte_once_over_all_workers():
    mix = Ranges((Item("/x", 250, 0), Item("/y", 100, 0)), 100, is_sequential=True)
    plan = Plan(url="http://h/b", mix=mix)
    found = []
    for index in range(2):
        asks = islice(draw_asks(plan, Share(index, 2, 1, None), ENDPOINT), 2)
        found += [(ask.wire.split()[1].decode(), ask.start, ask.size) for ask in asks]
    assert sorted(found) == [("/b/x", 0, 100), ("/b/x", 100, 100), ("/b/x", 200, 50), ("/b/y", 0, 100)]


def test_even_arrivals_are_even_over_all_workers():
    plan = Plan(url="http://h", arrival=Open(1000.0, is_poisson=False))
    parts = [islice(arrival_times(plan, Share(index, 2, 1, None), 5 * SECOND), 3) for index in range(2)]
    times = sorted(time for part in parts for time in part)
    assert times == [5 * SECOND + number * SECOND // 1000 for number in range(6)]


def test_poisson_arrivals_keep_the_rate_and_vary_as_they_must():
    plan = Plan(url="http://h", arrival=Open(1000.0))
    share = Share(0, 2, 1, None)
    times = list(islice(arrival_times(plan, share, 0), 5_000))
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(SECOND / 500, rel=0.05)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.1)
    assert times == list(islice(arrival_times(plan, share, 0), 5_000))


def test_a_herd_comes_once_each_within_its_jitter():
    plan = Plan(url="http://h", arrival=Herd(0.5))
    times = list(arrival_times(plan, Share(0, 1, 200, None), SECOND))
    assert len(times) == 200
    assert times == sorted(times)
    assert SECOND <= times[0] < times[-1] < SECOND * 1.5
    assert times[-1] - times[0] > SECOND * 0.4


def test_a_closed_loop_has_no_arrivals():
    assert list(arrival_times(Plan(url="http://h"), Share(0, 1, 1, None), 0)) == []


def test_a_plan_is_divided_without_loss():
    parts = shares(Plan(url="http://h", connections=10, count=23, workers=4), 1)
    assert sum(part.connections for part in parts) == 10
    assert sum(part.count or 0 for part in parts) == 23
    assert len(shares(Plan(url="http://h", connections=2), 16)) == 2
    assert len(shares(Plan(url="http://h", connections=64), 3)) == 3


@pytest.mark.parametrize(
    "plan",
    [
        Plan(url="http://h/b"),
        Plan(url="https://h", mix=Keys("/k", 5, sizes=((1, 2.0),)), arrival=Open(5.0), headers=(("a", "b"),)),
        Plan(url="http://h", mix=Ranges((Item("/x", 9, 1),), 3), arrival=Herd(0.1), cores=(0, 1), server_pids=(1,)),
        Plan(url="http://h", mix=Items((Item("/x"),), (1.0,)), arrival=Closed(), count=5, seconds=None),
    ],
)
def test_a_plan_travels_as_json(plan: Plan):
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"connections": 0}, "connection"),
        ({"seconds": None}, "no end"),
        ({"seconds": 0.0}, "seconds"),
        ({"count": 0}, "count"),
        ({"count": 5, "warmup_seconds": 1.0}, "warm up"),
        ({"arrival": Open(0.0)}, "rate"),
        ({"check": 1.5}, "check"),
        ({"method": "PUT"}, "method"),
        ({"mix": Items(())}, "nothing"),
        ({"mix": Ranges((Item("/x"),), 5)}, "known sizes"),
        ({"workers": 0}, "worker"),
    ],
    ids=str,
)
def test_a_load_that_cannot_run_is_refused(wrong: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        Plan(url="http://h", **wrong)  # type: ignore[arg-type]
