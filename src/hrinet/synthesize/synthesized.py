"""What the engine hands over: output slices and, where the method estimates it, their error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hrinet.plan.plan import PlannedSlice
from hrinet.types import SliceArray

BODY_HU = -900.0
"""Voxels above this count towards the mean error of a slice: the air around a patient, which is
easy to predict, would hide the error within."""


class ErrorMaps(NamedTuple):
    """The estimated error of one slice, voxel by voxel.

    Attributes:
        expected_error: expected absolute error, shape (row, column), HU, float32.
        half_width: half width of the 90 % interval, of the same shape, HU, float32.
    """

    expected_error: SliceArray
    half_width: SliceArray


class SliceError(NamedTuple):
    """The estimated error of one slice; see :func:`mean_error`.

    Attributes:
        expected_hu: mean of the expected absolute error, HU.
        half_width_90_hu: mean of the half width of the 90 % interval, HU.
    """

    expected_hu: float
    half_width_90_hu: float


NO_ERROR = SliceError(0.0, 0.0)
"""That of an original."""


@dataclass(frozen=True, slots=True, eq=False)
class Synthesized:
    """One output slice.

    Attributes:
        planned: which.
        values: shape (row, column), HU, of the source's dtype.
        error: what the method expects of it, zero for an original; None if it estimates nothing.
        maps: the same voxel by voxel, zero for an original; None unless asked for.
    """

    planned: PlannedSlice
    values: SliceArray
    error: SliceError | None = None
    maps: ErrorMaps | None = None


def mean_error(values: SliceArray, maps: ErrorMaps) -> SliceError:
    """The mean of error maps over the voxels above :data:`BODY_HU`.

    Over all voxels where none lies above. Voxels without a finite estimate do not count.

    Args:
        values: of the slice, shape (row, column), HU.
        maps: of the same shape.
    """
    inside = values > BODY_HU
    if not inside.any():
        inside = np.ones(values.shape, bool)
    means = []
    for one in maps:
        mean = cv2.mean(one, mask=inside.view(np.uint8))[0]  # ten times as fast as by indices
        if not math.isfinite(mean):
            counted = one[inside & np.isfinite(one)]
            mean = float(counted.mean(dtype=np.float64)) if counted.size else 0.0
        means.append(mean)
    return SliceError(*means)
