"""From float HU to whole HU."""

from __future__ import annotations

import cv2

from hrinet.types import INT16, SliceArray


def store(values: SliceArray, output: SliceArray) -> None:
    """Copy a slice, rounding to nearest (ties to even) and saturating where the output is int16.

    Args:
        values: shape (row, column), HU, int16 or float32.
        output: of the same shape, int16 or float32.
    """
    if output.dtype == INT16 and values.dtype != INT16:
        # One vectorized pass; NumPy needs three. OpenCV's stubs do not know scalars.
        cv2.add(values, 0.0, dst=output, dtype=cv2.CV_16S)  # type: ignore[call-overload]
    else:
        output[...] = values
