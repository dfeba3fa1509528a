"""Whether synthetic slices are as noisy as measured ones."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import as_stack, same_shape

SOFT_TISSUE = (0.0, 100.0)
"""HU of the local mean."""

FLAT_HU = 12.0
"""Where the smoothed truth varies less than this over 9 x 9 pixels (SD), tissue is even."""

LEAST_PIXELS = 500
"""Slices with fewer even pixels say nothing."""


def even_soft_tissue(truth: ArrayLike) -> NDArray[np.bool_]:
    """Where a measured slice shows homogeneous soft tissue, so that what varies is noise.

    The slice is smoothed by a Gaussian of 3 pixels, which leaves little noise but keeps organs and
    vessels; where the standard deviation of that over 9 x 9 pixels is below 12 HU and its mean
    between 0 and 100 HU, tissue is even.

    Args:
        truth: shape (row, column), HU.

    Returns:
        A mask of that shape.
    """
    smooth = cv2.GaussianBlur(np.asarray(truth, np.float32), (0, 0), 3.0)
    mean = cv2.blur(smooth, (9, 9))
    spread = np.sqrt(np.maximum(cv2.blur(smooth * smooth, (9, 9)) - mean * mean, 0))
    low, high = SOFT_TISSUE
    return np.asarray((mean > low) & (mean < high) & (spread < FLAT_HU))


def noise_sd(image: ArrayLike, where: NDArray[np.bool_]) -> float:
    """Standard deviation of what a 5 x 5 mean leaves.

    Args:
        image: shape (row, column), HU.
        where: mask of that shape, not empty.

    Returns:
        HU. Of white noise, 24 / 25 of the variance is left.
    """
    values = np.asarray(image, np.float32)
    return float((values - cv2.blur(values, (5, 5)))[where].std(dtype=np.float64))


def noise_ratio(image: ArrayLike, truth: ArrayLike) -> float:
    """Noise of synthetic slices over noise of the measured ones, in homogeneous soft tissue.

    Where tissue is even is decided on the truth alone (:func:`even_soft_tissue`), noise is
    :func:`noise_sd`. Both hardly depend on anatomy that a 5 x 5 mean follows. Of a stack, the mean
    of the slices' ratios; slices with fewer than 500 even pixels are left out.

    Args:
        image: synthetic slices, shape (row, column) or (slice, row, column), HU.
        truth: measured slices of the same shape, HU.

    Returns:
        1 if equally noisy, below 1 if smoother; nan if no slice has enough even tissue, or the
        truth has no noise. The mean of two independent neighbours scores 0.71.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = same_shape(image, truth)
    ratios = []
    for synthetic, measured in zip(as_stack(a), as_stack(b), strict=True):
        where = even_soft_tissue(measured)
        if np.count_nonzero(where) > LEAST_PIXELS:
            measured_sd = noise_sd(measured, where)
            if measured_sd > 0:
                ratios.append(noise_sd(synthetic, where) / measured_sd)
    return _mean(ratios)


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else math.nan
