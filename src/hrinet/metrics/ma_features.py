"""The three groups of features of Ma et al.: block cosines, wavelets, patches."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.aggd import moment_ratio
from hrinet.metrics.pairs import as_image
from hrinet.metrics.ssim import similarity_maps
from hrinet.metrics.steerable import ORIENTATIONS, Pyramid, enlarged, steerable_pyramid
from hrinet.types import Float64Array

SMALLEST = 128
"""Rows and columns: a band of half the size, less its borders, holds the window of similarity."""

FEATURE_COUNTS = (18, 45, 75)
"""Of the three groups."""

_BLOCK = 7
_STRIDE = 3
_BORDER = (16, 8)
"""Pixels of normalized bands left out at each side, by level."""


class MaFeatures(NamedTuple):
    """What the three forests see.

    Attributes:
        local: block cosine statistics, shape (18,).
        wavelet: global statistics of wavelet bands, shape (45,).
        spatial: singular values of patches, shape (75,).
    """

    local: Float64Array
    wavelet: Float64Array
    spatial: Float64Array


def ma_features(grey: ArrayLike) -> MaFeatures:
    """Features of an image with grey levels from 0 to 255.

    The order is that of the authors' release, for whose forests they are. Details that the paper
    leaves open follow it too: shape parameters are the next lower thousandth from 0.030 on, 11
    where none fits; the finest bands of the first five orientations alone have a parent; a
    neighbourhood's quadratic form is divided by 9 plus its parents, though it has more members.

    Args:
        grey: shape (row, column), at least 128 x 128, 0..255.

    Returns:
        The three vectors.

    Raises:
        ValueError: if the image is too small.

    References:
        C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang: Learning a no-reference quality metric for
        single-image super-resolution. Computer Vision and Image Understanding 158 (2017), 1.
    """
    values = np.asarray(as_image(grey, smallest=SMALLEST), np.float64)
    scales = [values / 255]
    for _ in range(2):
        blurred = cv2.GaussianBlur(scales[-1], (3, 3), 0.5, borderType=cv2.BORDER_CONSTANT)
        scales.append(np.ascontiguousarray(blurred[1::2, 1::2]))
    return MaFeatures(
        local=np.concatenate([_block_statistics(scale) for scale in scales]),
        wavelet=_wavelet_statistics(values),
        spatial=np.concatenate([_singular_values(scale) for scale in scales]),
    )


def _block_statistics(image: Float64Array) -> Float64Array:
    """Six numbers from the cosine transforms of overlapping 7 x 7 blocks; section 3.1.

    Shape of the coefficients: mean of the lowest tenth, mean. Their variation and its differences
    between three ranges of direction: mean of the highest tenth, mean.
    """
    down, across = (-(-side // _STRIDE) for side in image.shape)
    rows, columns = image.shape
    padded = np.zeros((_STRIDE * down + 4, _STRIDE * across + 4))
    padded[2 : 2 + rows, 2 : 2 + columns] = image
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_BLOCK, _BLOCK))
    blocks = windows[::_STRIDE, ::_STRIDE].reshape(-1, _BLOCK * _BLOCK)
    transform, directions = _cosines()
    coefficients = blocks @ transform
    shapes = np.sort(_fitted_shapes(coefficients))
    magnitudes = np.abs(coefficients)
    variation = np.sort(_variation(magnitudes, 1e-7))
    spread = np.stack([_variation(magnitudes[:, part], 1e-8) for part in directions])
    orientation = np.sort(spread.var(axis=0, ddof=1))
    lowest = math.ceil(len(shapes) * 0.1)
    highest = int(len(shapes) * 0.9) - 1
    return np.array(
        [
            shapes[:lowest].mean(),
            shapes.mean(),
            variation[highest:].mean(),
            variation.mean(),
            orientation[highest:].mean(),
            orientation.mean(),
        ]
    )


@cache
def _cosines() -> tuple[Float64Array, tuple[NDArray[np.intp], ...]]:
    """The 2D cosine transform without its mean, (pixel, coefficient), and three directions."""
    k = np.arange(_BLOCK)
    basis = np.cos(math.pi * np.outer(k, 2 * k + 1) / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] = math.sqrt(1 / _BLOCK)
    transform = np.asarray(np.kron(basis, basis).T[:, 1:], np.float64)
    angle = np.degrees(np.arctan2(*np.divmod(np.arange(1, _BLOCK**2), _BLOCK)))
    # Sixteen coefficients each; the sectors of the release, whose limits no coefficient is near.
    sectors = (angle < 32, (angle > 32) & (angle < 58), angle > 58)
    return transform, tuple(np.flatnonzero(sector) for sector in sectors)


def _variation(magnitudes: Float64Array, guard: float) -> Float64Array:
    """Standard deviation over mean of every row."""
    result: Float64Array = magnitudes.std(axis=1, ddof=1) / (magnitudes.mean(axis=1) + guard)
    return result


def _fitted_shapes(values: Float64Array) -> Float64Array:
    """Shape parameter of the generalized Gaussian of every row, on the release's grid."""
    centred = values - values.mean(axis=1, keepdims=True)
    variance = np.einsum("ij,ij->i", centred, centred) / (values.shape[1] - 1)
    ratio = variance / (np.square(np.abs(centred).mean(axis=1)) + 1e-7)
    shapes, ratios = _shape_grid()
    # Ratios fall; the last one that is not below the wanted.
    index = len(ratios) - np.searchsorted(ratios[::-1], ratio, side="left") - 1
    fits = (index >= 0) & (index < len(ratios) - 1)
    return np.where(fits, shapes[np.clip(index, 0, len(ratios) - 1)], 11.0)


