"""How far a synthetic slice is off the slice that was hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hrinet.metrics.psnr import mean_squared_error
from hrinet.metrics.ssim import ssim
from hrinet.synthesize.padding import AIR_HU, without_padding
from hrinet.synthesize.synthesized import BODY_HU
from hrinet.types import FLOAT32, SliceArray

HU_RANGE = (-1000.0, 1000.0)
"""That PSNR and SSIM are clipped to, HU. The mean absolute error is of all values."""

_SSIM_WINDOW = 11


@dataclass(frozen=True, slots=True)
class Score:
    """Of one slice.

    Attributes:
        mae_hu: mean absolute error over all voxels, HU.
        mse_hu2: mean squared error on :data:`HU_RANGE`, HU squared.
        ssim: mean structural similarity on :data:`HU_RANGE`; None for slices below 11 x 11.
        body_mae_hu: mean absolute error over the voxels above -900 HU, over which the mean of a
            method's own estimate is taken, too; see
            :func:`hrinet.synthesize.synthesized.mean_error`.
    """

    mae_hu: float
    mse_hu2: float
    ssim: float | None
    body_mae_hu: float

    @property
    def psnr_db(self) -> float | None:
        """Peak signal-to-noise ratio on :data:`HU_RANGE`, dB; None if nothing is off."""
        return psnr_of(self.mse_hu2)


def psnr_of(mse_hu2: float) -> float | None:
    """Peak signal-to-noise ratio on :data:`HU_RANGE`, dB; None where the error is zero."""
    low, high = HU_RANGE
    return 10 * math.log10((high - low) ** 2 / mse_hu2) if mse_hu2 > 0 else None


def score(made: SliceArray, truth: SliceArray, *, padding: float | None) -> Score:
    """Compare a synthetic slice with the one that was hidden.

    Args:
        made: shape (row, column), HU.
        truth: of the same shape.
        padding: value of voxels outside the field of view, which count as air; or None.
    """
    a, b = (_finite(without_padding(values, padding)) for values in (made, truth))
    off = np.abs(a - b)
    inside = a > BODY_HU
    low, high = HU_RANGE
    clipped_a, clipped_b = np.clip(a, low, high), np.clip(b, low, high)
    return Score(
        mae_hu=float(off.mean(dtype=np.float64)),
        mse_hu2=mean_squared_error(clipped_a, clipped_b),
        ssim=(
            ssim(clipped_a, clipped_b, data_range=high - low)
            if min(a.shape) >= _SSIM_WINDOW
            else None
        ),
        body_mae_hu=float((off[inside] if inside.any() else off).mean(dtype=np.float64)),
    )


def _finite(values: SliceArray) -> SliceArray:
    values = np.asarray(values, FLOAT32)
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=AIR_HU, posinf=AIR_HU, neginf=AIR_HU)


_LABEL_MOST = 256
_LABEL_EVEN = 0.8


def looks_like_labels(slices: list[SliceArray]) -> bool:
    """Whether values are ids of a segmentation rather than HU.

    That is: few whole numbers, none negative, and most voxels that are not zero equal to the next
    one in their row. No CT is like that.

    Args:
        slices: some of the scan, shape (row, column) each.
    """
    seen: set[float] = set()
    equal = counted = 0
    for values in slices:
        found = np.unique(values)
        if not np.isfinite(found).all() or (found < 0).any() or (found != np.rint(found)).any():
            return False
        seen.update(found.tolist())
        if len(seen) > _LABEL_MOST:
            return False
        is_set = values[:, :-1] != 0
        counted += int(is_set.sum())
        equal += int((is_set & (values[:, :-1] == values[:, 1:])).sum())
    return len(seen) > 1 and equal >= _LABEL_EVEN * counted
