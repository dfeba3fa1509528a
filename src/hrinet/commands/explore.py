"""``hrinet explore`` and ``hrinet curves``: pictures of what a training has brought about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrinet.explore.cases import CASES


def explore(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            help="A .safetensors file, the output folder of 'hrinet train', or a model that ships.",
        ),
    ],
    input_path: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A scan as for 'interpolate', or a cache.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT_FOLDER", help="Where pictures go.")],
    cases: Annotated[
        str | None,
        typer.Option(metavar="A,B", help=f"Some of {', '.join(CASES)}; all that can be drawn."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="WEIGHTS", help="A further row of the strips; may be repeated."),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option("--slice", metavar="N", help="Index of the slice to show; the middle one."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the random samples.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing pictures.")
    ] = False,
) -> None:
    """Draw what a trained network makes of slices: the thesis's figures for your own weights."""
    from hrinet.explore.cases import parse_cases, require_torch_extra

    asked = parse_cases(cases)
    require_torch_extra()
    from hrinet.explore import run

    options = run.Options(
        cases=asked, beside=tuple(beside or ()), at=at, seed=seed, overwrite=overwrite
    )
    for path in run.explore(weights, input_path, folder, options):
        typer.echo(f"Written: {path}")


def curves(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_FOLDER...", help="Output folders of trainings.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT.png", help="The picture to write.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing picture.")
    ] = False,
) -> None:
    """Draw the learning curves of one or more trainings, finished or going on."""
    from hrinet.errors import RequestError
    from hrinet.explore.curves import draw_curves, read_curves
    from hrinet.io.staging import Staging

    if output.suffix.lower() != ".png":
        raise RequestError(f"{output}: expected a file name that ends in .png")
    picture = draw_curves([read_curves(folder) for folder in runs])
    with Staging(overwrite=overwrite) as staging:
        picture.save(staging.path(output), format="PNG")
    typer.echo(f"Written: {output}")
