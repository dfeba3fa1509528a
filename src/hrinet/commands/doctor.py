"""``hrinet doctor``: is this installation healthy, and how fast is this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show versions, decoders, cores and memory, and run a short speed test."""
    from hrinet.report.doctor import describe_checkup, examine

    checkup = examine()
    if as_json:
        import json

        typer.echo(json.dumps(checkup))
    else:
        typer.echo(describe_checkup(checkup))
    if not checkup["healthy"]:
        raise typer.Exit(1)
