"""``hrinet verify``: a derived DICOM series against its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    path: Annotated[
        Path,
        typer.Argument(metavar="SERIES", help="Derived DICOM: a folder, a .zip or a file."),
    ],
    source: Annotated[
        Path | None,
        typer.Option(metavar="SCAN", help="What it was derived from, for a full check."),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(metavar="UID", help="Which DICOM series of SCAN, as 'hrinet info' lists it."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as one JSON object.")
    ] = False,
) -> None:
    """Check a derived DICOM series: marks, UIDs, references, geometry, and every original pixel.

    Exit codes: 0 all is well; 1 a check failed; 2 something cannot be read.
    """
    from hrinet.report.wording import describe_verification
    from hrinet.verify.derived import verify as check

    found = check(path, source=source, series=series)
    if as_json:
        import json

        typer.echo(json.dumps(found.as_json()))
    else:
        typer.echo(describe_verification(found))
    if not found.passed:
        raise typer.Exit(1)
