"""How much the volume of a bone mask changes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.pairs import as_stack, same_shape

BONE_HU = 250.0

Spacing = tuple[float | ArrayLike, float, float]
"""Thickness of a slice (one number, or one for every slice), row and column spacing, mm."""


def bone_volume(stack: ArrayLike, *, spacing: Spacing, threshold_hu: float = BONE_HU) -> float:
    """Volume of all voxels at or above a threshold.

    Args:
        stack: shape (slice, row, column) or (row, column), HU.
        spacing: mm.
        threshold_hu: of bone.

    Returns:
        mm^3.

    Raises:
        ValueError: if the spacing is not positive or does not fit the stack.
    """
    slices = as_stack(stack)
    heights = np.broadcast_to(np.asarray(spacing[0], np.float64), (len(slices),))
    if not ((heights > 0).all() and spacing[1] > 0 and spacing[2] > 0):
        raise ValueError(f"spacing must be positive, got {spacing}")
    counts = np.count_nonzero(slices >= threshold_hu, axis=(1, 2))
    return float((counts * heights).sum() * spacing[1] * spacing[2])


def bone_volume_error(
    image: ArrayLike, truth: ArrayLike, *, spacing: Spacing, threshold_hu: float = BONE_HU
) -> float:
    """By how much the bone of synthetic slices is larger than that of the measured ones.

    Noise lifts single voxels of soft tissue over the threshold; the smoother of two images loses
    them, which reads as a loss of bone. Metal and contrast agent count as bone. Bone that only
    moved does not show: see :mod:`hrinet.metrics.edges`.

    Args:
        image: shape (slice, row, column) or (row, column), HU.
        truth: of the same shape, HU.
        spacing: mm; the percentage depends on it only where slices differ in thickness.
        threshold_hu: of bone.

    Returns:
        Percent of the true volume, positive if too large; nan if there is no bone.

    Raises:
        ValueError: if the shapes differ or the spacing does not fit.
    """
    a, b = same_shape(image, truth)
    true_volume = bone_volume(b, spacing=spacing, threshold_hu=threshold_hu)
    found = bone_volume(a, spacing=spacing, threshold_hu=threshold_hu)
    return 100 * (found / true_volume - 1) if true_volume else math.nan
