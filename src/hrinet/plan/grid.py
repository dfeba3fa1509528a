"""Uniform grids over slices at uneven distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hrinet.types import Float64Array

_SEARCH = 0.2
"""A better grid is looked for within this fraction of the wanted spacing."""


def uniform_positions(
    positions_mm: Sequence[float], spacing_mm: float, *, tolerance_mm: float
) -> list[float]:
    """Grid positions within the stack, anchored where most originals are hit.

    Of equally good anchors the one of the first slice wins, so that regular stacks begin at it.

    Args:
        positions_mm: of the source slices, strictly increasing, mm.
        spacing_mm: of the grid, mm.
        tolerance_mm: how far off the grid a slice may lie and still count as on it, mm.

    Returns:
        Increasing positions between the first and last source slice (a slice that lies within the
        tolerance beyond the last one still counts), mm.
    """
    anchor = _best_anchor(positions_mm, spacing_mm, tolerance_mm)[0]
    below = int(np.floor((anchor - positions_mm[0] + tolerance_mm) / spacing_mm))
    above = int(np.floor((positions_mm[-1] - anchor + tolerance_mm) / spacing_mm))
    return [anchor + m * spacing_mm for m in range(-below, above + 1)]


def best_uniform_spacing(
    positions_mm: Sequence[float], target_mm: float, *, tolerance_mm: float
) -> float:
    """The spacing near the target on whose grid most originals lie.

    A tenth more originals is worth a fifth more distance from the target.

    Args:
        positions_mm: strictly increasing, mm.
        target_mm: wanted spacing, mm.
        tolerance_mm: how far off the grid a slice may lie and still count as on it, mm.
    """
    candidates = {target_mm}
    gaps = np.diff(positions_mm)
    for length in (*np.unique(np.round(gaps, 6)).tolist(), positions_mm[-1] - positions_mm[0]):
        intervals = max(1, round(length / target_mm))
        for count in {max(1, intervals - 1), intervals, intervals + 1}:
            if abs(length / count / target_mm - 1) <= _SEARCH:
                candidates.add(length / count)

    def score(spacing: float) -> tuple[float, float]:
        hits = _best_anchor(positions_mm, spacing, tolerance_mm)[1]
        distance = abs(spacing / target_mm - 1)
        return hits / len(positions_mm) - distance / 2, -distance

    return max(sorted(candidates), key=score)


def nearest_exact_spacing(
    positions_mm: Sequence[float], target_mm: float, *, tolerance_mm: float
) -> float | None:
    """The spacing nearest the target whose grid holds every original, or None.

    Args:
        positions_mm: strictly increasing, mm.
        target_mm: wanted spacing, mm.
        tolerance_mm: how far off the grid a slice may lie and still count as on it, mm.
    """
    smallest = float(np.min(np.diff(positions_mm)))
    best = max(1, round(smallest / target_mm))
    counts = sorted(range(1, 2 * best + 8), key=lambda count: abs(smallest / count - target_mm))
    extent = positions_mm[-1] - positions_mm[0]
    for count in counts:
        # Refine over the whole extent: the rounding of one gap adds up over hundreds.
        spacing = extent / max(1, round(extent / (smallest / count)))
        if _best_anchor(positions_mm, spacing, tolerance_mm)[1] == len(positions_mm):
            return spacing
    return None


def _best_anchor(
    positions_mm: Sequence[float], spacing_mm: float, tolerance_mm: float
) -> tuple[float, int]:
    """(anchor position, number of originals on its grid)."""
    tolerance = tolerance_mm / spacing_mm
    if tolerance >= 0.5:
        return positions_mm[0], len(positions_mm)
    positions = np.asarray(positions_mm)
    phase = (positions - positions[0]) / spacing_mm
    best = (float(positions[0]), 0)
    for index in _phase_representatives(phase, tolerance):
        distance = np.abs((phase - phase[index]) - np.round(phase - phase[index]))
        hits = int(np.count_nonzero(distance <= tolerance))
        if hits > best[1]:
            best = (float(positions[index]), hits)
    return best


def _phase_representatives(phase: Float64Array, tolerance: float) -> list[int]:
    """The first slice of every distinct phase: trying one slice of each is enough."""
    rounded = np.round((phase % 1.0) / tolerance).astype(int)
    return sorted(np.unique(rounded, return_index=True)[1].tolist())
