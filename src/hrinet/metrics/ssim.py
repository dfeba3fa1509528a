"""Structural similarity."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from hrinet.types import Float64Array

_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def similarity_maps(
    image: ArrayLike, truth: ArrayLike, *, data_range: float
) -> tuple[Float64Array, Float64Array]:
    """The two factors of :func:`ssim_map`.

    Args:
        image: shape (row, column).
        truth: of the same shape, at least 11 x 11.
        data_range: largest minus smallest possible value.

    Returns:
        Luminance, and contrast times structure, both of shape (row - 10, column - 10).

    Raises:
        ValueError: if the shapes differ or are too small, or the range is not positive.
    """
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < _WINDOW:
        raise ValueError(
            f"two images of one shape, at least {_WINDOW} x {_WINDOW}, are needed; "
            f"got {a.shape} and {b.shape}"
        )
    if not data_range > 0:
        raise ValueError(f"data_range must be positive, got {data_range}")

    def local_mean(values: Float64Array) -> Float64Array:
        margin = _WINDOW // 2
        blurred = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)
        return np.asarray(blurred[margin:-margin, margin:-margin], np.float64)

    mean_a, mean_b = local_mean(a), local_mean(b)
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    covariance = local_mean(a * b) - product
    # The two variances appear as their sum only: one filter fewer.
    variances = local_mean(a * a + b * b) - squares
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance: Float64Array = (2 * product + c1) / (squares + c1)
    structure: Float64Array = (2 * covariance + c2) / (variances + c2)
    return luminance, structure


def ssim_map(image: ArrayLike, truth: ArrayLike, *, data_range: float) -> Float64Array:
    """Structural similarity at every pixel whose window lies inside the image.

    The 11 x 11 Gaussian window (sigma 1.5) and constants (K1 0.01, K2 0.03) of the paper. The
    luminance term was made for intensities from 0 on: in HU, water counts as black and air as
    bright. Subtract the lower end of the range first where that matters.

    Args:
        image: shape (row, column).
        truth: of the same shape, at least 11 x 11.
        data_range: largest minus smallest possible value.

    Returns:
        Shape (row - 10, column - 10), at most 1.

    Raises:
        ValueError: if the shapes differ or are too small, or the range is not positive.

    References:
        Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli: Image quality assessment: from error
        visibility to structural similarity. IEEE Transactions on Image Processing 13 (2004), 600.
    """
    luminance, structure = similarity_maps(image, truth, data_range=data_range)
    result: Float64Array = luminance * structure
    return result


def ssim(image: ArrayLike, truth: ArrayLike, *, data_range: float) -> float:
    """Mean of :func:`ssim_map`."""
    return float(ssim_map(image, truth, data_range=data_range).mean())
