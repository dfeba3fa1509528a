"""NIQE, the natural image quality evaluator, with statistics of real CT slices."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.aggd import fit_aggd
from hrinet.metrics.niqe_model import PATCH, NiqeModel, packaged_model
from hrinet.metrics.pairs import as_image, checked_range
from hrinet.types import Float64Array

__all__ = ["PATCH", "NiqeModel", "features", "fit_features", "niqe", "packaged_model"]

CLIPPED_SHARE = 0.25
"""Patches with a larger share of pixels at the ends of the window show no tissue to judge."""

_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours whose product is taken: right, below, and the two diagonals."""

# MATLAB's imresize by one half: the cubic kernel (a = -1/2), stretched to twice its width against
# aliasing, falls on the same eight distances for every pixel.
_HALF = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float64) / 256


def niqe(
    image: ArrayLike, *, value_range: tuple[float, float], model: NiqeModel | None = None
) -> float:
    """Distance between the statistics of an image and those of sharp patches of real CT slices.

    Needs no truth. It tells whether texture, noise and sharpness look like those of measured CT,
    not whether the anatomy is right. Patches in which more than a quarter of the pixels lie at the
    ends of the window (air around the patient) are left out.

    Args:
        image: shape (row, column), at least 96 x 96, HU.
        value_range: HU that become 0 and 255; must be the model's.
        model: statistics to compare with; the packaged ones, fitted on CT, by default.

    Returns:
        0 or more, lower is better; nan if fewer than two patches show tissue.

    Raises:
        ValueError: if the image is too small, or the model was fitted with another window.

    References:
        A. Mittal, R. Soundararajan, A. C. Bovik: Making a "completely blind" image quality
        analyzer. IEEE Signal Processing Letters 20 (2013), 209; equation 10.
    """
    model = packaged_model() if model is None else model
    if checked_range(value_range) != model.value_range:
        raise ValueError(
            f"the model was fitted on HU from {model.value_range[0]:g} to "
            f"{model.value_range[1]:g}; value_range is {value_range}"
        )
    values, _ = fit_features(image, value_range=value_range)
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 2:
        return math.nan
    difference = values.mean(axis=0) - model.mean
    pooled = (np.cov(values, rowvar=False) + model.covariance) / 2
    return math.sqrt(max(0.0, float(difference @ np.linalg.pinv(pooled) @ difference)))


def features(image: ArrayLike) -> Float64Array:
    """The 36 features of every patch of an image with values from 0 to 255.

    Of each scale: shape and mean scale of the generalized Gaussian of the normalized values; then,
    for products with the neighbour to the right, below, and on both diagonals, shape, mean, left
    and right scale of their asymmetric generalized Gaussian. Neighbours wrap around within a patch,
    as in the authors' release.

    Args:
        image: shape (row, column), at least 96 x 96, on the scale 0..255. What does not fill a
            patch at the lower and right border is left out.

    Returns:
        shape (patch, 36), patches row by row; first the 18 features of the full scale, then those
        of half the size. nan where a patch is flat.

    Raises:
        ValueError: if the image is too small.
    """
    values, _ = _features_and_sharpness(image)
    return values


def fit_features(
    image: ArrayLike, *, value_range: tuple[float, float]
) -> tuple[Float64Array, Float64Array]:
    """Features and sharpness of the patches of a slice that show tissue.

    Args:
        image: shape (row, column), at least 96 x 96, HU.
        value_range: HU that become 0 and 255.

    Returns:
        shape (patch, 36), and the mean local standard deviation of each patch, shape (patch,).

    Raises:
        ValueError: if the image is too small or the range empty.
    """
    low, high = checked_range(value_range)
    array = _whole_patches(image)
    clipped = np.clip(array, low, high)
    outside = _patches((clipped <= low) | (clipped >= high), PATCH).mean(axis=1)
    keep = outside <= CLIPPED_SHARE
    if not keep.any():
        return np.zeros((0, 36)), np.zeros(0)
    grey = (clipped - low) * (255 / (high - low))
    values, sharpness = _features_and_sharpness(grey, keep)
    return values, sharpness


def _features_and_sharpness(
    image: ArrayLike, keep: NDArray[np.bool_] | None = None
) -> tuple[Float64Array, Float64Array]:
    grey = _whole_patches(image)
    columns = []
    sharpness = np.zeros(0)
    for scale in (1, 2):
        normalized, deviation = _mscn(grey)
        size = PATCH // scale
        patches = _patches(normalized, size)
        chosen = slice(None) if keep is None else keep
        if scale == 1:
            sharpness = _patches(deviation, size)[chosen].mean(axis=1)
            half = cv2.sepFilter2D(
                grey, cv2.CV_64F, _HALF, _HALF, anchor=(3, 3), borderType=cv2.BORDER_REFLECT
            )
            grey = np.ascontiguousarray(half[::2, ::2])
        columns.append(_scale_features(patches[chosen].reshape(-1, size, size)))
    return np.concatenate(columns, axis=1), sharpness


def _scale_features(patches: Float64Array) -> Float64Array:
    flat = patches.reshape(len(patches), -1)
    own = fit_aggd(flat)
    columns = [own.shape, (own.left + own.right) / 2]
    for shift in _SHIFTS:
        product = patches * np.roll(patches, shift, axis=(1, 2))
        pair = fit_aggd(product.reshape(len(patches), -1))
        columns += [pair.shape, pair.mean, pair.left, pair.right]
    return np.stack(columns, axis=1)


def _mscn(grey: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Values less the local mean over the local deviation plus 1, and that deviation."""

    def local(values: Float64Array) -> Float64Array:
        blurred = cv2.GaussianBlur(values, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, np.float64)

    mean = local(grey)
    deviation = np.sqrt(np.abs(local(grey * grey) - mean * mean))
    return (grey - mean) / (deviation + 1), deviation


def _whole_patches(image: ArrayLike) -> Float64Array:
    array = as_image(image, smallest=PATCH)
    rows, columns = (side // PATCH * PATCH for side in array.shape)
    return np.ascontiguousarray(array[:rows, :columns], np.float64)


def _patches(values: NDArray[np.generic], size: int) -> Float64Array:
    """Shape (patch, pixel), patches row by row."""
    down, across = (side // size for side in values.shape)
    blocks = values.reshape(down, size, across, size).swapaxes(1, 2)
    return np.asarray(blocks.reshape(down * across, size * size), np.float64)
