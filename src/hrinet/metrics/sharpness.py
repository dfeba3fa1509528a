"""How sharp an image is, without a truth to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.pairs import as_image

_HALF_NYQUIST = 0.25
"""Cycles a pixel."""


def gradient_energy(image: ArrayLike, *, pixel_spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Mean of the squared gradient, by central differences inside the image.

    Noise raises it as edges do: compare an image with the truth, never two scans.

    Args:
        image: shape (row, column), at least 3 x 3, HU.
        pixel_spacing: distance between rows and between columns, mm.

    Returns:
        HU^2 / mm^2; 0 for a flat image, the square of the slope for a ramp.

    Raises:
        ValueError: if the image is too small or the spacing not positive.

    References:
        S. Pertuz, D. Puig, M. A. Garcia: Analysis of focus measure operators for
        shape-from-focus. Pattern Recognition 46 (2013), 1415; the family of gradient energies.
    """
    values = np.asarray(as_image(image, smallest=3), np.float32)
    between_rows, between_columns = pixel_spacing
    if not (between_rows > 0 and between_columns > 0):
        raise ValueError(f"pixel_spacing must be positive, got {pixel_spacing}")
    down = (values[2:, 1:-1] - values[:-2, 1:-1]) / np.float32(2 * between_rows)
    right = (values[1:-1, 2:] - values[1:-1, :-2]) / np.float32(2 * between_columns)
    return float((np.square(down) + np.square(right)).mean(dtype=np.float64))


def spectral_sharpness(image: ArrayLike) -> float:
    """Share of the power, the mean left out, above half of the Nyquist frequency.

    Half of Nyquist is a period of four pixels: what a twofold thinner grid could not hold, and
    what averaging two neighbouring slices dims first. A Hann window keeps the jump between
    opposite borders out of the spectrum. White noise has 1 - pi / 16 = 0.80 of its power there, a
    smooth image nearly none; so noise counts as sharpness, and only images of one scan compare.

    Args:
        image: shape (row, column), at least 8 x 8, any unit.

    Returns:
        From 0 to 1; 0 for a flat image.

    Raises:
        ValueError: if the image is too small.

    References:
        K. De, V. Masilamani: Image sharpness measure for blurred images in frequency domain.
        Procedia Engineering 64 (2013), 149; the kindred count of large Fourier coefficients.
    """
    values = np.asarray(as_image(image, smallest=8), np.float32)
    rows, columns = values.shape
    window = np.hanning(rows)[:, None] * np.hanning(columns)[None]
    # The windowed mean is what the window would otherwise smear over the lowest frequencies.
    mean = float((values * window).sum() / window.sum())
    spectrum = np.fft.rfft2((values - np.float32(mean)) * window.astype(np.float32))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    # rfft2 leaves out the mirrored half of all columns but the first and, if even, the last.
    power[:, 1 : (columns + 1) // 2] *= 2
    power[0, 0] = 0
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    total = float(power.sum(dtype=np.float64))
    if total == 0:
        return 0.0
    return float(power[frequency > _HALF_NYQUIST].sum(dtype=np.float64)) / total
