"""All scenarios, and what runs where none is named."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from yatagarasu.bench.scenario import Needs, Scenario
from yatagarasu.bench.scenarios.coalescer import COALESCER
from yatagarasu.bench.scenarios.connections import CONNECTIONS
from yatagarasu.bench.scenarios.faults import SURVIVAL
from yatagarasu.bench.scenarios.herds import COALESCING, STAMPEDE
from yatagarasu.bench.scenarios.loads import HIT, LARGE, MISS, MIXED, RANGE
from yatagarasu.errors import ConfigError

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (HIT, MISS, MIXED, STAMPEDE, RANGE, LARGE, COALESCING, SURVIVAL, COALESCER, CONNECTIONS)
}
# What a stage can do at the most, and what scenarios it can then be asked for.
_ENOUGH = {
    Needs.OURS: {Needs.OURS, Needs.ORIGIN, Needs.ANYTHING},
    Needs.ORIGIN: {Needs.ORIGIN, Needs.ANYTHING},
    Needs.ANYTHING: {Needs.ANYTHING},
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A scenario, how it is set, how long each load of it takes (seconds; None is as asked for), how often."""

    scenario: Scenario
    given: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    runs: int | None = None


def tour(seconds: float, needs: Needs) -> list[Turn]:
    """Every scenario once, in about `seconds`; those that need what there is not are left out."""
    each = seconds / 15
    turns = [
        Turn(HIT, {}, each, 1),
        Turn(MISS, {}, each, 1),
        Turn(MIXED, {}, each, 1),
        Turn(STAMPEDE, {}, each, 1),
        Turn(RANGE, {}, each, 1),
        Turn(LARGE, {}, each, 1),
        Turn(COALESCING, {}, each, 1),
        Turn(SURVIVAL, {"when": "once", "clients": "8"}, each, 1),
        Turn(COALESCER, {"count": "5000"}, each, 1),
        Turn(CONNECTIONS, {"count": "1000"}, each, 1),
    ]
    return [turn for turn in turns if turn.scenario.needs in _ENOUGH[needs]]


def chosen(names: list[str], given: list[str], needs: Needs) -> list[Turn]:
    """The scenarios of these names; `given` are "name=value" or "scenario.name=value".

    Raises:
        ConfigError: a scenario, a parameter or a value that there is not, or that cannot be measured here.
    """
    for name in names:
        if name not in SCENARIOS:
            raise ConfigError(f"there is no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
        if SCENARIOS[name].needs not in _ENOUGH[needs]:
            raise ConfigError(f"{name} needs {SCENARIOS[name].needs.value}; see --origin in `yatagarasu bench --help`")
    return [Turn(SCENARIOS[name], settings) for name, settings in _settings(names, given).items()]


def _settings(names: list[str], given: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for text in given:
        left, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected name=value")
        scenario, dot, name = left.rpartition(".")
        if dot and scenario not in found:
            raise ConfigError(f"--set {text}: {scenario!r} is not among the scenarios to run")
        taking = [scenario] if dot else [each for each in names if _has(SCENARIOS[each], name)]
        if not taking:
            raise ConfigError(f"--set {text}: no parameter of {', '.join(names)} is called {name!r}; see --list")
        for each in taking:
            found[each][name] = value
    for each, settings in found.items():
        SCENARIOS[each].settings(settings)
    return found


def _has(scenario: Scenario, name: str) -> bool:
    return any(parameter.name == name for parameter in scenario.parameters)
