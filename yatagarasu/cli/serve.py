"""`yatagarasu serve`: the proxy."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from yatagarasu.config.model import Config


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file to serve by.", show_default=False)
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Serve sample objects from an embedded S3 origin; needs no config.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option("--listen", help="Listen here instead of where the config says.", show_default=False),
    ] = None,
) -> None:
    """Serve S3 buckets through the cache until SIGTERM or SIGINT; SIGHUP reads the config again."""
    if demo == (config is not None):
        typer.echo("yatagarasu serve: give either --config FILE or --demo", err=True)
        raise typer.Exit(2)
    keep_standard_streams()
    # Until somebody listens to it the signal would end the process; `server.lifecycle.take_reloads` lets it in.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    import trio

    if demo:
        from yatagarasu.cli.demo import serve_demo

        raise typer.Exit(trio.run(serve_demo, listen or "127.0.0.1:8080"))
    assert config is not None
    from yatagarasu import app, fleet

    def reread() -> "Config":
        return load_config(config, listen)

    first = reread()
    tune_process()

    if fleet.worker_count(first) > 1:
        raise typer.Exit(fleet.serve(first, reread=reread, on_ready=say))

    def announce(system: app.System) -> None:
        say(app.banner(system))

    async def run() -> int:
        return await app.serve(first, reread=reread, on_ready=announce)

    raise typer.Exit(trio.run(run))


def say(line: str) -> None:
    """Tell who has started us; that nobody can read it is no reason not to serve."""
    with suppress(OSError):
        typer.echo(line, err=True)


def keep_standard_streams() -> None:
    """Open those of the three that are closed on the null device.

    Else sockets and files would get their numbers, and what is meant for the log would be written into them.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free: this one.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for as long as the process lives
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115  # likewise


def tune_process() -> None:
    """Set this process up for a cache: as many descriptors as the system grants, no needless collections."""
    import gc
    import resource

    # The cache is made of long-lived objects without cycles: looking through it often finds nothing.
    gc.set_threshold(20_000, 20, 50)
    # The disk tier's thread asks for the interpreter after each system call: five milliseconds each is too long.
    sys.setswitchinterval(0.001)
    # The soft limit is often 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load_config(path: Path, listen: str | None) -> "Config":
    """Load a config or raise a ConfigError that shows every problem of it."""
    from yatagarasu.config.load import load_file
    from yatagarasu.config.report import render_text
    from yatagarasu.errors import ConfigError

    loaded = load_file(path, os.environ)
    if loaded.config is None:
        problems = render_text(loaded.problems, {str(path): loaded.text}).rstrip()
        raise ConfigError(f"{path} cannot be served by:\n{problems}")
    if listen is not None:
        loaded.config.server.listen = [listen]
    return loaded.config
