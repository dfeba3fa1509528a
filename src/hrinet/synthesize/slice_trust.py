"""Which slices of a scan err more than others.

A network judges voxels by what it sees around them, and so misses what a whole slice tells: how
noisy the measured slices beside it are (the hidden one was as noisy), how much of that noise its
own slice has lost, how far it lies from either of them. Three numbers of a slice, each free of
units, scale the estimates of all its voxels; their weights were fitted by
``tools/fit_slice_trust.py`` on scans with known slices. They tell the slices of one scan apart, not
scans: what they say of a scan's hidden slices is the level from which the others are seen to
differ, and without hidden slices nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from hrinet.types import FLOAT32, SliceArray

LARGEST_FACTOR = 2.0
"""Slices unlike those of the fit are not believed beyond this factor, up or down."""

_LEAST_HU = 0.1
"""Less is no noise; a phantom without any must not divide by zero."""

_LOWEST_HU, _HIGHEST_HU = -1200.0, 3200.0
"""As the network sees it: the edge of metal is not noise."""


def roughness(values: SliceArray) -> float:
    """How much pixels differ from their neighbours: the mean absolute Laplacian, HU.

    Args:
        values: shape (row, column), HU, finite.
    """
    seen = np.clip(np.asarray(values, FLOAT32), _LOWEST_HU, _HIGHEST_HU)
    return max(float(np.abs(cv2.Laplacian(seen, cv2.CV_32F, ksize=1)).mean()), _LEAST_HU)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSigns:
    """What a synthetic slice shows of its own error; logarithms.

    Attributes:
        noise: roughness of the two measured slices beside it (mean) over the expected error.
        loss: roughness of the slice over that of the measured ones.
        middle: 4 t (1 - t): 0 half-way, less towards either end.
    """

    noise: float
    loss: float
    middle: float

    @classmethod
    def of(cls, *, measured: float, own: float, expected: float, t: float) -> SliceSigns:
        """From a slice.

        Args:
            measured: mean roughness of the two measured slices, HU.
            own: roughness of the slice, HU.
            expected: mean absolute error that the voxels' estimates expect, HU.
            t: position in the gap, in (0, 1).
        """
        return cls(
            noise=math.log(measured / max(expected, _LEAST_HU)),
            loss=math.log(own / measured),
            middle=math.log(max(4 * t * (1 - t), 0.1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceWeights:
    """What each sign counts; a factor of 1 if all are 0.

    Attributes:
        noise: weight of :attr:`SliceSigns.noise`.
        loss: of :attr:`SliceSigns.loss`.
        middle: of :attr:`SliceSigns.middle`.
    """

    noise: float = 0.0
    loss: float = 0.0
    middle: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SliceWeights:
        """From plain values; the ``offset`` of older weights said something of scans.

        Raises:
            KeyError, TypeError, ValueError: if they are damaged.
        """
        weights = cls(**{field.name: float(values[field.name]) for field in fields(cls)})
        if not all(math.isfinite(getattr(weights, field.name)) for field in fields(cls)):
            raise ValueError("the weights of a slice's signs are no numbers")
        return weights

    def log(self, signs: SliceSigns) -> float:
        """Logarithm of how much a slice errs, up to a constant of the scan."""
        return math.fsum(
            getattr(self, field.name) * getattr(signs, field.name) for field in fields(self)
        )

    def factor(self, signs: SliceSigns, *, level: float | None) -> float:
        """On the expected error and the interval of every voxel of the slice.

        Args:
            signs: of the slice.
            level: mean of :meth:`log` over the scan's hidden slices; None if there are none, which
                gives 1.
        """
        if level is None:
            return 1.0
        limit = math.log(LARGEST_FACTOR)
        return math.exp(min(max(self.log(signs) - level, -limit), limit))
