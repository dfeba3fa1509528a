"""Training: from folders of CT to batches; needs no torch, the loop converts.

This module holds what training and use of a network have to agree on: how HU become intensities,
and how a slice becomes a square image.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.types import SliceArray

Window: TypeAlias = tuple[float, float]
"""HU that become 0 and 1."""

UnitArray: TypeAlias = NDArray[np.float32]
"""Intensities in [0, 1]."""

DEFAULT_WINDOW = (-1024.0, 3071.0)
"""HU that become 0 and 1: all that 12-bit CT can hold.

A narrower window would give soft tissue more of [0, 1], but saturate dense bone, contrast medium
and metal, so that a synthetic slice could not show what both its neighbours do. Nothing is clipped
here, and the mapping back to HU is exact to 0.04 HU.
"""

_LEVELS = 65535


def to_unit(values_hu: ArrayLike, window: Window) -> UnitArray:
    """HU to intensities: 0 at the low end of the window and below, 1 at the high end and above.

    Args:
        values_hu: of any shape.
        window: HU that become 0 and 1.
    """
    low, high = window
    unit = (np.asarray(values_hu, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(unit, 0.0, 1.0), dtype=np.float32)


def to_hu(unit: ArrayLike, window: Window) -> NDArray[np.float32]:
    """Intensities back to HU, the inverse of :func:`to_unit` within the window; never clips."""
    low, high = window
    return np.asarray(unit, dtype=np.float32) * np.float32(high - low) + np.float32(low)


def from_stored(stored: NDArray[np.uint16], out: UnitArray | None = None) -> UnitArray:
    """Fixed point to intensities; exact at 0 and 1.

    Args:
        stored: of any shape.
        out: where to write, of the same shape.
    """
    return np.divide(stored, np.float32(_LEVELS), out=out, dtype=np.float32)


def to_stored(unit: UnitArray) -> NDArray[np.uint16]:
    """Intensities to little-endian 16-bit fixed point; off by 1/131070 at most.

    Args:
        unit: of any shape, [0, 1].
    """
    stored: NDArray[np.uint16] = np.rint(unit * np.float32(_LEVELS)).astype("<u2")
    return stored


def prepare_slice(
    values_hu: SliceArray, *, size: int, window: Window, padding_hu: float | None = None
) -> UnitArray:
    """One slice as the networks see it: windowed, padded to a square, resampled.

    The window comes first, so that a value far outside it does not bleed into its neighbours.
    Slices that are not square get air on both sides; then pixels are averaged by area where the
    side shrinks, and interpolated linearly where it grows.

    Args:
        values_hu: shape (row, column), HU.
        size: side of the result, pixels.
        window: HU that become 0 and 1.
        padding_hu: value of voxels outside the field of view, which count as air.

    Returns:
        Shape (size, size), [0, 1].
    """
    import cv2

    unit = to_unit(values_hu, window)
    outside = ~np.isfinite(values_hu)
    if padding_hu is not None:
        outside |= values_hu == padding_hu
    unit[outside] = 0.0
    rows, columns = unit.shape
    side = max(rows, columns)
    if rows != columns:
        top, left = (side - rows) // 2, (side - columns) // 2
        square = np.zeros((side, side), np.float32)
        square[top : top + rows, left : left + columns] = unit
        unit = square
    if side != size:
        method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        unit = np.asarray(cv2.resize(unit, (size, size), interpolation=method), np.float32)
    return unit
