"""``hrinet pull``: fetch a series from a PACS or DICOMweb server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pull(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="AET@HOST:PORT, or the URL of DICOMweb.")
    ],
    output_path: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="To be made; leave out to list.")
    ] = None,
    study: Annotated[str, typer.Option(metavar="UID", help="Study Instance UID.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="Series Instance UID.")] = "",
    patient: Annotated[str, typer.Option(metavar="ID", help="Patient ID.")] = "",
    accession: Annotated[str, typer.Option(metavar="NUMBER", help="Accession Number.")] = "",
    modality: Annotated[str, typer.Option(help="Of the series; '' for all.")] = "CT",
    fetch_all: Annotated[
        bool, typer.Option("--all", help="Fetch every series that matches, in a subfolder each.")
    ] = False,
    move_to: Annotated[
        str | None,
        typer.Option(metavar="AET", help="Use C-MOVE to this AE title of ours, not C-GET."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="That we listen on for C-MOVE.")
    ] = 11112,
    bind: Annotated[
        str, typer.Option(metavar="ADDRESS", help="That we listen on for C-MOVE.")
    ] = "127.0.0.1",
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Our AE title.")] = "HRINET",
) -> None:
    """Fetch a series by WADO-RS, C-GET or C-MOVE, or list what matches."""
    from hrinet.node import setup

    typer.echo(
        setup.pull(
            source,
            output_path,
            study=study,
            series=series,
            patient=patient,
            accession=accession,
            modality=modality,
            fetch_all=fetch_all,
            move_to=move_to,
            port=port,
            bind=bind,
            title=aet,
        )
    )
