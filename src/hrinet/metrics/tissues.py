"""Which pixels are lung, fat, soft tissue and bone, and how HU are shifted and squeezed there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import as_stack, same_shape

TISSUES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "air": (-4000.0, -950.0),
        "lung": (-950.0, -500.0),
        "fat": (-150.0, -30.0),
        "soft tissue": (0.0, 100.0),
        "bone": (200.0, 4000.0),
    }
)
"""Lower end (included) and upper end (excluded), HU, of the smoothed true slice."""

SMOOTHING = 5
"""The true slice is averaged over this many pixels squared, so that noise chooses no pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueBias:
    """How one tissue differs from the truth.

    Attributes:
        bias_hu: mean of image minus truth, HU; nan where there are no voxels.
        width_ratio: interquartile range of the image's HU over that of the truth's; below 1 where
            the histogram was narrowed; nan where there are no voxels or the truth is flat.
        voxels: number of them.
    """

    bias_hu: float
    width_ratio: float
    voxels: int


def tissue_masks(truth: ArrayLike) -> dict[str, NDArray[np.bool_]]:
    """The pixels of every tissue of :data:`TISSUES`.

    A pixel belongs to a tissue if the mean of the 5 x 5 pixels around it, within its slice, lies
    in the tissue's interval. Pixels between two intervals belong to none. The bone interval also
    holds metal and well contrasted blood, the air interval the surroundings and emphysema.

    Args:
        truth: shape (row, column) or (slice, row, column), HU, of measured slices.

    Returns:
        Masks of the same shape.

    Raises:
        ValueError: if the shape is another.
    """
    shape = np.shape(truth)
    smooth = np.empty(as_stack(truth).shape, np.float32)
    for source, target in zip(as_stack(truth), smooth, strict=True):
        cv2.blur(np.asarray(source, np.float32), (SMOOTHING, SMOOTHING), dst=target)
    smooth = smooth.reshape(shape)
    return {name: (smooth >= low) & (smooth < high) for name, (low, high) in TISSUES.items()}


def hu_bias(
    image: ArrayLike, truth: ArrayLike, *, masks: Mapping[str, NDArray[np.bool_]] | None = None
) -> dict[str, TissueBias]:
    """Shift and width of the HU of every tissue, in voxels that the true slices choose.

    The choice favours the truth. Where only voxels at least so bright count as bone, those that
    noise or a sharp edge lifted over the limit are among them; any estimate that does not know
    this noise lies lower on average. Even a perfect noise-free image shows a negative bias in bone
    and a positive one in lung and air: regression to the mean. Smoothing the slice that chooses
    lessens it and does not end it. Compare methods with each other, not with 0.

    Args:
        image: shape (row, column) or (slice, row, column), HU.
        truth: measured slices of the same shape, HU.
        masks: other masks by name than :func:`tissue_masks` of the truth.

    Returns:
        One entry a tissue, all of them, also those without voxels.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = same_shape(image, truth)
    found = {}
    for name, mask in (tissue_masks(b) if masks is None else masks).items():
        inside_a, inside_b = a[mask], b[mask]
        if not inside_a.size:
            found[name] = TissueBias(bias_hu=np.nan, width_ratio=np.nan, voxels=0)
            continue
        bias = inside_a.mean(dtype=np.float64) - inside_b.mean(dtype=np.float64)
        width = interquartile_range(inside_b)
        found[name] = TissueBias(
            bias_hu=float(bias),
            width_ratio=interquartile_range(inside_a) / width if width else np.nan,
            voxels=inside_a.size,
        )
    return found


def interquartile_range(values: NDArray[Any]) -> float:
    """Distance between the quartiles of HU, from bins of 1 HU and linear within them.

    Args:
        values: not empty, HU; non-integers count in the nearest bin.

    Returns:
        HU; 0 if all values are equal.
    """
    whole = values if values.dtype.kind in "iu" else np.rint(values)
    whole = np.clip(whole, -32768, 32767).astype(np.int32)
    least = int(whole.min())
    counts = np.bincount(whole - least)
    if len(counts) == 1:
        return 0.0
    edges = np.arange(len(counts) + 1) - 0.5
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    # Empty bins repeat a height, which np.interp resolves to one end; the quartiles lie elsewhere.
    low, high = np.interp([0.25 * values.size, 0.75 * values.size], cumulative, edges)
    return float(high - low)
