"""The command line: one file per subcommand, each parses, calls, prints and sets the exit code.

Heavy imports (boto3, httpx, pydantic, trio) happen inside the commands: `--help` must be quick.
"""

import sys
from typing import Annotated

import typer

from yatagarasu import __version__
from yatagarasu.cli.bench import bench
from yatagarasu.cli.serve import serve
from yatagarasu.cli.validate_config import validate_config
from yatagarasu.cli.warm_cache import warm_cache
from yatagarasu.errors import ConfigError, YatagarasuError, describe, first_of
from yatagarasu.observe.scrub import strike_signatures

app = typer.Typer(
    name="yatagarasu",
    help="A read-only S3 caching proxy: a stampede costs one origin request, a broken origin no download.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve)
app.command("validate-config")(validate_config)
app.command("warm-cache")(warm_cache)
app.command("bench")(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"yatagarasu {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run() -> int:
    """Run a command; known errors become one line on stderr, unknown ones a traceback."""
    try:
        result = app(standalone_mode=True)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    except (YatagarasuError, BaseExceptionGroup) as exc:
        known = first_of(exc, YatagarasuError)
        if known is None:
            raise
        said = known if isinstance(known, ConfigError) else describe(known)
        print(strike_signatures(f"yatagarasu: {said}"), file=sys.stderr)
        return 1
    return int(result or 0)
