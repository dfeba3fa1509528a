"""Voxels outside the field of view, which scanners mark by a value that is no HU."""

from __future__ import annotations

from collections.abc import Sequence

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


def seen_by_neighbours(
    slices: Sequence[SliceArray], left: int, padding: float | None
) -> list[SliceArray]:
    """The slices around a gap with nothing in them that is no HU.

    In the two inner ones padding becomes air, as what is between them is there too. In the outer
    ones it takes the values of the inner neighbour, as if there were no outer slice in that place:
    air beyond tissue would be an edge that nobody measured.

    Args:
        slices: two or more, in order, each of shape (row, column).
        left: which of them is the inner one before the gap.
        padding: the value that marks it, or None.
    """
    seen = [without_padding(values, padding) for values in slices]
    if padding is None:
        return seen
    for outer, inner in ((left - 1, left), (left + 2, left + 1)):
        if 0 <= outer < len(slices):
            mask = slices[outer] == padding
            if mask.any():
                seen[outer] = np.where(mask, seen[inner], seen[outer])
    return seen
