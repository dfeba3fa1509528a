"""The steerable pyramid: an image split into scales and orientations by its spectrum."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrinet.types import Float64Array

ORIENTATIONS = 6
LEVELS = 2


class Pyramid(NamedTuple):
    """Attributes of one image.

    Attributes:
        highpass: what lies above the first level, shape of the image.
        bands: per level, finest first, the orientations in steps of 30 degrees; a level has half
            the rows and columns of the one before.
    """

    highpass: Float64Array
    bands: tuple[tuple[Float64Array, ...], ...]


def steerable_pyramid(image: Float64Array) -> Pyramid:
    """Two levels of six orientations, without the remaining low frequencies.

    Masks are raised cosines over one octave of radius and the fifth power of a cosine of the
    angle; their squares add up to 1, so that the pyramid keeps the energy of the image. A coarser
    level is the inner part of the spectrum, transformed at its own size, which multiplies its
    values by 4.

    Args:
        image: shape (row, column), at least 16 x 16.

    References:
        E. P. Simoncelli, W. T. Freeman: The steerable pyramid: a flexible architecture for
        multi-scale derivative computation. IEEE International Conference on Image Processing
        (1995), 444; in the frequency domain: J. Portilla, E. P. Simoncelli: A parametric texture
        model. International Journal of Computer Vision 40 (2000), 49.
    """
    octaves, angle = _polar(*image.shape)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    rises = _rise(octaves)
    highpass = np.fft.ifft2(np.fft.ifftshift(spectrum * rises)).real
    spectrum = spectrum * _complement(rises)
    order = ORIENTATIONS - 1
    gain = math.sqrt(
        4**order * math.factorial(order) ** 2 / (ORIENTATIONS * math.factorial(2 * order))
    )
    levels = []
    for level in range(LEVELS):
        rises = _rise(octaves + level + 1)
        turned = spectrum * rises * (gain * (-1j) ** order)
        bands = []
        for number in range(ORIENTATIONS):
            directed = turned * np.cos(angle - math.pi * number / ORIENTATIONS) ** order
            bands.append(np.fft.ifft2(np.fft.ifftshift(directed)).real)
        levels.append(tuple(bands))
        inner = _inner(spectrum.shape)
        spectrum = (spectrum * _complement(rises))[inner]
        octaves, angle = octaves[inner], angle[inner]
    return Pyramid(highpass, tuple(levels))


def _polar(rows: int, columns: int) -> tuple[Float64Array, Float64Array]:
    """Octaves below the Nyquist frequency (0 there, negative inside) and angle, DC in the middle.

    Axes are scaled apart, so that Nyquist's lies at 1 along both.
    """
    y = (np.arange(rows) - rows // 2)[:, None] / (rows / 2)
    x = (np.arange(columns) - columns // 2)[None] / (columns / 2)
    radius = np.hypot(y, x)
    # The mean has no octave; its neighbour's will do, every mask is 0 or 1 there.
    radius[rows // 2, columns // 2] = radius[rows // 2, columns // 2 - 1]
    return np.log2(radius), np.arctan2(y, np.broadcast_to(x, radius.shape))


def _rise(octaves: Float64Array) -> Float64Array:
    """From 0 at -1 to 1 at 0, a quarter of a cosine."""
    return np.asarray(np.cos(np.clip(octaves, -1, 0) * (math.pi / 2)), np.float64)


def _complement(mask: Float64Array) -> Float64Array:
    return np.asarray(np.sqrt(np.maximum(1 - mask * mask, 0)), np.float64)


def _inner(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The middle of a spectrum, half as large, its mean again at index size // 2."""

    def part(size: int) -> slice:
        half = -(-(2 * size - 1) // 4)  # ceil((size - 1/2) / 2)
        start = size // 2 - half // 2
        return slice(start, start + half)

    return part(shape[0]), part(shape[1])


def enlarged(image: Float64Array, rows: int, columns: int) -> NDArray[np.float64]:
    """Cubic interpolation (a = -1/2) to a larger grid over the same field, borders mirrored.

    Args:
        image: shape (row, column).
        rows: at least as many as the image has.
        columns: likewise.

    References:
        R. G. Keys: Cubic convolution interpolation for digital image processing. IEEE Transactions
        on Acoustics, Speech, and Signal Processing 29 (1981), 1153.
    """
    down = _cubic_weights(image.shape[0], rows)
    across = _cubic_weights(image.shape[1], columns)
    return np.asarray(down @ image @ across.T, np.float64)


def _cubic_weights(small: int, large: int) -> Float64Array:
    where = (np.arange(large) + 0.5) * (small / large) - 0.5
    first = np.floor(where).astype(int) - 1
    weights = np.zeros((large, small))
    for tap in range(4):
        index = first + tap
        distance = np.abs(where - index)
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        value = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
        mirrored = np.where(index < 0, -1 - index, index)
        mirrored = np.where(mirrored >= small, 2 * small - 1 - mirrored, mirrored)
        np.add.at(weights, (np.arange(large), mirrored), value)
    return weights
