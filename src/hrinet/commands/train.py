"""``hrinet train``: the training of a model of the family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config_path: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A .yaml file, or the name of a recipe such as hrinet-mse."
        ),
    ],
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The cached slices.")] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Scans to build the cache from, if it lacks any."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where checkpoints, log and weights go; a run that is in it goes on.",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="Stop after this time, with a checkpoint."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a field; may be repeated."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show a progress bar even if piped.")
    ] = False,
) -> None:
    """Train a network, or go on where an earlier run stopped.

    Ctrl-C stops after the step at hand; the same command goes on from there, bit for bit.
    """
    from hrinet.commands.progress import progress_bar
    from hrinet.train.config import load_config, require_train_extra, with_folders

    require_train_extra()
    config = with_folders(
        load_config(config_path, settings or ()),
        cache=cache,
        manifest=manifest,
        output=output,
        max_minutes=max_minutes,
    )
    from hrinet.train import loop  # seconds of imports, after what may be wrong is known

    # Steps of the two kinds take different times, so the estimate has to span many of them.
    with progress_bar("training", unit="it", forced=verbose, estimate_over_s=120.0) as progress:
        result = loop.train(config, progress=progress)
    if result.is_main:
        if result.step < result.steps:
            typer.echo(
                f"stopped after step {result.step} of {result.steps}; the same command goes on"
            )
        typer.echo(f"weights: {result.weights}")
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)
