"""Generalized Gaussian distributions fitted by their moments."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrinet.types import Float64Array

SHAPES = (0.2, 10.0)
"""Shape parameters beyond are not told apart: 1 is Laplace's, 2 Gauss's, 10 nearly uniform."""

_KNOTS = 4096


class Aggd(NamedTuple):
    """Asymmetric generalized Gaussian distributions, arrays of one shape.

    Attributes:
        shape: alpha.
        left: scale beta of the negative side, in the values' unit.
        right: scale beta of the positive side.
    """

    shape: Float64Array
    left: Float64Array
    right: Float64Array

    @property
    def mean(self) -> Float64Array:
        """(right - left) Gamma(2 / alpha) / Gamma(1 / alpha)."""
        return np.asarray((self.right - self.left) * _gamma_ratio(self.shape, 2, 1), np.float64)


def fit_aggd(values: NDArray[np.float64]) -> Aggd:
    """Fit the distribution to every row by moment matching.

    Args:
        values: shape (row, value).

    Returns:
        Arrays of shape (row,). Rows without negative or without positive values give nan.

    References:
        N.-E. Lasmar, Y. Stitou, Y. Berthoumieu: Multiscale skewed heavy tailed model for texture
        analysis. IEEE International Conference on Image Processing (2009), 2281.
    """
    count = values.shape[1]
    negative = np.minimum(values, 0)
    left_squares = np.einsum("ij,ij->i", negative, negative)
    squares = np.einsum("ij,ij->i", values, values)
    magnitudes = values.sum(axis=1) - 2 * negative.sum(axis=1)
    left_count = np.count_nonzero(values < 0, axis=1)
    right_count = np.count_nonzero(values > 0, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt(left_squares / left_count)
        right = np.sqrt(np.maximum(squares - left_squares, 0) / right_count)
        gamma = left / right
        ratio = magnitudes * magnitudes / (count * squares)
        wanted = ratio * (gamma**3 + 1) * (gamma + 1) / np.square(gamma * gamma + 1)
        # Without one of the sides, gamma is 0, infinite or nan.
        wanted[(left_count == 0) | (right_count == 0)] = np.nan
    shape = shape_of_ratio(wanted)
    scale = np.sqrt(_gamma_ratio(shape, 1, 3))
    return Aggd(shape, left * scale, right * scale)


def shape_of_ratio(ratio: Float64Array) -> Float64Array:
    """The shape alpha whose Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)) is the given number.

    For a symmetric distribution that number is the square of the mean magnitude over the mean
    square; it grows with alpha.

    Args:
        ratio: any shape.

    Returns:
        Of the same shape, within :data:`SHAPES`; nan for nan.
    """
    shapes, ratios = _table()
    return np.asarray(np.interp(ratio, ratios, shapes), np.float64)


def moment_ratio(shape: float) -> float:
    """Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a))."""
    return math.exp(2 * math.lgamma(2 / shape) - math.lgamma(1 / shape) - math.lgamma(3 / shape))


@cache
def _table() -> tuple[Float64Array, Float64Array]:
    # Evenly spaced in the logarithm: the ratio bends most at small shapes.
    shapes = np.geomspace(*SHAPES, _KNOTS)
    return shapes, np.array([moment_ratio(float(shape)) for shape in shapes])


def _gamma_ratio(shape: Float64Array, above: int, below: int) -> Float64Array:
    """Gamma(above / shape) / Gamma(below / shape), element by element."""
    values = [
        math.exp(math.lgamma(above / float(a)) - math.lgamma(below / float(a)))
        if math.isfinite(a)
        else math.nan
        for a in shape.ravel()
    ]
    return np.array(values, np.float64).reshape(shape.shape)
