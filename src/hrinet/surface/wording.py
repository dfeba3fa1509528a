"""What was made, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_surfaces(result: Mapping[str, Any]) -> str:
    """The report of :func:`hrinet.surface.run.surface_file` as lines for a person."""
    source = result["input"]
    fill = result["fill"]
    lines = [
        f"{result['output']}: {result['coordinates']}, mm",
        f"  from {source['slices']} slices, {source['spacing_mm']:.4g} mm apart"
        + ("" if fill == "none" else f", filled to {result['slices']} with {fill}"),
    ]
    for one in result["surfaces"]:
        closed = "closed" if one["is_closed"] else "not closed"
        lines.append(
            f"  {_name(one)}: {one['triangles']} triangles, {closed}, "
            f"{one['volume_cm3']:.1f} cm3, {one['area_cm2']:.1f} cm2{_index(one)}"
        )
        moved = one["deviation_mm"]
        if moved:
            lines.append(
                f"    moved by {moved['mean']:.3f} mm in the mean and {moved['hausdorff']:.3f} mm "
                "at most by smoothing and decimation"
            )
    lines += [f"  note: {note}" for note in result["notes"]]
    if result["compare"]:
        lines.append(f"  {result['compare']}: beside the slices as they are")
        lines += [f"    {_name(one)}{_index(one)}" for one in result["unfilled"]]
    lines.append(f"  {result['seconds']:.1f} s")
    return "\n".join(lines)


def _name(one: Mapping[str, Any]) -> str:
    """``200:`` ends like a heading, so ranges are told in words."""
    low, high = one["hu"]
    if ":" not in one["structure"]:
        return str(one["structure"])
    if high is None:
        return f"from {low:g} HU"
    return f"to {high:g} HU" if low is None else f"{low:g} to {high:g} HU"


def _index(one: Mapping[str, Any]) -> str:
    index = one["staircase_index"]
    return "" if index is None else f", staircase index {index:.3f}"
