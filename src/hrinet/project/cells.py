"""From sums that lie at fractions of a voxel to cells of half a voxel, with nothing lost.

Planes of voxels that a ray meets at fractions of a voxel are first sorted by that fraction and
added without any interpolation, see :mod:`hrinet.project.shear`. Each of these sums is a row of
voxels, means over one voxel each, at a known place. Their running integral is known exactly at the
borders of voxels; between these it is a cubic spline here (Unser, IEEE Signal Processing Magazine
16(6), 1999), so that the row itself is one of quadratic B-splines. What lies in a cell is the
difference of two values of the integral. Edges keep their sharpness, since no plane is blurred
before the sum, and cells are so small that pixels can be made of them with little loss; the sum
over cells is that over voxels, since differences telescope; and where the fraction is zero, two
cells are together the voxel again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.types import Float64Array

Float32Array = NDArray[np.float32]

CELLS = 2
"""Cells a voxel, in directions in which planes slide."""

_POLE = math.sqrt(3) - 2  # Of the filter from values to coefficients of cubic B-splines.
_TAPS = 8  # Of that filter to either side; what is left out is below 1e-4.
_SPREAD = 2  # Voxels to either side over which one is spread.


def to_cells(
    sums: Float32Array, *, slides: tuple[bool, bool], smooth: bool
) -> tuple[Float32Array, tuple[float, float], tuple[float, float]]:
    """Bring sums at fractions of a voxel onto one even grid.

    Args:
        sums: shape (fraction of i, fraction of j, i, j): fractions s / n of an index for n of them.
        slides: whether planes slide along i and along j; other directions are left as they are.
        smooth: by splines, which are sharp, and swing by a few per cent about the edge of a single
            voxel; otherwise voxels are boxes, which can only blur.

    Returns:
        Means over cells, shape (i, j); the index of the centre of the first cell (i, j), in voxels;
        and the step from cell to cell (i, j), in voxels.
    """
    # One for each fraction of i.
    lines = [_along(part, axis=1, smooth=smooth) if slides[1] else part[0] for part in sums]
    values = _along(lines, axis=0, smooth=smooth) if slides[0] else lines[0]
    first = 0.5 / CELLS - 0.5 - (_TAPS + _SPREAD if smooth else _SPREAD)
    starts = (first if slides[0] else 0.0, first if slides[1] else 0.0)
    steps = (1 / CELLS if slides[0] else 1.0, 1 / CELLS if slides[1] else 1.0)
    return values, starts, steps


def _along(parts: Sequence[Float32Array], *, axis: int, smooth: bool) -> Float32Array:
    """Cells along an axis, from parts at fractions of a voxel."""
    shape = list(parts[0].shape)
    shape[axis] += 2 * _SPREAD + 1
    moves = np.arange(-_SPREAD, _SPREAD + 2)
    integral = _spline_integral if smooth else _box_integral
    cells = []
    for cell in range(CELLS):
        total = np.zeros(shape, np.float32)
        for number, part in enumerate(parts):
            borders = moves[:, None] - 0.5 + np.array([cell, cell + 1]) / CELLS
            shares = np.diff(integral(borders - number / len(parts)), axis=1)[:, 0]
            for at, share in enumerate(shares.tolist()):
                if share > 0:
                    _add(part, CELLS * share, total, at, axis)
        cells.append(_coefficients(total, axis) if smooth else total)
    shape = list(cells[0].shape)
    shape[axis] *= CELLS
    return np.stack(cells, axis=axis + 1).reshape(shape)


def _add(source: Float32Array, share: float, target: Float32Array, at: int, axis: int) -> None:
    """Add a share of an array to a longer one from an index on."""
    place = [slice(None), slice(None)]
    place[axis] = slice(at, at + source.shape[axis])
    window = target[tuple(place)]
    cv2.scaleAdd(source, share, window, dst=window)


def _coefficients(values: Float32Array, axis: int) -> Float32Array:
    """Of splines through values; it is a filter, so that it may as well come last."""
    shares = np.array([_POLE ** abs(tap) for tap in range(-_TAPS, _TAPS + 1)])
    shares /= shares.sum()
    shape = list(values.shape)
    shape[axis] += 2 * _TAPS
    result = np.zeros(shape, np.float32)
    for at, share in enumerate(shares):
        _add(values, float(share), result, at, axis)
    return result


def _spline_integral(places: Float64Array) -> Float64Array:
    """Of the quadratic B-spline about 0, of area 1 and width 3: from 0 to 1."""
    x = np.clip(places, -1.5, 1.5)
    tail = (1.5 - np.abs(x)) ** 3 / 6
    outer = np.where(x < 0, tail, 1 - tail)
    return np.where(np.abs(x) <= 0.5, 0.5 + 0.75 * x - x**3 / 3, outer)


def _box_integral(places: Float64Array) -> Float64Array:
    """Of the voxel about 0 as a box of area and width 1: from 0 to 1."""
    return np.clip(places + 0.5, 0.0, 1.0)
