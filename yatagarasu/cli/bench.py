"""`yatagarasu bench`: how fast, how steady, how sturdy; our own server, or anybody's."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="What to measure; none: a tour of all.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[SCENARIO.]NAME=VALUE", help="A scenario's parameter; --list has them."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Describe the scenarios and their parameters.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="Of each load [5]; of the tour as a whole [30].", min=0.2, max=3600),
    ] = None,
    runs: Annotated[int | None, typer.Option("--runs", help="Of each case [3; in the tour 1].", min=1, max=100)] = None,
    connections: Annotated[
        int | None, typer.Option("--connections", "-c", help="Clients of steady loads [32].", min=1, max=50_000)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="URL", help="Measure what answers there instead.", show_default=False),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            metavar="URL",
            help="The target's origin is an embedded one, which answers there (see --origin-listen), and URL + /key "
            "is an object of its bucket.",
            show_default=False,
        ),
    ] = None,
    pids: Annotated[
        list[int] | None,
        typer.Option("--pid", help="A process of the target: its share of a core is measured.", show_default=False),
    ] = None,
    origin_listen: Annotated[
        str | None,
        typer.Option(
            "--origin-listen",
            metavar="HOST:PORT",
            help="Only start the embedded origin there, to put any proxy in front of it.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Measure the private server with this config's settings; objects still come from the embedded origin.",
            show_default=False,
        ),
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report there.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots there.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="An older report to compare with.", show_default=False),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under",
            metavar="RATIO",
            help="Exit with 1 where a figure is less than so much of the older one, and that is not noise.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a caching proxy. Without arguments: a tour of about 30 seconds.

    Exit code 0: all that had to hold did; 1: something did not, or --fail-under; 2: usage.
    """
    from yatagarasu.bench.compare import compare_reports, unmatched
    from yatagarasu.cli.benching import Wanted, read_report, run_bench, serve_origin, write_file
    from yatagarasu.errors import ConfigError, first_of

    if list_:
        _print_list()
        return
    import trio

    from yatagarasu.bench.table import console_for_output, print_report
    from yatagarasu.cli.bench_watch import BenchWatch

    wanted = Wanted(
        names=scenarios or [],
        settings=settings or [],
        seconds=seconds,
        runs=runs,
        connections=connections,
        target=target,
        origin=origin,
        pids=tuple(pids or ()),
        config=config,
    )
    try:
        if origin_listen is not None:
            trio.run(serve_origin, origin_listen)
            return
        if fail_under is not None and compare is None:
            raise ConfigError("--fail-under needs --compare FILE")
        if target is not None and config is not None:
            raise ConfigError("give either --target or --config")
        if target is None and (origin is not None or pids):
            raise ConfigError("--origin and --pid are of a --target")
        wanted.turns()
        old = read_report(compare) if compare is not None else None
        with BenchWatch(is_quiet=quiet) as watch:
            report, is_interrupted = trio.run(run_bench, wanted, watch)
    except (ConfigError, BaseExceptionGroup) as exc:
        known = first_of(exc, ConfigError)
        if known is None:
            raise
        typer.echo(f"yatagarasu bench: {known}", err=True)
        raise typer.Exit(2) from exc
    changes = compare_reports(report, old) if old is not None else None
    print_report(report, changes, console_for_output())
    if old is not None and (missing := unmatched(report, old)):
        typer.echo(f"not in {compare} with the same parameters: {'; '.join(missing)}", err=True)
    try:
        if json_ is not None:
            write_file(json_, report.to_json())
        if html is not None:
            from yatagarasu.bench.page import render_page

            write_file(html, render_page(report, changes))
    except ConfigError as exc:
        typer.echo(f"yatagarasu bench: {exc}", err=True)
        raise typer.Exit(2) from exc
    if is_interrupted:
        raise typer.Exit(130)
    is_slower = fail_under is not None and any(change.is_under(fail_under) for change in changes or [])
    if is_slower or not all(row.is_good for row in report.rows):
        raise typer.Exit(1)


def _print_list() -> None:
    from yatagarasu.bench.catalogue import SCENARIOS

    for scenario in SCENARIOS.values():
        typer.echo(f"{scenario.name}: {scenario.summary}\n    measures {scenario.needs.value}")
        for parameter in scenario.parameters:
            typer.echo(f"    {parameter.name}={parameter.default or '...'}  {parameter.help}")
