"""Lung densitometry: the emphysema index and the 15th percentile, and how far they are off."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import as_stack, same_shape

LUNG_HU = -500.0
"""Air and lung lie below."""

EMPHYSEMA_HU = -950.0

LEAST_SHARE = 0.1
"""Of the largest air-filled piece; smaller ones (bowel, oesophagus) are not lung."""

LEAST_PIXELS = 200
"""Smaller pieces within a slice are not looked at."""


def lung_mask(truth: ArrayLike) -> NDArray[np.bool_]:
    """Where a measured scan shows lung.

    Pixels below -500 HU after a 5 x 5 mean, in pieces that do not touch the border of their slice
    (the air around the patient does), joined from slice to slice where they overlap. Pieces with
    less than a tenth of the voxels of the largest are dropped. The trachea and large bronchi
    belong to the mask, consolidated lung does not. It is no segmentation for diagnosis; both
    sides of a comparison use the same mask, so that its faults cancel.

    Args:
        truth: shape (row, column) or (slice, row, column), HU.

    Returns:
        A mask of the same shape; empty where there is no lung.

    Raises:
        ValueError: if the shape is another.
    """
    stack = as_stack(truth)
    labels = np.zeros(stack.shape, np.int32)
    parents = [0]
    sizes = [0]
    for number, plane in enumerate(stack):
        smooth = cv2.blur(np.asarray(plane, np.float32), (5, 5))
        count, pieces, stats, _ = cv2.connectedComponentsWithStats(
            (smooth < LUNG_HU).astype(np.uint8), connectivity=4
        )
        new = np.zeros(count, np.int32)
        for piece in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[piece])
            inside = x > 0 and y > 0 and x + width < plane.shape[1] and y + height < plane.shape[0]
            if inside and area >= LEAST_PIXELS:
                new[piece] = len(parents)
                parents.append(len(parents))
                sizes.append(area)
        labels[number] = new[pieces]
        if number:
            both = (labels[number] > 0) & (labels[number - 1] > 0)
            pairs = labels[number][both] * np.int64(1 << 32) + labels[number - 1][both]
            # Along a row a pair mostly repeats; dropping repeats leaves little to sort.
            pairs = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]
            for pair in np.unique(pairs):
                root_a, root_b = (_root(parents, label) for label in divmod(int(pair), 1 << 32))
                parents[max(root_a, root_b)] = min(root_a, root_b)
    roots = np.array([_root(parents, label) for label in range(len(parents))])
    volumes = np.bincount(roots, weights=sizes, minlength=len(parents))
    kept = (volumes >= LEAST_SHARE * volumes.max()) & (volumes > 0)
    mask: NDArray[np.bool_] = kept[roots][labels] & (labels > 0)
    return mask.reshape(np.shape(truth))


def laa950(stack: ArrayLike, *, mask: NDArray[np.bool_] | None = None) -> float:
    """Low-attenuation area: the share of the lung below -950 HU, the emphysema index.

    Args:
        stack: shape (row, column) or (slice, row, column), HU.
        mask: of the lung; by default :func:`lung_mask` of the same stack.

    Returns:
        Percent; nan if there is no lung. Noise raises it: a smoother kernel or a thicker slice of
        the same lung gives less.

    Raises:
        ValueError: if the shapes differ.

    References:
        P. A. Gevenois et al.: Comparison of computed density and microscopic morphometry in
        pulmonary emphysema. American Journal of Respiratory and Critical Care Medicine 154
        (1996), 187.
    """
    values = _lung(stack, mask)
    if not values.size:
        return math.nan
    return 100 * float(np.count_nonzero(values < EMPHYSEMA_HU)) / values.size


def perc15(stack: ArrayLike, *, mask: NDArray[np.bool_] | None = None) -> float:
    """The 15th percentile of the lung's density.

    Args:
        stack: shape (row, column) or (slice, row, column), HU.
        mask: of the lung; by default :func:`lung_mask` of the same stack.

    Returns:
        HU; nan if there is no lung. Lower with emphysema.

    Raises:
        ValueError: if the shapes differ.

    References:
        D. G. Parr et al.: Validation of computed tomographic lung densitometry for monitoring
        emphysema in alpha1-antitrypsin deficiency. Thorax 61 (2006), 485.
    """
    values = _lung(stack, mask)
    return float(np.percentile(values, 15)) if values.size else math.nan


def laa950_bias(
    image: ArrayLike, truth: ArrayLike, *, mask: NDArray[np.bool_] | None = None
) -> float:
    """By how many percentage points :func:`laa950` of synthetic slices exceeds the truth's.

    Args:
        image: shape (row, column) or (slice, row, column), HU.
        truth: measured slices of the same shape, HU.
        mask: of the lung; by default :func:`lung_mask` of the truth, used for both.

    Returns:
        Percentage points, negative where emphysema is missed; nan if there is no lung.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = same_shape(image, truth)
    where = lung_mask(b) if mask is None else mask
    return laa950(a, mask=where) - laa950(b, mask=where)


def perc15_bias(
    image: ArrayLike, truth: ArrayLike, *, mask: NDArray[np.bool_] | None = None
) -> float:
    """By how much :func:`perc15` of synthetic slices exceeds the truth's.

    Args:
        image: shape (row, column) or (slice, row, column), HU.
        truth: measured slices of the same shape, HU.
        mask: of the lung; by default :func:`lung_mask` of the truth, used for both.

    Returns:
        HU, positive where the lung looks too dense; nan if there is no lung.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = same_shape(image, truth)
    where = lung_mask(b) if mask is None else mask
    return perc15(a, mask=where) - perc15(b, mask=where)


def _lung(stack: ArrayLike, mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    values = np.asarray(stack)
    where = lung_mask(values) if mask is None else np.asarray(mask, bool)
    if where.shape != values.shape:
        raise ValueError(f"shapes differ: {values.shape} and mask {where.shape}")
    return np.asarray(values[where])


def _root(parents: list[int], label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label
