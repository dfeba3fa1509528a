"""``hrinet models``: the methods, and the weights that they run on."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A method, to read its model card.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all methods of 'hrinet interpolate', or tell everything about one of them."""
    import json
    import shutil
    import sys

    from hrinet.report.models import describe_models, list_models, model_card
    from hrinet.synthesize.registry import find_method

    listed = list_models()
    if name is not None:
        found = find_method(name).name
        entry = next(model for model in listed if model["name"] == found)
        typer.echo(json.dumps({**entry, "card": model_card(name)}) if as_json else model_card(name))
        return
    if as_json:
        typer.echo(json.dumps({"models": listed}))
        return
    # A table that goes into a file or a pipe has no reason to wrap.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    typer.echo(describe_models(listed, width=width))
