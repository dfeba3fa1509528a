"""From what a network says of its error to HU that hold, measured on scans it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrinet.synthesize.slice_trust import SliceWeights
from hrinet.synthesize.transfer import Transfer
from hrinet.types import SliceArray

REFERENCE_GAP_MM = 10.0

_CELLS = 1024
"""Cells of the tables for a difference of 1 in the logarithm: estimates are off by 0.05 % at most
where errors are in proportion to what the network says."""

_LARGEST_LOG = 60.0
"""More is no logarithm of HU, and would make the tables huge."""

_BEYOND = 8.0
"""How far the tables go on beyond either end."""

_MOST_BEYOND = math.log(1.5)
"""More than 1.5 times the largest error that was found is not believed. Beside what is very bright
the network may say millions of HU, which in a hundredth of the voxels would be most of a slice's
error; what is found there is no larger than at the last knot."""

_LARGEST_CORRECTION = 4.0
"""A few slices may be odd; beyond this factor they are not believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How large errors were, for every value of the network's own estimate.

    Between the knots both curves are interpolated linearly, beyond them they go on at the slope of
    the estimate itself, upwards to 1.5 times the largest at the most. Both hold for gaps of 10 mm
    and follow a power of the gap.

    Attributes:
        log_error: of the network, increasing.
        expected_error: mean absolute error found there, HU.
        half_width: 90th percentile of the absolute error found there, HU.
        gap_power: by which power of the gap errors grow faster than the estimate says.
        largest_gap_mm: widest gap that was looked at.
        transfer: factors on a :class:`Correction`. Hidden slices lie in gaps of twice the width; by
            so much they overstate what is found in the gaps themselves.
        slices: what tells slices of one scan apart.
        unchecked: factors on the estimates of a scan that has no slice to hide.
    """

    log_error: NDArray[np.float32]
    expected_error: NDArray[np.float32]
    half_width: NDArray[np.float32]
    gap_power: float
    largest_gap_mm: float
    transfer: Transfer = field(default_factory=Transfer)
    slices: SliceWeights = field(default_factory=SliceWeights)
    unchecked: tuple[float, float] = (1.0, 1.0)
    _tables: tuple[NDArray[np.float32], ...] = field(init=False, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Calibration:
        """From plain values, as in the description of weights.

        Raises:
            KeyError, TypeError, ValueError: if they are damaged.
        """
        curves = {
            name: np.asarray(values[name], np.float32)
            for name in ("log_error", "expected_error", "half_width")
        }
        if not all(curve.ndim == 1 and np.isfinite(curve).all() for curve in curves.values()):
            raise ValueError("the curves of the calibration are no lists of numbers")
        if len({len(curve) for curve in curves.values()}) != 1 or len(curves["log_error"]) < 2:
            raise ValueError("the curves of the calibration differ in length or are too short")
        if not (np.diff(curves["log_error"]) > 0).all():
            raise ValueError("the calibration's log_error does not increase")
        if min(curves["expected_error"].min(), curves["half_width"].min()) < 0:
            raise ValueError("the calibration's errors are negative")
        error, half_width = (float(factor) for factor in values.get("unchecked", (1.0, 1.0)))
        if not (0 < error < np.inf and 0 < half_width < np.inf):
            raise ValueError("the calibration's factors of an unchecked scan are not positive")
        gap_power, largest = float(values["gap_power"]), float(values["largest_gap_mm"])
        if not (np.isfinite(gap_power) and np.isfinite(largest)):
            raise ValueError("the calibration's gap_power or largest_gap_mm is no number")
        if np.abs(curves["log_error"]).max() > _LARGEST_LOG:
            raise ValueError(f"the calibration's log_error goes beyond +-{_LARGEST_LOG:g}")
        return cls(
            **curves,
            gap_power=gap_power,
            largest_gap_mm=largest,
            transfer=Transfer.of(values["transfer"]) if "transfer" in values else Transfer(),
            slices=SliceWeights.of(values["slices"]) if "slices" in values else SliceWeights(),
            unchecked=(error, half_width),
        )

    def __post_init__(self) -> None:
        """Make a table of both curves, for reading it is many times faster than interpolating."""
        low, high = float(self.log_error[0]), float(self.log_error[-1])
        cells = math.ceil((high - low + 2 * _BEYOND) * _CELLS)
        at = low - _BEYOND + (np.arange(cells) + 0.5) / _CELLS
        beyond = np.exp(np.minimum(at - low, 0) + np.clip(at - high, 0, _MOST_BEYOND))
        tables = (
            (np.interp(at, self.log_error, curve) * beyond).astype(np.float32)
            for curve in (self.expected_error, self.half_width)
        )
        object.__setattr__(self, "_tables", tuple(tables))

    def estimates(self, log_error: SliceArray, *, gap_mm: float) -> tuple[SliceArray, SliceArray]:
        """Expected absolute error, and half the width of the interval that holds 90 % of voxels.

        Args:
            log_error: of the network, of any shape; what is no number counts as the largest.
            gap_mm: width of the gap.

        Returns:
            Both of that shape, float32, HU.
        """
        start = float(self.log_error[0]) - _BEYOND
        places = (np.asarray(log_error, np.float32) - np.float32(start)) * np.float32(_CELLS)
        # Not np.clip: it lets NaN through, which as an integer would be the first cell.
        cells = np.fmax(np.fmin(places, len(self._tables[0]) - 1), 0).astype(np.intp)
        grown = np.float32((gap_mm / REFERENCE_GAP_MM) ** self.gap_power)
        error, half_width = ((table * grown).take(cells, mode="clip") for table in self._tables)
        return error, half_width


@dataclass(frozen=True, slots=True)
class Correction:
    """What a scan's own hidden slices make of the calibration.

    Attributes:
        error: factor on the expected error.
        half_width: factor on the interval.
        gap_mm: width of the gaps that the hidden slices lay in; None if there were none.
        noise: of the scan; see :func:`hrinet.synthesize.transfer.noise_sign`.
        level: mean over the hidden slices of :meth:`SliceWeights.log`; None if there were none.
    """

    error: float = 1.0
    half_width: float = 1.0
    gap_mm: float | None = None
    noise: float = 0.0
    level: float | None = None

    @classmethod
    def of(
        cls,
        *,
        found: SliceArray,
        expected: SliceArray,
        half_width: SliceArray,
        gap_mm: float | None = None,
        noise: float = 0.0,
        level: float | None = None,
    ) -> Correction:
        """From voxels of hidden slices.

        Args:
            found: absolute errors, of any shape, HU.
            expected: absolute errors that were expected, of the same shape, HU.
            half_width: of the 90 % interval, of the same shape, HU.
            gap_mm: width of the gaps that they lay in.
            noise: of the scan.
            level: of what the slices show.
        """
        share = found / np.maximum(half_width, 1e-3)
        return cls(
            error=_bounded(float(found.mean()) / max(float(expected.mean()), 1e-3)),
            half_width=_bounded(float(np.quantile(share, 0.9))),
            gap_mm=gap_mm,
            noise=noise,
            level=level,
        )

    def transferred(
        self, transfer: Transfer, *, gap_mm: float, thickness_mm: float | None = None
    ) -> Correction:
        """From the hidden slices' gaps to a gap to be filled.

        All of the transfer where that is half as wide or less, none where it is as wide (a single
        slice that is missing from a scan), between them a power.

        Args:
            transfer: of the weights.
            gap_mm: width of the gap to be filled.
            thickness_mm: of the slices, or None.
        """
        if self.gap_mm is None:
            return self
        share = min(max(math.log2(self.gap_mm / gap_mm), 0.0), 1.0)
        error, half_width = transfer.factors(
            thickness=None if thickness_mm is None else thickness_mm / gap_mm, noise=self.noise
        )
        return replace(
            self, error=self.error * error**share, half_width=self.half_width * half_width**share
        )


def _bounded(factor: float) -> float:
    return min(max(factor, 1 / _LARGEST_CORRECTION), _LARGEST_CORRECTION)
