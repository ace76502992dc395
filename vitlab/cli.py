"""The command `vitlab`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Vision Transformers, from patches to pixels.", no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Vision Transformers, from patches to pixels."""


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="Folder for throughput.json and throughput.png.")] = Path("book/results"),
    rounds: Annotated[int, typer.Option(min=2, help="How often each implementation takes its turn.")] = 9,
) -> None:
    """Measure speed and memory beside transformers (and timm, where it imports). Takes some minutes."""
    from vitlab import bench as benchmark  # here, because it needs torch, which takes seconds to import

    benchmark.run(out, rounds, say=typer.echo)
    typer.echo(f"Written: {out / 'throughput.json'}, {out / 'throughput.png'}")
