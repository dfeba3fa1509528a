"""``hrinet push``: send DICOM files to a PACS or DICOMweb server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="PEER", help="AET@HOST:PORT, or the URL of DICOMweb."),
    ],
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Our AE title.")] = "HRINET",
) -> None:
    """Send DICOM files by C-STORE or STOW-RS."""
    from hrinet.node import setup

    typer.echo(setup.push(paths, to, title=aet))
