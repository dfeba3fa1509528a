"""``hrinet demo``: the whole path on a built-in phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path, typer.Option("--output", metavar="FOLDER", help="Where the results go.")
    ] = Path("demo-output"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier demo.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a torso phantom in thick slices, fill its gaps, and measure the error.

    Works offline and opens nothing; it prints where the pictures are.
    """
    from hrinet.commands.progress import progress_bar
    from hrinet.demo.run import describe_demo, run_demo

    with progress_bar("slices", unit="slices", hidden=as_json) as progress:
        result = run_demo(folder, overwrite=overwrite, progress=progress)
    if as_json:
        import json

        typer.echo(json.dumps(result))
    else:
        typer.echo(describe_demo(result))
