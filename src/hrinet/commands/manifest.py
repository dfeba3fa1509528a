"""``hrinet manifest``: a list of scans to train on, split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def manifest(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Holds one folder or file a patient.")
    ],
    output: Annotated[Path, typer.Argument(metavar="JSON", help="The manifest to write.")],
    validation: Annotated[
        float, typer.Option(metavar="FRACTION", help="Patients to validate on.")
    ] = 0.2,
    test: Annotated[
        float, typer.Option(metavar="FRACTION", help="Patients to keep for reported figures.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Which division.")] = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Names to leave out, such as '*_seg.nii.gz'."),
    ] = None,
    collection: Annotated[
        str,
        typer.Option(metavar="NAME", help="Where the scans were published, for the model card."),
    ] = "",
    licence: Annotated[str, typer.Option(metavar="NAME", help="Of the scans; likewise.")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing manifest.")
    ] = False,
) -> None:
    """Find the scans below FOLDER and divide the patients between the splits, for 'train'."""
    from hrinet.commands.progress import progress_bar
    from hrinet.report.wording import describe_manifest
    from hrinet.train.finding import make_manifest
    from hrinet.train.manifest import save_manifest

    with progress_bar("patients", unit="patients") as progress:
        found = make_manifest(
            folder,
            validation=validation,
            test=test,
            seed=seed,
            exclude=exclude or (),
            collection=collection,
            licence=licence,
            progress=progress,
        )
    save_manifest(found, output, overwrite=overwrite)
    typer.echo(describe_manifest(found))
    typer.echo(f"Written: {output}")
