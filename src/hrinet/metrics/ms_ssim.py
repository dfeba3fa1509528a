"""Structural similarity at several scales."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.ssim import similarity_maps

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents from the finest scale to the coarsest; section 3.2 of the paper."""

SMALLEST = 11 * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Rows and columns that leave one window at the coarsest scale."""


def ms_ssim(image: ArrayLike, truth: ArrayLike, *, data_range: float) -> float:
    """Product over five scales of the mean contrast-and-structure term, luminance at the last.

    Between scales, every 2 x 2 pixels become one, their mean; an odd last row or column is
    dropped. A scale whose mean term is negative counts as 0: its power would not be real.

    Args:
        image: shape (row, column).
        truth: of the same shape, at least 176 x 176.
        data_range: largest minus smallest possible value.

    Returns:
        From 0 to 1, 1 for equal images.

    Raises:
        ValueError: if the shapes differ or are too small, or the range is not positive.

    References:
        Z. Wang, E. P. Simoncelli, A. C. Bovik: Multi-scale structural similarity for image quality
        assessment. Asilomar Conference on Signals, Systems and Computers (2003), 1398, equation 7.
    """
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < SMALLEST:
        raise ValueError(
            f"two images of one shape, at least {SMALLEST} x {SMALLEST}, are needed; "
            f"got {a.shape} and {b.shape}"
        )
    result = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, structure = similarity_maps(a, b, data_range=data_range)
        is_last = scale == len(SCALE_WEIGHTS) - 1
        mean = float((luminance * structure if is_last else structure).mean())
        result *= max(mean, 0.0) ** weight
        if not is_last:
            a, b = _halved(a), _halved(b)
    return result


def _halved(image: np.ndarray) -> np.ndarray:
    rows, columns = (side // 2 for side in image.shape)
    even = np.ascontiguousarray(image[: 2 * rows, : 2 * columns])
    return np.asarray(cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA))
