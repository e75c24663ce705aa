"""Who used which share of a core, as Linux counts it: processes with their children, and whole cores."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def process_tree(pid: int) -> Iterator[int]:
    """A process and what descends from it, as far as it still runs."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # It has ended.
            continue
        for child in children:
            yield from process_tree(int(child))


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """CPU time so far of each process of these trees; those that have ended are left out."""
    found = {}
    for root in pids:
        for pid in process_tree(root):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def core_seconds(core: int) -> float:
    """Seconds for which a core has not been idle since the machine started; 0.0 where that is not known."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    for line in lines:
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / _TICKS
    return 0.0
