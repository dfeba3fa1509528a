"""Whether new slices still average to the thick slices they were made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.pairs import as_stack
from hrinet.types import Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabConsistency:
    """How slabs of a filled volume differ from the slices that were measured.

    Attributes:
        rmse_hu: root mean square difference over all voxels of all slabs, HU.
        bias_hu: mean difference, filled minus measured, HU.
        slabs: number of slices compared; those whose slab leaves the volume are not.
    """

    rmse_hu: float
    bias_hu: float
    slabs: int


def slab_consistency(
    volume: ArrayLike,
    originals: ArrayLike,
    *,
    positions_mm: ArrayLike,
    original_positions_mm: ArrayLike,
    thickness_mm: float,
) -> SlabConsistency:
    """Average a filled volume over the slabs of the measured slices, and compare.

    A measured slice of thickness T at z is taken as the mean of the body from z - T/2 to z + T/2
    (a box; real slice profiles are rounder). Between its slices the volume is taken as linear.
    Needs no truth. It is zero for a method that keeps slabs; a method that passes originals
    through cannot reach zero where the body curves between them, as the originals are means
    themselves.

    Args:
        volume: the filled volume, shape (slice, row, column), HU.
        originals: measured slices, shape (slice, row, column), HU.
        positions_mm: of the volume's slices along their normal, increasing, mm.
        original_positions_mm: of the measured slices on the same scale, mm.
        thickness_mm: of the measured slices, mm; 0 compares single planes.

    Returns:
        The differences; nan in both if no slab lies inside the volume.

    Raises:
        ValueError: if shapes do not fit, or positions do not increase, or thickness is negative.
    """
    filled, measured = as_stack(volume), as_stack(originals)
    if filled.shape[1:] != measured.shape[1:]:
        raise ValueError(f"slices differ in shape: {filled.shape[1:]} and {measured.shape[1:]}")
    positions = np.asarray(positions_mm, np.float64)
    centres = np.asarray(original_positions_mm, np.float64)
    if positions.shape != (len(filled),) or centres.shape != (len(measured),):
        raise ValueError("one position for every slice is needed")
    if not (np.diff(positions) > 0).all():
        raise ValueError("positions_mm must increase")
    squares = total = 0.0
    count = 0
    for centre, slice_ in zip(centres, measured, strict=True):
        weights = slab_weights(positions, centre - thickness_mm / 2, centre + thickness_mm / 2)
        if weights is None:
            continue
        used = np.flatnonzero(weights)
        mean = np.tensordot(
            weights[used].astype(np.float32), filled[used].astype(np.float32), axes=1
        )
        difference = mean - slice_
        squares += float(np.square(difference).mean(dtype=np.float64))
        total += float(difference.mean(dtype=np.float64))
        count += 1
    if not count:
        return SlabConsistency(rmse_hu=np.nan, bias_hu=np.nan, slabs=0)
    return SlabConsistency(
        rmse_hu=float(np.sqrt(squares / count)), bias_hu=total / count, slabs=count
    )


def slab_weights(positions_mm: Float64Array, low_mm: float, high_mm: float) -> Float64Array | None:
    """Weights that average a function, linear between positions, over an interval.

    Args:
        positions_mm: shape (slice,), increasing, mm.
        low_mm: lower end of the interval, mm.
        high_mm: upper end, mm; equal for a single plane.

    Returns:
        shape (slice,), with sum 1; None if the interval leaves the positions.

    Raises:
        ValueError: if the interval's ends are reversed.
    """
    if high_mm < low_mm:
        raise ValueError(f"the interval from {low_mm:g} to {high_mm:g} mm is reversed")
    slack = 1e-6 * max(1.0, float(positions_mm[-1] - positions_mm[0]))
    if low_mm < positions_mm[0] - slack or high_mm > positions_mm[-1] + slack:
        return None
    low, high = np.clip([low_mm, high_mm], positions_mm[0], positions_mm[-1])
    identity = np.eye(len(positions_mm))
    if high - low <= slack:
        plane = (low + high) / 2
        return np.array([np.interp(plane, positions_mm, row) for row in identity], np.float64)
    inner = positions_mm[(positions_mm > low) & (positions_mm < high)]
    knots = np.concatenate([[low], inner, [high]])
    lengths = np.diff(knots)
    # The integral of a hat function over a piece is the trapezoid of its ends.
    at_knots = np.array([np.interp(knots, positions_mm, row) for row in identity])
    integral = ((at_knots[:, :-1] + at_knots[:, 1:]) / 2) @ lengths
    return np.asarray(integral / (high - low), np.float64)
