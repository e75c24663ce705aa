"""`yatagarasu bench`: comes with issue 4 of the roadmap."""

import typer


def bench() -> None:
    """Benchmark a proxy locally (comes with issue 4 of the README's roadmap)."""
    typer.echo("yatagarasu: bench comes with issue 4; see the roadmap in the README", err=True)
    raise typer.Exit(2)
