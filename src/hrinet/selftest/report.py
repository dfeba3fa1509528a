"""The self-test's report as a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrinet.selftest.growth import accuracy, growth_of, has_own_law
from hrinet.selftest.hide import Trials
from hrinet.selftest.score import HU_RANGE, Score, psnr_of
from hrinet.synthesize.registry import ranked_methods
from hrinet.volume import SliceSource

_LEAST_FOR_GROWTH = 3
"""Fewer slices in gaps of four times the width tell no growth."""

_TILT_DEG = 0.05
_OVERLAPS = 1.05
_NOTHING_TO_FILL = 1.5
"""Gaps below so many pixels are left alone by the default spacing."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One hidden slice, scored.

    Attributes:
        score: how far the synthetic slice is off.
        own_hu: mean error that the method itself expected of it, HU, or None.
    """

    score: Score
    own_hu: float | None


def describe_method(
    name: str,
    near: Mapping[int, Scored],
    wide: Mapping[int, Scored] | None,
    *,
    gap_mm: float,
    thickness_mm: float | None,
) -> dict[str, Any]:
    """What one method reached, and what to expect of it.

    Args:
        name: of the method.
        near: hidden slices in gaps of twice the width, by index.
        wide: some of them again in gaps of four times the width; None if there are too few.
        gap_mm: width of the scan's own gaps, mm.
        thickness_mm: of a slice, mm; None if unknown.
    """
    scores = {index: entry.score for index, entry in near.items()}
    mae = _mean([one.mae_hu for one in scores.values()])
    own = _own_growth(scores, wide or {})
    expected = growth_of(name).expect(mae, gap_mm=gap_mm, thickness_mm=thickness_mm, own=own)
    similarity = [one.ssim for one in scores.values() if one.ssim is not None]
    row: dict[str, Any] = {
        "name": name,
        "mae_hu": round(mae, 3),
        "psnr_db": _mean_db([one.psnr_db for one in scores.values()]),
        "psnr_of_all_db": _rounded(psnr_of(_mean([one.mse_hu2 for one in scores.values()])), 3),
        "ssim": _rounded(_mean(similarity), 4) if similarity else None,
        "expected_mae_hu": round(expected.hu, 3),
        "expected_low_hu": round(expected.low_hu, 3),
        "expected_high_hu": round(expected.high_hu, 3),
        "own_growth": _rounded(own, 3),
        "law": name if has_own_law(name) else "other",
        "slices": [
            {
                "index": index,
                "mae_hu": round(one.mae_hu, 3),
                "psnr_db": _rounded(one.psnr_db, 3),
                "ssim": _rounded(one.ssim, 4),
            }
            for index, one in scores.items()
        ],
    }
    own_errors = [entry.own_hu for entry in near.values() if entry.own_hu is not None]
    if own_errors:
        row["own_estimate"] = {
            "expected_hu": round(_mean(own_errors), 3),
            "found_hu": round(_mean([one.body_mae_hu for one in scores.values()]), 3),
        }
    return row


def _own_growth(near: Mapping[int, Score], wide: Mapping[int, Scored]) -> float | None:
    """log2 of how much larger errors are in gaps twice as wide again, on the same slices."""
    shared = [index for index in wide if index in near]
    before = sum(near[index].mae_hu for index in shared)
    after = sum(wide[index].score.mae_hu for index in shared)
    if len(shared) < _LEAST_FOR_GROWTH or not before > 0 or not after > 0:
        return None
    return math.log2(after / before)


def describe_test(
    source: SliceSource,
    trials: Trials,
    rows: Sequence[dict[str, Any]],
    cautions: Sequence[str],
) -> dict[str, Any]:
    """The whole report.

    Nothing is taken over from the reader's notes, which may name files and series.

    Args:
        source: the scan.
        trials: what was hidden.
        rows: of :func:`describe_method`.
        cautions: what methods say of gaps as wide as the tested ones.
    """
    geometry, info = source.geometry, source.info
    ranked = sorted(rows, key=lambda row: row["mae_hu"])
    return {
        "scan": {
            "format": info.format,
            "modality": info.modality,
            "kernel": info.kernel,
            "slices": len(geometry),
            "rows": geometry.rows,
            "columns": geometry.columns,
            "pixel_spacing_mm": list(geometry.pixel_spacing),
            "slice_thickness_mm": geometry.slice_thickness,
        },
        "protocol": {
            "hidden": trials.near.candidates,
            "scored": len(trials.near.hidden),
            "scored_in_wider_gaps": len(trials.wide.hidden) if trials.wide else 0,
            "tested_gap_mm": round(trials.near.gap_mm, 6),
            "own_gap_mm": round(trials.own_gap_mm, 6),
            "hu_range": list(HU_RANGE),
        },
        "methods": list(rows),
        "best": ranked[0]["name"],
        "auto": ranked_methods()[-1].name,
        "extrapolation": dict(accuracy()),
        "notes": [*_findings(source, trials, rows), *cautions],
    }


def _findings(source: SliceSource, trials: Trials, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    geometry, info = source.geometry, source.info
    gap, thickness = trials.own_gap_mm, geometry.slice_thickness
    notes = []
    if info.alternatives:
        plural = "s" if len(info.alternatives) > 1 else ""
        notes.append(
            f"the input holds {len(info.alternatives)} other volume{plural}; 'hrinet info' lists "
            "what there is, --series chooses"
        )
    if info.modality not in ("CT", ""):
        notes.append(f"the modality is {info.modality}, not CT: its values are not HU")
    if trials.near.uneven:
        notes.append(
            f"{trials.near.uneven} of the hidden slices lie at unusual distances from their "
            "neighbours and are not scored"
        )
    if geometry.tilt_deg > _TILT_DEG:
        notes.append(
            f"the slices are tilted by {geometry.tilt_deg:.2f} degrees and were tested as they are"
        )
    if thickness is None:
        notes.append(
            "the slice thickness is not known; for the error to expect, slices are taken to touch"
        )
    elif thickness > _OVERLAPS * gap:
        notes.append(
            f"slices {thickness:.4g} mm thick every {gap:.4g} mm overlap, which makes what lies "
            "between them easy to predict"
        )
    if gap < _NOTHING_TO_FILL * min(geometry.pixel_spacing):
        notes.append(
            f"gaps of {gap:.4g} mm are hardly wider than a pixel ({min(geometry.pixel_spacing):.3g}"
            " mm): 'hrinet interpolate' leaves them alone unless --factor or --spacing is given"
        )
    if any(row["own_growth"] is None for row in rows):
        notes.append(
            "the scan has too few slices, or too wide gaps, to tell how its errors grow with the "
            "gap; the error to expect rests on other scans alone"
        )
    return notes


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _mean_db(values: Sequence[float | None]) -> float | None:
    """Mean over slices, dB; None if all are exact, and without those that are."""
    known = [value for value in values if value is not None]
    return round(_mean(known), 3) if known else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
