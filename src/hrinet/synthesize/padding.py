"""Voxels outside the field of view, which scanners mark by a value that is no HU."""

from __future__ import annotations

import numpy as np

from hrinet.types import SliceArray

AIR_HU = -1024.0


def without_padding(values: SliceArray, padding: float | None) -> SliceArray:
    """A slice with air in place of padding; itself where it has none.

    Args:
        values: shape (row, column), HU.
        padding: the value that marks it, or None.
    """
    if padding is None:
        return values
    mask = values == padding
    if not mask.any():
        return values
    return np.where(mask, values.dtype.type(AIR_HU), values)
