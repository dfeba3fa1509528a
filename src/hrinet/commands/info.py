"""``hrinet info``: what is in an input and what would be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrinet.plan.spacing import parse_spacing
from hrinet.synthesize.registry import AUTO, method_help


def info(
    input_path: Annotated[
        Path, typer.Argument(metavar="INPUT", help="As for 'hrinet interpolate'.")
    ],
    spacing: Annotated[
        str, typer.Option(metavar="iso|MM", help="Plan for this distance between slices.")
    ] = "iso",
    factor: Annotated[
        int | None, typer.Option(metavar="N", help="Plan for this division of every gap.")
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help=method_help())] = AUTO,
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="Which DICOM series to look at.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show series, geometry, gaps and tilt, and what 'interpolate' would do; reads no pixels."""
    from hrinet import job
    from hrinet.plan.plan import Request
    from hrinet.report.summary import summarize
    from hrinet.report.wording import describe_summary

    request = Request(spacing=parse_spacing(spacing), factor=factor)
    summary = summarize(input_path, job.Options(request=request, method=method), series=series)
    if as_json:
        import json

        typer.echo(json.dumps(summary))
    else:
        typer.echo(describe_summary(summary))
