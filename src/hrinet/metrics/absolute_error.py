"""Mean absolute error, and the pair L1 and L2."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.pairs import same_shape
from hrinet.metrics.psnr import mean_squared_error


def mean_absolute_error(image: ArrayLike, truth: ArrayLike) -> float:
    """Mean of the absolute differences, in the images' unit.

    Args:
        image: any shape.
        truth: of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = same_shape(image, truth)
    if a.dtype.kind in "iub" and b.dtype.kind in "iub":
        return float(np.abs(np.subtract(a, b, dtype=np.int64)).mean())
    difference = np.subtract(a, b, dtype=np.result_type(a, b, np.float32))
    return float(np.abs(difference).mean(dtype=np.float64))


def l1(image: ArrayLike, truth: ArrayLike) -> float:
    """The L1 loss: :func:`mean_absolute_error`.

    References:
        J. Li: HRINet (thesis, 2020), equation 2-3.
    """
    return mean_absolute_error(image, truth)


def l2(image: ArrayLike, truth: ArrayLike) -> float:
    """The L2 loss: the mean of the squared differences, in the square of the images' unit.

    The thesis defines both losses by its equations 2-3 and 2-4, and these are computed here. In its
    Table 4-3, however, every L2 is the square of the L1 above it to all printed digits (3.837^2 =
    14.723), which holds for a mean of squares and its root, not for a mean of absolute differences;
    and the scale of the intensities is not stated. So the table's columns cannot be compared with
    these numbers.

    Args:
        image: any shape.
        truth: of the same shape.

    Raises:
        ValueError: if the shapes differ.

    References:
        J. Li: HRINet (thesis, 2020), equation 2-4.
    """
    return mean_squared_error(image, truth)
