"""What the measures share: checked pairs of arrays, and arrays as stacks of slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def same_shape(image: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as arrays.

    Args:
        image: any shape.
        truth: of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = np.asarray(image), np.asarray(truth)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return a, b


def checked_range(value_range: tuple[float, float]) -> tuple[float, float]:
    """Lower and upper end.

    Raises:
        ValueError: if the upper is not above the lower.
    """
    low, high = (float(value) for value in value_range)
    if not high > low:
        raise ValueError(f"value_range must be (lower, higher), got {value_range}")
    return low, high


def as_image(image: ArrayLike, *, smallest: int = 1) -> NDArray[Any]:
    """One image, shape (row, column).

    Args:
        image: the image.
        smallest: number of rows and of columns that are needed.

    Raises:
        ValueError: if it has not two axes or is too small.
    """
    array = np.asarray(image)
    if array.ndim != 2 or min(array.shape) < smallest:
        raise ValueError(
            f"an image (row, column) of at least {smallest} x {smallest} is needed; "
            f"got shape {array.shape}"
        )
    return array


def as_stack(slices: ArrayLike) -> NDArray[Any]:
    """A slice (row, column) or a stack (slice, row, column) as a stack, without a copy.

    Raises:
        ValueError: if it has neither two nor three axes, or no pixels.
    """
    array = np.asarray(slices)
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim != 3 or not array.size:
        raise ValueError(
            f"a slice (row, column) or a stack (slice, row, column) is needed; "
            f"got shape {array.shape}"
        )
    return array
