"""A scan's own slices as a test: some are hidden and synthesized from those around them.

What a method says of its errors is measured on other scans, and scans differ: in noise, kernel,
anatomy. A few hidden slices tell how far off it is on this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hrinet.synthesize.fallback import Mask
from hrinet.synthesize.interpolator import Gap, Interpolator
from hrinet.synthesize.padding import seen_by_neighbours, without_padding
from hrinet.types import SliceArray
from hrinet.volume import SliceSource

TRIALS = 6
"""Slices hidden, spread over the scan; each costs as much as a synthetic slice."""

_WIDEST = 1.5
"""Times the median; a hidden slice beside a hole in the scan would say nothing of the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A hidden slice and what is around it.

    Attributes:
        gap: of every second slice, without the hidden one.
        t: where the hidden one lies in the gap.
        truth: the hidden one, shape (row, column), HU.
        padding: where it or a slice beside it is outside the field of view, of that shape; None if
            the scan has no such value.
    """

    gap: Gap
    t: float
    truth: SliceArray
    padding: Mask | None = None

    @property
    def half(self) -> Gap:
        """One of the gaps that there are before the slice is hidden: between it and the one before.

        Half as wide as :attr:`gap`, it is what the method will be asked to fill.
        """
        before = self.gap.left + 1
        t, start = self.t, self.gap.positions_mm[self.gap.left]
        return Gap(
            slices=(*self.gap.slices[:before], self.truth, *self.gap.slices[before:]),
            positions_mm=(
                *self.gap.positions_mm[:before],
                start + t * (self.gap.positions_mm[before] - start),
                *self.gap.positions_mm[before:],
            ),
            left=self.gap.left,
            pixel_spacing_mm=self.gap.pixel_spacing_mm,
            slice_thickness_mm=self.gap.slice_thickness_mm,
        )


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How the errors that a method expected compare with those found on the scan itself.

    Attributes:
        slices: number of slices that were hidden.
        expected_error_hu: mean over them, before any correction.
        found_error_hu: mean absolute error found.
        covered: share of voxels within the 90 % interval, before any correction.
    """

    slices: int
    expected_error_hu: float
    found_error_hu: float
    covered: float


@runtime_checkable
class SelfChecking(Protocol):
    """What an :class:`Interpolator` has besides if it corrects its estimates by trials."""

    def check(self, trials: Iterator[Trial]) -> None:
        """Synthesize hidden slices and correct all later estimates by what is found.

        Args:
            trials: computed one by one as they are taken.
        """
        ...

    @property
    def self_check(self) -> SelfCheck | None:
        """What was found, for the sidecar; None if there was nothing to hide."""
        ...


def trials(source: SliceSource, *, padding: float | None, count: int = TRIALS) -> Iterator[Trial]:
    """Hide slices of a scan, one at a time, evenly spread over it.

    Args:
        source: of at least three slices; fewer give none.
        padding: value of voxels outside the field of view, or None.
        count: number of slices to hide, at the most.
    """
    positions = source.geometry.positions_mm
    widths = np.abs(positions[2:] - positions[:-2])  # of the gaps that hiding 1, 2, ... leaves
    if not len(widths):
        return
    usable = 1 + np.flatnonzero(widths <= _WIDEST * np.median(widths))
    count = min(count, len(usable))
    hidden = [int(usable[(2 * number + 1) * len(usable) // (2 * count)]) for number in range(count)]
    arrays: dict[int, SliceArray] = {}
    for middle in hidden:
        near = (middle - 3, middle - 1, middle, middle + 1, middle + 3)
        needed = [n for n in near if 0 <= n < len(positions)]
        arrays = {n: values for n, values in arrays.items() if n >= needed[0]}
        # Forwards as far as can be, for going back in a compressed stream starts it again.
        ahead = range(needed[0], needed[-1] + 1) if source.is_sequential else needed
        for index in ahead:
            if index not in arrays:
                arrays[index] = source.read_slice(index)
        yield _trial(source, arrays, middle, [n for n in needed if n != middle], padding)


def _trial(
    source: SliceSource,
    arrays: dict[int, SliceArray],
    hidden: int,
    around: list[int],
    padding: float | None,
) -> Trial:
    positions = source.geometry.positions_mm
    left = around.index(hidden - 1)
    gap = Gap(
        slices=tuple(seen_by_neighbours([arrays[n] for n in around], left, padding)),
        positions_mm=tuple(float(positions[n]) for n in around),
        left=left,
        pixel_spacing_mm=source.geometry.pixel_spacing,
        slice_thickness_mm=source.geometry.slice_thickness,
    )
    t = (float(positions[hidden]) - float(positions[hidden - 1])) / gap.width_mm
    truth = arrays[hidden]
    outside = None
    if padding is not None:
        # Beside padding a slice is padding too, or partly the air that the padding is taken for.
        beside = (arrays[n] == padding for n in (hidden - 1, hidden, hidden + 1))
        outside = np.logical_or.reduce(tuple(beside))
    return Trial(gap, t, without_padding(truth, padding), outside)


def prove(interpolator: Interpolator, source: SliceSource, *, padding: float | None) -> None:
    """Let a method that wants to check itself on a scan before it is used there."""
    if isinstance(interpolator, SelfChecking):
        interpolator.check(trials(source, padding=padding))
