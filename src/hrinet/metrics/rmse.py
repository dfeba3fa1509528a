"""Root mean square error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.pairs import checked_range, same_shape
from hrinet.metrics.psnr import mean_squared_error


def rmse(image: ArrayLike, truth: ArrayLike) -> float:
    """Root of the mean of the squared differences, in the images' unit.

    Args:
        image: any shape.
        truth: of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    return math.sqrt(mean_squared_error(image, truth))


def rmse_255(image: ArrayLike, truth: ArrayLike, *, value_range: tuple[float, float]) -> float:
    """The root mean square error of images whose value range is stretched to 0..255.

    Both are clipped to the range first and not rounded to whole grey levels. With ``P`` the peak
    signal-to-noise ratio of the same clipped images, this is 255 / 10^(P / 20).

    Args:
        image: any shape.
        truth: of the same shape.
        value_range: what becomes 0 and 255.

    Returns:
        0 for equal images, 255 at most.

    Raises:
        ValueError: if the shapes differ or the range is empty.
    """
    low, high = checked_range(value_range)
    a, b = same_shape(image, truth)
    return rmse(np.clip(a, low, high), np.clip(b, low, high)) * 255 / (high - low)
