"""``hrinet train``: the training of a model of the family, or of ``hrinet-flow``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hrinet.train.kinds import AnyConfig


def train(
    config_path: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A .yaml file, or the name of a recipe such as hrinet-flow or hrinet-mse.",
        ),
    ],
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The cached slices; not for hrinet-flow."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            help="Scans to train hrinet-flow on, or to build the cache from, if it lacks any.",
        ),
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

    Ctrl-C stops after the step at hand; the same command goes on from there. It ends in the bits of
    a run that was not stopped, unless the schedule follows the clock (minutes, of hrinet-flow).
    """
    from hrinet.commands.progress import progress_bar
    from hrinet.train.config import require_train_extra
    from hrinet.train.fields import with_given
    from hrinet.train.kinds import load_any_config

    require_train_extra()
    config = load_any_config(config_path, settings or ())
    given = {"manifest": manifest, "output": output, "max_minutes": max_minutes}
    if cache is not None:
        _refuse_cache(config)
        given["cache"] = cache
    config = with_given(config, given)

    # Steps of the two kinds take different times, so the estimate has to span many of them.
    with progress_bar("training", unit="it", forced=verbose, estimate_over_s=120.0) as progress:
        # Seconds of imports, after what may be wrong is known.
        if config.training == "flow":
            from hrinet.train.flow.loop import train_flow

            result = train_flow(config, progress=progress)
        else:
            from hrinet.train import loop

            result = loop.train(config, progress=progress)
    if result.is_main:
        if not result.is_finished:
            of_all = "" if result.steps is None else f" of {result.steps}"
            typer.echo(f"stopped after step {result.step}{of_all}; the same command goes on")
        typer.echo(f"weights: {result.weights}")
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


def _refuse_cache(config: AnyConfig) -> None:
    from hrinet.errors import RequestError

    if config.training == "flow":
        raise RequestError(
            f"--cache is not for {config.name}, whose scans are read from the manifest at full "
            "resolution; leave it out"
        )
