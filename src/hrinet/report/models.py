"""The methods and their weights: what is there, and what there is to know about it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from hrinet.synthesize import registry
from hrinet.synthesize.registry import AUTO, Method, find_method, ranked_methods

_HASH_SHOWN = 12


def list_models() -> list[dict[str, Any]]:
    """Every method, a JSON object each; ``weights`` is None where there are none.

    Raises:
        InputError: if weights in the package are damaged.
    """
    chosen = ranked_methods()[-1].name
    return [
        {
            "name": method.name,
            "kind": method.kind,
            "summary": method.summary,
            "is_auto": method.name == chosen,
            "is_installed": method.is_installed,
            "missing": method.missing,
            "weights": _weights(method),
        }
        for method in registry.METHODS
    ]


def _weights(method: Method) -> dict[str, Any] | None:
    from hrinet.weights.description import count_parameters, read_description

    if method.weights is None or not method.weights.is_file():
        return None
    description = read_description(method.weights)
    return {
        "parameters": count_parameters(method.weights),
        "megabytes": round(method.weights.stat().st_size / 1e6, 2),
        "precision": description.precision,
        "sha256": description.sha256,
        "licence": description.licence,
        "steps": description.steps,
        "scans": description.scans,
        "patients": description.patients,
        "collections": [
            {"collection": c.collection, "licence": c.licence, "scans": c.scans}
            for c in description.collections
        ],
    }


def model_card(name: str) -> str:
    """All there is to know about a method: its model card, or its line where it has none.

    Args:
        name: of a method, or ``auto``.

    Raises:
        RequestError: if there is no such method.
    """
    method = find_method(name)
    lines = [f"{method.name} ({method.kind}): {method.summary}."]
    if method.missing:
        lines.append(f"Not installed: {method.missing}.")
    card = None if method.weights is None else method.weights.with_suffix(".md")
    if card is not None and card.is_file():
        lines += ["", card.read_text("utf-8").rstrip()]
    return "\n".join(lines)


def describe_models(models: Sequence[Mapping[str, Any]], *, width: int) -> str:
    """The result of :func:`list_models` as a table.

    Args:
        models: one a row.
        width: of the terminal, characters.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("method", "kind", "installed"):
        table.add_column(heading, overflow="fold")
    for heading in ("parameters", "MB", "steps", "collections"):
        table.add_column(heading, justify="right")
    for heading in ("SHA-256", "licence"):
        table.add_column(heading)
    for model in models:
        installed = model["missing"] or ("yes, " + AUTO if model["is_auto"] else "yes")
        table.add_row(model["name"], model["kind"], installed, *_cells(model["weights"]))
    page = io.StringIO()
    Console(file=page, width=width, markup=False, highlight=False, no_color=True).print(table)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "\n".join([*(line for line in lines if line), "", "More: hrinet models NAME"])


def _cells(weights: Mapping[str, Any] | None) -> tuple[str, ...]:
    if weights is None:
        return ("",) * 6
    return (
        f"{weights['parameters']:,}".replace(",", " "),
        f"{weights['megabytes']:.1f}",
        str(weights["steps"]),
        str(len(weights["collections"])),
        weights["sha256"][:_HASH_SHOWN],
        weights["licence"],
    )
