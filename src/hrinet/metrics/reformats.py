"""Through-plane smoothness: what coronal and sagittal reformats of a filled scan look like."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import checked_range, same_shape
from hrinet.metrics.ssim import ssim_map
from hrinet.types import Float64Array

Axis = Literal[1, 2]
"""1: the planes of constant row (coronal in an axial scan); 2: of constant column (sagittal)."""

_MARGIN = 5  # Half of the window of structural similarity.


def plane_ssim(
    image: ArrayLike,
    truth: ArrayLike,
    synthetic: ArrayLike,
    *,
    axis: Axis,
    value_range: tuple[float, float],
    step: int = 8,
) -> float:
    """Mean structural similarity, in reformats, of the pixels that lie on synthetic slices.

    Pixels of a plane count as squares, whatever the spacing.

    Args:
        image: the filled volume, originals included, shape (slice, row, column), HU.
        truth: the complete scan, of the same shape, HU.
        synthetic: True for every slice that was synthesized.
        axis: see :data:`Axis`.
        value_range: both are clipped to it, HU.
        step: every step-th plane is scored.

    Returns:
        At most 1; nan if no synthetic slice lies at least 5 slices inside the scan.

    Raises:
        ValueError: if shapes do not fit or there are fewer than 11 slices.
    """
    a, b = _volumes(image, truth)
    low, high = checked_range(value_range)
    inner = _flags(synthetic, len(a))[_MARGIN:-_MARGIN]
    if not inner.any():
        return float("nan")

    def one(index: int) -> float:
        planes = (np.take(volume, index, axis=axis) for volume in (a, b))
        first, second = (np.clip(plane, low, high).astype(np.float64) for plane in planes)
        return float(ssim_map(first, second, data_range=high - low)[inner].mean())

    with ThreadPoolExecutor() as pool:
        return float(np.mean(list(pool.map(one, range(step // 2, a.shape[axis], step)))))


def through_plane_gradient(
    volume: ArrayLike, synthetic: ArrayLike, *, positions_mm: ArrayLike
) -> float:
    """Mean steepness between neighbouring slices of which at least one is synthetic.

    Args:
        volume: shape (slice, row, column), HU.
        synthetic: True for every synthetic slice.
        positions_mm: of the slices along their normal, mm, increasing or decreasing.

    Returns:
        HU / mm; nan if nothing is synthetic.

    Raises:
        ValueError: if shapes do not fit or two positions are equal.
    """
    steps, distances = _steps(np.asarray(volume), synthetic, positions_mm)
    return float(np.mean(steps / distances)) if len(steps) else float("nan")


def through_plane_gradient_ratio(
    image: ArrayLike, truth: ArrayLike, synthetic: ArrayLike, *, positions_mm: ArrayLike
) -> float:
    """Steepness along the normal in a filled scan, over that of the complete one.

    In coronal and sagittal reformats alike this is the gradient across slices. Below 1 the filled
    scan is smoother than the measured one, as all interpolation is: on the way from one measured
    slice to the next it has less noise. Repeating slices gets the same figure as mixing them, as
    both go the shortest way; :func:`staircase` tells them apart.

    Args:
        image: the filled volume, shape (slice, row, column), HU.
        truth: the complete scan, of the same shape, HU.
        synthetic: True for every synthetic slice.
        positions_mm: of the slices along their normal, mm.

    Returns:
        The ratio; nan if nothing is synthetic or the truth is flat.

    Raises:
        ValueError: if shapes do not fit or two positions are equal.
    """
    a, b = same_shape(image, truth)
    steepness = through_plane_gradient(b, synthetic, positions_mm=positions_mm)
    found = through_plane_gradient(a, synthetic, positions_mm=positions_mm)
    return found / steepness if steepness else float("nan")


def staircase(
    image: ArrayLike, truth: ArrayLike, synthetic: ArrayLike, *, positions_mm: ArrayLike
) -> float:
    """How unevenly the filled scan changes from slice to slice, over how unevenly the truth does.

    For the pairs of :func:`through_plane_gradient`: the coefficient of variation (standard
    deviation over mean) of the steepness of the pairs of a scan.

    Args:
        image: the filled volume, shape (slice, row, column), HU.
        truth: the complete scan, of the same shape, HU.
        synthetic: True for every synthetic slice.
        positions_mm: of the slices along their normal, mm.

    Returns:
        Image minus truth: 0 as even as the measured scan; about 1 for slices repeated in pairs.

    Raises:
        ValueError: if shapes do not fit or two positions are equal.
    """
    a, b = same_shape(image, truth)

    def unevenness(volume: NDArray[Any]) -> float:
        steps, distances = _steps(volume, synthetic, positions_mm)
        slopes = steps / distances
        mean = float(slopes.mean()) if len(slopes) else 0.0
        return float(slopes.std()) / mean if mean else float("nan")

    return unevenness(a) - unevenness(b)


def _steps(
    volume: NDArray[Any], synthetic: ArrayLike, positions_mm: ArrayLike
) -> tuple[Float64Array, Float64Array]:
    """Mean absolute HU between neighbours of which one is synthetic, and their distances, mm."""
    if volume.ndim != 3 or len(volume) < 2:
        raise ValueError(f"a volume of at least two slices is needed; got shape {volume.shape}")
    flags = _flags(synthetic, len(volume))
    positions = np.asarray(positions_mm, np.float64)
    if positions.shape != (len(volume),):
        raise ValueError(f"{len(volume)} positions are needed; got shape {positions.shape}")
    distances = np.abs(np.diff(positions))
    if not (distances > 0).all():
        raise ValueError("two neighbouring slices have the same position")
    chosen = np.flatnonzero(flags[:-1] | flags[1:])
    steps = [
        np.abs(np.subtract(volume[i + 1], volume[i], dtype=np.float32)).mean(dtype=np.float64)
        for i in chosen
    ]
    return np.array(steps, np.float64), distances[chosen]


def _volumes(image: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = same_shape(image, truth)
    least = 2 * _MARGIN + 1
    if a.ndim != 3 or min(a.shape) < least:
        raise ValueError(f"at least {least} slices, rows and columns are needed; got {a.shape}")
    return a, b


def _flags(synthetic: ArrayLike, slices: int) -> NDArray[np.bool_]:
    flags = np.asarray(synthetic, bool)
    if flags.shape != (slices,):
        raise ValueError(f"synthetic needs one flag for each of {slices} slices; got {flags.shape}")
    return flags
