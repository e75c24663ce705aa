"""Which scenarios run, how they are set, what the private server's config is."""

from pathlib import Path
from typing import Any

import pytest
import tomli

from yatagarasu.bench.catalogue import SCENARIOS, chosen, tour
from yatagarasu.bench.mix import Ask, Item, Keys
from yatagarasu.bench.private import private_config
from yatagarasu.bench.scenario import Needs
from yatagarasu.bench.scenarios.faults import FAULTS
from yatagarasu.config.load import load_file
from yatagarasu.errors import ConfigError


def test_every_default_can_be_read():
    for scenario in SCENARIOS.values():
        assert set(scenario.settings({})) == {parameter.name for parameter in scenario.parameters}


def test_a_setting_goes_to_all_that_have_it_or_to_the_one_it_names():
    turns = chosen(["hit", "miss", "stampede"], ["size=1MiB", "miss.latency=5ms"], Needs.OURS)
    assert [turn.given for turn in turns] == [{"size": "1MiB"}, {"size": "1MiB", "latency": "5ms"}, {"size": "1MiB"}]


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["hti"], [], "no scenario 'hti'"),
        (["hit"], ["size"], "expected name=value"),
        (["hit"], ["latency=5ms"], "no parameter of hit is called 'latency'"),
        (["hit"], ["miss.size=1KiB"], "'miss' is not among"),
        (["hit"], ["hit.nothing=1"], "hit has no parameter 'nothing'"),
        (["hit"], ["size=banana"], "size=banana"),
        (["hit"], ["keys=0"], "at least 1"),
        (["mixed"], ["sizes=1KiB:0"], "must be positive"),
        (["mixed"], ["exponent=nan"], "at least 0"),
        (["range"], ["warm=maybe"], "yes or no"),
        (["faults"], ["when=never"], "once, always or both"),
        (["faults"], ["only=flood"], "no fault 'flood'"),
        (["faults"], ["stall_timeout=5"], "did you mean"),
    ],
)
def test_what_cannot_be_set_is_named(names: list[str], given: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        chosen(names, given, Needs.OURS)


def test_what_a_target_cannot_do_is_refused():
    assert [turn.scenario.name for turn in tour(30, Needs.ANYTHING)] == ["hit", "range", "large"]
    assert "coalescing" not in [turn.scenario.name for turn in tour(30, Needs.ORIGIN)]
    assert len(tour(30, Needs.OURS)) == len(SCENARIOS)
    with pytest.raises(ConfigError, match="stampede needs a server in front of the embedded origin"):
        chosen(["stampede"], [], Needs.ANYTHING)


def test_faults_have_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_keys_are_repeated_and_named_by_their_size():
    keys = Keys("/{size}/k", 100, sizes=((10, 1.0),), is_sequential=True, repeat=3)

    def make(item: Item, start: int | None, stop: int | None) -> Ask:
        return Ask(item.path.encode(), 200, item.size, item.seed)

    drawn = keys.draw(None, make, 1, 2)  # type: ignore[arg-type]
    # The second of two workers: numbers 1, 3, 5, 7, three of each key.
    assert [next(drawn).wire for _ in range(4)] == [b"/10/k0", b"/10/k1", b"/10/k1", b"/10/k2"]


def loaded(own: dict[str, Any] | None, tables: dict[str, Any], folder: Path) -> Any:
    text = private_config(own, tables, "http://127.0.0.1:9", folder)
    path = folder / "c.toml"
    path.write_text(text)
    assert "FOLDER" not in text
    found = load_file(path, {})
    assert found.config is not None, found.problems
    return found.config


def test_the_private_config_is_a_good_one(tmp_path: Path):
    config = loaded(None, {"cache": {"disk": {"path": "FOLDER/d"}}}, tmp_path)
    assert config.server.listen == ["127.0.0.1:0"]
    assert config.buckets[0].s3.endpoint == "http://127.0.0.1:9"
    assert str(config.cache.disk.path) == f"{tmp_path}/d"


def test_a_config_of_ones_own_keeps_what_is_measured_and_nothing_else(tmp_path: Path):
    own = tomli.loads(
        """
[server]
listen = ["0.0.0.0:80"]
idle_timeout = "9s"
[admin]
listen = "0.0.0.0:81"
[cache]
memory = { max_size = "1MiB" }
disk = { path = "/var/cache/theirs", max_size = "1GiB" }
[coalescing]
stall_timeout = "3s"
[[buckets]]
name = "theirs"
path_prefix = "/theirs"
cache = { ttl = "5m" }
[buckets.s3]
bucket = "theirs"
access_key = "AK"
secret_key = "theirs-canary"
"""
    )
    config = loaded(own, {"coalescing": {"enabled": False}}, tmp_path)
    assert config.server.listen == ["127.0.0.1:0"]
    assert config.server.idle_timeout == 9.0
    assert config.coalescing.stall_timeout == 3.0
    assert config.coalescing.enabled is False
    assert config.cache.memory.max_size == 1024 * 1024
    assert str(config.cache.disk.path) == f"{tmp_path}/disk"
    assert config.buckets[0].path_prefix == "/bench"
    assert config.buckets[0].cache.ttl == 300.0
    assert "canary" not in (tmp_path / "c.toml").read_text()
    assert own["cache"]["disk"]["path"] == "/var/cache/theirs"


def test_a_config_without_buckets_cannot_be_measured(tmp_path: Path):
    with pytest.raises(ConfigError, match="has no"):
        private_config({}, {}, "http://127.0.0.1:9", tmp_path)
