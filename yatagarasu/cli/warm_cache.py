"""`yatagarasu warm-cache`: objects of a list into the cache, before anybody asks for them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ListFormat(StrEnum):
    """Formats of object lists."""

    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"
    INVENTORY = "inventory"
    PARQUET = "parquet"
    S3LS = "s3ls"


def warm_cache(
    lists: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LIST]...",
            help="Object lists: text, CSV, JSON lines, S3 Inventory's manifest.json, Parquet, any of them gzipped; "
            "- is standard input. None: the bucket is listed, --prefix says from where.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file of the cache.", show_default=False)
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(
            "--via",
            metavar="URL",
            help="Warm what answers there, our server or any other. Without --config, keys are put behind it.",
            show_default=False,
        ),
    ] = None,
    bucket: Annotated[
        str | None, typer.Option("--bucket", help="The config's bucket of keys that name none.", show_default=False)
    ] = None,
    format: Annotated[
        ListFormat | None, typer.Option("--format", help="Of the lists, where it cannot be seen.", show_default=False)
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Only keys that begin with it.", show_default=False)
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="GLOB", help="Only keys that match one of these.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="No keys that match one of these.")
    ] = None,
    newer_than: Annotated[
        str | None,
        typer.Option(
            "--newer-than",
            metavar="AGE|DATE",
            help='Only objects modified since: "7d", "2026-01-31".',
            show_default=False,
        ),
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", metavar="SIZE", help="No objects larger than this.", show_default=False)
    ] = None,
    head_only: Annotated[bool, typer.Option("--head-only", help="Heads without bodies.")] = False,
    ranges: Annotated[
        str | None,
        typer.Option(
            "--ranges",
            metavar="RANGES",
            help='Parts of objects: "first=1MiB,last=64KiB" is what readers of Parquet and video ask for first.',
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-j", help="Objects at once.")] = 32,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Requests per second, at the most.", show_default=False)
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option("--bandwidth", metavar="SIZE", help='Bytes per second on average: "50MiB".', show_default=False),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A malformed line ends it.")] = False,
    allow_failures: Annotated[
        str, typer.Option("--allow-failures", metavar="N%", help="Exit with 0 where no more than these fail.")
    ] = "0%",
    failed: Annotated[
        Path | None,
        typer.Option(
            "--failed", metavar="FILE", help="Write the keys that failed there, a list again.", show_default=False
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Where it is noted what is done.", show_default=False),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again, even where an interrupted job could go on.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no list of failures.")] = False,
) -> None:
    """Put the objects of a list into the cache. Interrupted, the same command goes on where it was.

    Exit code 0: all of them are there; 1: some failed; 2: usage.
    """
    from yatagarasu.errors import ConfigError
    from yatagarasu.warm.order import Order

    order = Order(
        bucket=bucket,
        lists=tuple(lists or ()),
        format=format.value if format is not None else None,
        prefix=prefix,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        newer_than=newer_than,
        max_bytes=max_bytes,
        head_only=head_only,
        ranges=ranges,
        concurrency=concurrency,
        rate=rate,
        bandwidth=bandwidth,
        strict=strict,
    )
    try:
        allowed = _percent(allow_failures)
        if config is None and via is None:
            raise ConfigError("give --config FILE, or --via URL")
        if not order.lists and prefix is None:
            raise ConfigError('give object lists, or --prefix ("" is the whole bucket)')
        import time

        order.settings(time.time())
    except ConfigError as exc:
        typer.echo(f"yatagarasu warm-cache: {exc}", err=True)
        raise typer.Exit(2) from exc
    import trio

    from yatagarasu.cli.serve import load_config, tune_process
    from yatagarasu.cli.warming import Warming

    loaded = load_config(config, None) if config is not None else None
    warming = Warming(
        order,
        loaded,
        via,
        config_path=config,
        journal_path=journal,
        failed_path=failed,
        restarts=restart,
        is_quiet=quiet,
    )
    tune_process()
    tally = trio.run(warming.run)
    if json_:
        import json

        typer.echo(json.dumps(tally.to_dict(), indent=1))
    else:
        typer.echo(tally.render(), nl=False)
    if warming.is_interrupted:
        raise typer.Exit(130)
    if not tally.is_good(allowed):
        raise typer.Exit(1)


def _percent(text: str) -> float:
    from yatagarasu.errors import ConfigError

    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ConfigError(f'allow-failures: {text!r} is not a share like "1%"')
    return value
