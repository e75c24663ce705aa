"""`yatagarasu warm-cache`: comes with issue 4 of the roadmap."""

import typer


def warm_cache() -> None:
    """Pre-warm a cache from object lists (comes with issue 4 of the README's roadmap)."""
    typer.echo("yatagarasu: warm-cache comes with issue 4; see the roadmap in the README", err=True)
    raise typer.Exit(2)
