"""The result of the self-test in plain words."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 96

_CLEARLY = 2.0
"""Standard errors of the mean difference over slices, from which on two methods differ."""

_PLAIN = ("repeat", "linear", "cubic")
"""Methods that follow nothing that moves from slice to slice."""


def describe_selftest(result: Mapping[str, Any], *, width: int) -> str:
    """The result of :func:`hrinet.selftest.run.selftest`: a table, what follows, what it rests on.

    Args:
        result: the report.
        width: of the terminal, characters.
    """
    scan, protocol = result["scan"], result["protocol"]
    low, high = protocol["hu_range"]
    thickness = scan["slice_thickness_mm"]
    kernel = f", kernel {scan['kernel']}" if scan["kernel"] else ""
    thick = f", {thickness:.4g} mm thick" if thickness is not None else ""
    lines = [
        f"{scan['columns']} x {scan['rows']} x {scan['slices']} voxels, slices every "
        f"{protocol['own_gap_mm']:.4g} mm{thick}{kernel}",
        *_wrapped(
            f"Every second slice hidden: gaps of {protocol['tested_gap_mm']:.4g} mm, twice as wide "
            f"as they are; {protocol['scored']} of {protocol['hidden']} hidden slices scored. PSNR "
            f"and SSIM on [{low:.0f}, {high:.0f}] HU; MAE: mean absolute error of all voxels."
        ),
        "",
        _table(result, width),
        "",
        *_wrapped(_found_sentence(result)),
        *_wrapped(_advice(result)),
    ]
    for sentence in (_own_estimate(result), _accuracy(result["extrapolation"])):
        lines += _wrapped(sentence) if sentence else []
    lines += _bullets(result["notes"])
    lines += ["Scores are of synthetic slices only. Not for diagnosis."]
    return "\n".join(lines)


def _table(result: Mapping[str, Any], width: int) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    protocol, rows = result["protocol"], result["methods"]
    linear = _named(rows, "linear")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("method", overflow="fold")
    headings = (
        f"MAE at {protocol['tested_gap_mm']:.4g} mm, HU",
        "against linear",
        "PSNR, dB",
        "SSIM",
        f"to expect at {protocol['own_gap_mm']:.4g} mm, HU",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        change = ""
        if linear is not None and row is not linear and linear["mae_hu"] > 0:
            change = f"{100 * (row['mae_hu'] / linear['mae_hu'] - 1):+.0f} %"
        table.add_row(
            row["name"] + (" (auto)" if row["name"] == result["auto"] else ""),
            f"{row['mae_hu']:.1f}",
            change,
            "exact" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}",
            "" if row["ssim"] is None else f"{row['ssim']:.4f}",
            f"{row['expected_mae_hu']:.1f} ({row['expected_low_hu']:.1f} to "
            f"{row['expected_high_hu']:.1f})",
        )
    page = io.StringIO()
    Console(file=page, width=width, markup=False, highlight=False, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines() if line.strip())


def _found_sentence(result: Mapping[str, Any]) -> str:
    protocol = result["protocol"]
    best = _best(result)
    worst_first = sorted(
        (row for row in result["methods"] if row["name"] != "repeat" or len(result["methods"]) < 2),
        key=lambda row: -row["mae_hu"],
    )
    errors = [
        f"{row['name']} {'errs by ' if place == 0 else 'by '}{_hu(row['mae_hu'])}"
        + (" HU" if place == 0 else "")
        for place, row in enumerate(worst_first)
    ]
    return (
        f"On this scan {', '.join(errors)}; expect about {_hu(best['expected_mae_hu'])} HU of "
        f"{best['name']} half-way across your gaps of {protocol['own_gap_mm']:.4g} mm, less near "
        "the measured slices."
    )


def _advice(result: Mapping[str, Any]) -> str:
    """Which method to take, and whether that is what ``auto`` takes."""
    rows, best = result["methods"], _best(result)
    linear, auto = _named(rows, "linear"), _named(rows, result["auto"])
    if len(rows) == 1:
        return f"Only {best['name']} was tested."
    if not any(row["mae_hu"] > 0 for row in rows):
        return "Every method is exact here, so that nothing can be said of any of them."
    others = [row["name"] for row in rows if row is not best and not _differ(row, best)]
    gain = ""
    if linear is not None and linear is not best:
        less = linear["mae_hu"] - best["mae_hu"]
        share = 100 * less / linear["mae_hu"]
        gain = f": {less:.1f} HU ({share:.0f} %) less than linear"
    parts = [f"Best here is {best['name']}{gain}."]
    if others:
        parts.append(f"{_listed(others)} cannot be told from it by these slices.")
    if best["name"] in _PLAIN and not all(row["name"] in _PLAIN for row in rows):
        parts.append(
            "Caution: a plain formula wins, so what the others follow or learnt does not help on "
            f"this scan; take --method {best['name']}."
        )
    elif best["name"] not in _PLAIN and any(name in _PLAIN for name in others):
        parts.append("A plain formula does as well here, so do not count on a gain.")
    if auto is not None and auto is best:
        parts.append(f"{best['name']} is what auto takes.")
    elif auto is not None and not _differ(auto, best):
        parts.append(f"auto takes {auto['name']}, which is as good.")
    elif auto is not None and best["name"] not in _PLAIN:
        parts.append(f"auto takes {auto['name']}; pass --method {best['name']}.")
    expected = min(rows, key=lambda row: row["expected_mae_hu"])
    if expected["expected_mae_hu"] < best["expected_low_hu"]:
        parts.append(
            f"In gaps of {result['protocol']['own_gap_mm']:.4g} mm {expected['name']} may be "
            f"better: {_hu(expected['expected_mae_hu'])} HU are expected of it, "
            f"{_hu(best['expected_mae_hu'])} of {best['name']}."
        )
    return " ".join(parts)


def _differ(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Whether one method errs more than the other beyond the scatter over slices."""
    off: list[float] = [
        one["mae_hu"] - other["mae_hu"]
        for one, other in zip(row["slices"], best["slices"], strict=True)
    ]
    mean = sum(off) / len(off)
    if len(off) < 2:
        return mean > 0
    variance = sum((value - mean) ** 2 for value in off) / (len(off) - 1)
    return mean > _CLEARLY * math.sqrt(variance / len(off))


def _own_estimate(result: Mapping[str, Any]) -> str:
    parts = [
        f"{row['name']} itself expected {_hu(row['own_estimate']['expected_hu'])} HU within the "
        f"body in these slices; {_hu(row['own_estimate']['found_hu'])} HU were found."
        for row in result["methods"]
        if "expected_hu" in row.get("own_estimate", {})
    ]
    return " ".join(parts)


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    if not accuracy:
        return ""
    return (
        "The error to expect is extrapolated: the hidden slices lay in gaps twice as wide as "
        f"yours. On {accuracy['patients']} test patients it was off by "
        f"{accuracy['median_percent']:.0f} % in the median, {accuracy['largest_percent']:.0f} % "
        "at most."
    )


def _best(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found = _named(result["methods"], result["best"])
    assert found is not None
    return found


def _named(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if row["name"] == name), None)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _hu(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullets(notes: Sequence[str]) -> list[str]:
    return [
        textwrap.fill(
            f"{note[:1].upper()}{note[1:].rstrip('.')}.",
            _WIDTH,
            initial_indent="  * ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for note in notes
    ]
