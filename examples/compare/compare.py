"""Ourselves, nginx and Varnish before the same origin, under the same loads: `python examples/compare/compare.py`.

What is installed decides what is compared (Debian: nginx-light, varnish). Each server runs on the first core, the
origin and the load generator on the others. Prints Markdown; each server's report is kept as JSON in --out.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yatagarasu.bench.figures import cell, duration
from yatagarasu.bench.report import Report, Row

HERE = Path(__file__).resolve().parent
ORIGIN = "127.0.0.1:19400"
LOADS = ["hit", "miss", "mixed", "range", "large", "stampede", "faults"]
YATAGARASU = [sys.executable, "-m", "yatagarasu"]
CORES = sorted(os.sched_getaffinity(0))


def servers(folder: Path) -> dict[str, tuple[list[str], int]]:
    """Commands and ports of those that are installed."""
    found = {"yatagarasu": ([*YATAGARASU, "serve", "-c", str(HERE / "yatagarasu.toml")], 19403)}
    nginx, varnish = shutil.which("nginx", path=_path()), shutil.which("varnishd", path=_path())
    if nginx is not None:
        # Its workers must get at the folder, whoever they run as.
        command = [nginx, "-p", str(folder), "-c", str(HERE / "nginx.conf")]
        found["nginx"] = ([*command, "-g", "user root;"] if os.geteuid() == 0 else command, 19401)
    if varnish is not None:
        options = ["-F", "-n", str(folder / "varnish"), "-f", str(HERE / "varnish.vcl"), "-a", "127.0.0.1:19402"]
        found["Varnish"] = ([varnish, *options, "-s", "malloc,4g"], 19402)
    return found


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@contextmanager
def running(command: list[str], port: int, cores: set[int], folder: Path) -> Iterator[int]:
    """Run a server on some cores until the block ends; yields its process id."""
    with (folder / "output").open("ab") as output:
        environment = os.environ | {"FOLDER": str(folder)}
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
    try:
        os.sched_setaffinity(process.pid, cores)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start:\n{(folder / 'output').read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(name: str, port: int, pid: int, options: argparse.Namespace) -> Report:
    """Bench one server; its report."""
    out = options.out / f"{name.lower()}.json"
    target = ["--target", f"http://127.0.0.1:{port}/bench", "--origin", f"http://{ORIGIN}", "--pid", str(pid)]
    amount = ["--seconds", str(options.seconds), "--runs", str(options.runs), "--json", str(out), "--quiet"]
    command = [*YATAGARASU, "bench", *options.load, *target, *amount]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    # 1: something did not hold, which is a result.
    if done.returncode not in (0, 1):
        raise SystemExit(f"bench of {name} ended with {done.returncode}: {done.stderr}")
    return Report.from_json(out.read_text(), str(out))


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [headings, ["---", *("--:" for _ in headings[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def loads_table(reports: dict[str, Report]) -> str:
    """Requests per second, p99 and origin requests of every steady load; the last client's time for herds."""
    rows = []
    for name in dict.fromkeys(row.name for report in reports.values() for row in report.rows):
        if name.startswith("faults"):
            continue
        cells = [name]
        for report in reports.values():
            row = next((row for row in report.rows if row.name == name), None)
            cells.append(told(row) if row is not None else "-")
        rows.append(cells)
    return table(["load", *reports], rows)


def told(row: Row) -> str:
    """One cell: what counts for this load."""
    errors = sum(row.errors.values())
    failed = f", **{errors:,} errors**" if errors else ""
    if row.scenario == "stampede":
        return f"all done in {duration(row.median('max') or 0)}, origin asked {cell(row, 'origin_requests')}{failed}"
    if row.scenario == "large":
        return f"{cell(row, 'throughput')} MB/s{failed}"
    ratio = row.median("hit_ratio")
    hits = f", {ratio:.0%} hits" if ratio is not None else ""
    return f"{cell(row, 'rate')}/s, p99 {cell(row, 'p99')}{hits}{failed}"


def survival_table(reports: dict[str, Report]) -> str:
    """Whole / refused / cut / wrong, and origin requests, of every fault."""
    names = list(dict.fromkeys(row.case for r in reports.values() for row in r.rows if row.scenario == "faults"))
    rows = []
    for case in names:
        cells = [case]
        for report in reports.values():
            row = next((row for row in report.rows if row.case == case), None)
            cells.append(fate(row) if row is not None else "-")
        rows.append(cells)
    return table(["the origin …", *reports], rows) if rows else ""


def fate(row: Row) -> str:
    """What became of a herd: "32 whole", or the parts; origin requests in brackets."""
    parts = [f"{row.median(name):,.0f} {name}" for name in ("whole", "refused", "cut") if row.median(name)]
    if row.median("wrong"):
        parts.append(f"**{row.median('wrong'):,.0f} wrong**")
    return f"{', '.join(parts)} ({cell(row, 'origin_requests')})"


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", nargs="*", default=LOADS, help=f"scenarios [{' '.join(LOADS)}]")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--runs", type=int, default=3, help="of each load")
    parser.add_argument("--out", type=Path, default=Path("compare-results"), help="folder for the reports")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rest = set(CORES[1:]) or set(CORES)
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory(prefix="yatagarasu-compare-") as name:
        base = Path(name)
        base.chmod(0o755)
        origin = [*YATAGARASU, "bench", "--origin-listen", ORIGIN]
        with running(origin, int(ORIGIN.rpartition(":")[2]), rest, base):
            os.sched_setaffinity(0, rest)
            for server, (command, port) in servers(base).items():
                print(f"measuring {server}", file=sys.stderr, flush=True)
                folder = base / server
                folder.mkdir()
                if server == "nginx":
                    command[command.index(str(base))] = str(folder)
                with running(command, port, {CORES[0]}, folder) as pid:
                    reports[server] = measure(server, port, pid, options)
    missing = [name for name in ("nginx", "Varnish") if name not in reports]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    print(loads_table(reports))
    print()
    print(survival_table(reports))


if __name__ == "__main__":
    main()
