"""Thick and overlapping slices, simulated from thin ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hrinet.errors import RequestError
from hrinet.volume import Volume


def thickened(volume: Volume, count: int) -> Volume:
    """Thicker slices at the same distances: each the mean of so many neighbours.

    Every r-th of them is a scan with gaps of r times the distance, in which slices as thick as the
    gap, or thicker, can be hidden and found again.

    Args:
        volume: with slices at even distances; if their thickness is not known, they touch.
        count: how many slices make one; 1 changes nothing.

    Returns:
        As many slices less as are lost at the ends, each at the middle of those that made it.

    Raises:
        RequestError: if the volume has fewer slices, or the count is none.
    """
    if not 1 <= count <= len(volume):
        raise RequestError(f"{count} slices cannot be averaged in a volume of {len(volume)}")
    if count == 1:
        return volume
    geometry, array = volume.geometry, volume.array
    firsts = range(len(array) - count + 1)
    means = [array[first : first + count].mean(axis=0, dtype=np.float32) for first in firsts]
    stacked = np.stack(means)
    if array.dtype.kind == "i":
        stacked = np.rint(stacked).astype(array.dtype)
    middle = (geometry.origins[count - 1] - geometry.origins[0]) / 2
    thickness = geometry.slice_thickness or geometry.spacing_mm
    return Volume(
        array=stacked,
        geometry=replace(
            geometry,
            origins=geometry.origins[: len(means)] + middle,
            slice_thickness=thickness + (count - 1) * geometry.spacing_mm,
        ),
        padding_hu=volume.padding_hu,
        info=volume.info,
    )