@cache
def _shape_grid() -> tuple[Float64Array, Float64Array]:
    shapes = np.arange(30, 10001) / 1000
    return shapes, np.array([1 / moment_ratio(float(shape)) for shape in shapes])


def _wavelet_statistics(grey: Float64Array) -> Float64Array:
    """45 numbers from the bands of a steerable pyramid; section 3.2.

    Shapes of the twelve normalized bands, and of the six orientations over both levels; similarity
    of structure between each band and the high-pass, and between each two orientations of the
    finer level.
    """
    pyramid = steerable_pyramid(grey)
    fine, coarse = (
        [_normalized(pyramid, level, number) for number in range(ORIENTATIONS)]
        for level in range(2)
    )
    rows = [band.reshape(1, -1) for band in (*fine, *coarse)]
    rows += [
        np.concatenate([a.ravel(), b.ravel()])[None] for a, b in zip(fine, coarse, strict=True)
    ]
    shapes = [_fitted_shapes(row - row.mean())[0] for row in rows]
    size = pyramid.highpass.shape
    across_scales = [
        _structure(enlarged(band, *size), pyramid.highpass)
        for level in pyramid.bands
        for band in level
    ]
    across_orientations = [
        _structure(fine[i], fine[j])
        for i in range(ORIENTATIONS)
        for j in range(i + 1, ORIENTATIONS)
    ]
    return np.array([*shapes, *across_scales, *across_orientations])


def _normalized(pyramid: Pyramid, level: int, number: int) -> Float64Array:
    """A band over the local deviation that its Gaussian scale mixture has.

    The neighbourhood: 3 x 3 coefficients, the other orientations, and at times the parent, the
    same place and orientation one level up.
    """
    bands = pyramid.bands[level]
    band = bands[number]
    centre = band[1:-1, 1:-1]
    rows, columns = centre.shape
    neighbours = [
        band[1 + y : 1 + y + rows, 1 + x : 1 + x + columns] for y in (-1, 0, 1) for x in (-1, 0, 1)
    ]
    has_parent = level == 0 and number < ORIENTATIONS - 1
    if has_parent:
        parent = pyramid.bands[level + 1][number]
        large = enlarged(parent, 2 * parent.shape[0], 2 * parent.shape[1])
        neighbours.append(large[1 : 1 + rows, 1 : 1 + columns])
    divisor = len(neighbours)
    neighbours += [other[1:-1, 1:-1] for k, other in enumerate(bands) if k != number]
    matrix = np.stack([values.ravel() for values in neighbours])
    covariance = matrix @ matrix.T / matrix.shape[1]
    whitened = np.linalg.pinv(covariance) @ matrix
    energy = np.einsum("ij,ij->j", whitened, matrix) / divisor
    deviation = np.sqrt(np.maximum(energy, 0)).reshape(centre.shape)
    centred = centre - centre.mean()
    result = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    border = _BORDER[level]
    inner = result[border:-border, border:-border]
    return np.asarray(inner - inner.mean(), np.float64)


def _structure(first: Float64Array, second: Float64Array) -> float:
    """Mean contrast-and-structure term of structural similarity, for 255 grey levels."""
    _, structure = similarity_maps(first, second, data_range=255)
    return float(structure.mean())


def _singular_values(image: Float64Array) -> Float64Array:
    """The 25 singular values of all 5 x 5 patches side by side; section 3.3."""
    down, across = (-(-side // 5) for side in image.shape)
    padded = np.zeros((5 * down, 5 * across))
    padded[: image.shape[0], : image.shape[1]] = image
    patches = padded.reshape(down, 5, across, 5).transpose(0, 2, 1, 3).reshape(-1, 25)
    # R has the singular values of the whole, at a fraction of the size.
    triangle = np.linalg.qr(patches, mode="r")
    found = np.linalg.svd(triangle, compute_uv=False)
    return np.pad(found, (0, 25 - len(found)))
