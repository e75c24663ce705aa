"""Turns into a report: each scenario on the stage, one after the other."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from yatagarasu import __version__
from yatagarasu.bench.catalogue import Turn
from yatagarasu.bench.report import Report
from yatagarasu.bench.stage import ForeignStage, LocalStage


def new_report(target: str | None) -> Report:
    """An empty report of this machine."""
    return Report(
        version=__version__,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine={
            "processor": _processor(),
            "cores": str(len(os.sched_getaffinity(0))),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        target=target,
    )


async def run_turns(stage: LocalStage | ForeignStage, turns: Sequence[Turn], report: Report) -> None:
    """Run them; `report` has the rows of those that are over, also where this is cancelled."""
    report.notes = stage.notes
    seconds, runs = stage.seconds, stage.runs
    for turn in turns:
        settings = turn.scenario.settings(turn.given)
        stage.seconds = turn.seconds or seconds
        stage.runs = turn.runs or runs
        rows = await turn.scenario.run(stage, settings)
        texts = {parameter.name: parameter.default for parameter in turn.scenario.parameters} | dict(turn.given)
        for row in rows:
            row.parameters = texts | row.parameters
        report.rows += rows


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
