"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def mean_squared_error(image: ArrayLike, truth: ArrayLike) -> float:
    """Mean of the squared differences, in the square of the images' unit.

    Args:
        image: any shape.
        truth: of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return float(np.mean(np.square(a - b)))


def psnr(image: ArrayLike, truth: ArrayLike, *, data_range: float) -> float:
    """10 log10(data_range^2 / mean squared error), in dB.

    Args:
        image: any shape.
        truth: of the same shape.
        data_range: largest minus smallest possible value; clip both images to it before.

    Returns:
        The ratio in dB; infinity for equal images, without a cap.

    Raises:
        ValueError: if the shapes differ or the range is not positive.
    """
    if not data_range > 0:
        raise ValueError(f"data_range must be positive, got {data_range}")
    error = mean_squared_error(image, truth)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)
