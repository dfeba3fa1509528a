"""The fitted taps of the flow method: how much each feature weighs where.

A synthetic slice is the motion-compensated blend of its two neighbours plus a correction,

    base + 4 t (1 - t) * sum over features of tap * (feature - base),

so that the weights always sum to 1 (no HU bias) and the correction fades where the synthetic slice
approaches an original. The taps depend on the position t, on the width of the gap, on the slice
thickness, and pixel by pixel on two local measures: the mismatch of the two neighbours after
motion compensation and the activity (standard deviation) of the image. ``tools/fit_flow_taps.py``
fits them by least squares to hidden slices of real scans.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

GROUPS = ("raw", "warped", "raw, smoothed", "warped, smoothed")
"""Features come in groups of four planes: the slices -1, 0, 1, 2 in order of position."""

LEVELS = 5
FIRST_LEVEL = 2.0
"""Local measures are binned softly at exp(2), exp(3), ... exp(6) HU: noise to bone edges."""

THICKNESS_KNOTS = (0.2, 0.55, 1.3)
"""Slice thickness over gap width: separate slices, nearly contiguous, overlapping."""

UNKNOWN_THICKNESS = 0.7
"""Assumed where the header has no thickness; too thick costs less than too thin."""

GAP_REFERENCE_MM = 6.0
GAP_RANGE_MM = (1.5, 25.0)
"""Where the fit has seen examples; taps are constant beyond."""

COVARIATES = len(THICKNESS_KNOTS) + 1
PAIRS = 2 * len(GROUPS)
SHAPE = (LEVELS, LEVELS, COVARIATES, 2, PAIRS, 2)
"""Mismatch level, activity level, covariate, parity, pair of features, power of t."""


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Fitted coefficients.

    A pair is two mirrored planes of one group: (-1, 2) or (0, 1). Even coefficients weigh its sum
    and are even functions of ``2 t - 1``, odd ones weigh its difference and are odd functions;
    hence reversing the order of the slices changes nothing.

    Attributes:
        coefficients: shape :data:`SHAPE`.
        description: where they come from.
    """

    coefficients: Float64
    description: Mapping[str, Any]

    def tables(
        self, t: float, *, gap_mm: float, thickness_mm: float | None, reach: Sequence[float]
    ) -> tuple[Float32, ...]:
        """Weights of all features at every pair of levels.

        Args:
            t: position in the gap, in [0, 1].
            gap_mm: width of the gap, mm.
            thickness_mm: slice thickness, mm, or None.
            reach: how much to trust the outer slices (-1 and 2), in [0, 1].

        Returns:
            For every group, shape (mismatch level, activity level, slice): weights that sum to 1
            over all groups and slices.
        """
        covariates = gap_covariates(gap_mm, thickness_mm)
        u = 2.0 * t - 1.0
        # Shape (levels, levels, parity, pair, power), then evaluated at t.
        at_gap = np.tensordot(self.coefficients, covariates, axes=([2], [0]))
        bump = 4.0 * t * (1.0 - t)
        even = bump * (at_gap[:, :, 0] @ np.array([1.0, u * u]))
        odd = bump * (at_gap[:, :, 1] @ np.array([u, u**3]))
        first, second = even - odd, even + odd
        tables = np.empty((len(GROUPS), LEVELS, LEVELS, 4))
        for group in range(len(GROUPS)):
            outer, inner = 2 * group, 2 * group + 1
            tables[group, ..., 0] = first[..., outer] * reach[0]
            tables[group, ..., 1] = first[..., inner]
            tables[group, ..., 2] = second[..., inner]
            tables[group, ..., 3] = second[..., outer] * reach[1]
        rest = 1.0 - tables.sum(axis=(0, 3))
        tables[1, ..., 1] += (1.0 - t) * rest
        tables[1, ..., 2] += t * rest
        return tuple(np.ascontiguousarray(table, dtype=np.float32) for table in tables)


def gap_covariates(gap_mm: float, thickness_mm: float | None) -> Float64:
    """What the taps depend on besides t and the image.

    Args:
        gap_mm: width of the gap, mm.
        thickness_mm: slice thickness, mm, or None.

    Returns:
        Shape (:data:`COVARIATES`,): hat functions of thickness over gap, then the log of the gap.
    """
    relative = UNKNOWN_THICKNESS
    if thickness_mm is not None and thickness_mm > 0 and math.isfinite(thickness_mm):
        relative = thickness_mm / gap_mm
    hats = [
        float(np.interp(relative, THICKNESS_KNOTS, row)) for row in np.eye(len(THICKNESS_KNOTS))
    ]
    width = min(max(gap_mm, GAP_RANGE_MM[0]), GAP_RANGE_MM[1])
    return np.array([*hats, math.log(width / GAP_REFERENCE_MM)])


def load_taps() -> Taps:
    """The taps that ship with the package."""
    source = resources.files("hrinet.synthesize") / "data" / "flow_taps.json"
    content = json.loads(source.read_text(encoding="utf-8"))
    coefficients = np.array(content.pop("coefficients"), dtype=np.float64).reshape(SHAPE)
    return Taps(coefficients, content)
