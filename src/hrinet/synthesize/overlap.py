"""The cubic's part in the slices of ``hrinet-flow`` where slices of a noisy scan overlap.

Where slices are thicker than half the gap, a hidden slice shares part of its data, noise included,
with the measured ones beside it. The network draws less of that noise than the slice has; the
cubic keeps it. So in noisy scans, and wherever the two differ by no more than noise, the cubic
takes part; in smooth ones, and at anatomy, it would only add its ghosts. Slices that are thicker
than the gap are smooth along the scan, and the network draws what noise they have: there it fades.
The constants were chosen on scans of training and validation averaged into thick slices, with
earlier weights (``benchmarks/mixing.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.scene import Scene
from hrinet.types import FLOAT32, SliceArray

_LARGEST_HU = 1e5
"""Sums over windows: one huge value would reach every pixel of a slice."""

_WINDOW = (7, 7)
"""Over which the distance between the two is averaged, pixels."""

_MOST = 0.5
_OVERLAP, _FULL_OVERLAP = 0.5, 0.75
"""Most of the cubic, and the thickness over the width of the gap where its share begins to grow,
and is full."""

_THICK, _TOO_THICK = 1.0, 1.4
"""Thickness over the width of the gap where the share begins to fall, and is nothing."""

_SMOOTH_HU, _ROUGH_HU = 45.0, 75.0
"""Roughness of the measured slices where the share begins, and is full."""

_NOISE = 0.15
"""Share of the roughness that a distance between the two may have to pass for noise."""


class Overlap:
    """What one gap's slices are mixed with, in the order of the positions."""

    def __init__(self, scene: Scene, gap: Gap, t: Sequence[float], *, roughness_hu: float) -> None:
        """Begin; nothing is computed before it is asked for.

        Args:
            scene: of the gap, whose slices are finite.
            gap: the same.
            t: positions in (0, 1).
            roughness_hu: mean over the two measured slices beside the gap; see
                :func:`hrinet.synthesize.slice_trust.roughness`.
        """
        self._roughness_hu = roughness_hu
        self._share = cubic_share(gap, roughness_hu=roughness_hu)
        if self._share and float(np.abs(scene.slices).max()) > _LARGEST_HU:
            self._share = 0.0
        self._cubics: Iterator[SliceArray] = iter(())
        if self._share:
            self._cubics = Cubic().synthesize(_finite(scene, gap), t)

    def mixed(self, values: SliceArray) -> SliceArray:
        """The network's slice at the next position with the cubic's part.

        Args:
            values: shape (row, column), float32, HU, finite; not written to.

        Returns:
            A new array, or ``values`` where the cubic has no part.
        """
        if not self._share:
            return values
        return with_cubic(
            values, next(self._cubics), share=self._share, roughness_hu=self._roughness_hu
        )


def with_cubic(
    values: SliceArray, cubic: SliceArray, *, share: float, roughness_hu: float
) -> SliceArray:
    """Mix the cubic in, where it differs by no more than noise around a pixel.

    Args:
        values: shape (row, column), float32, HU, finite.
        cubic: of the same shape.
        share: where the two agree.
        roughness_hu: of the measured slices.

    Returns:
        A new array.
    """
    distance = cv2.blur(cv2.absdiff(cubic, values), _WINDOW)
    in_noise = np.asarray(distance, FLOAT32) / FLOAT32.type(_NOISE * roughness_hu)
    weight = np.exp(-np.square(in_noise)) * FLOAT32.type(share)
    return np.asarray(values + weight * (cubic - values))


def cubic_share(gap: Gap, *, roughness_hu: float) -> float:
    """Most of the cubic in a gap, 0 to 0.5; 0 where the slice thickness is unknown.

    Args:
        gap: of the scan.
        roughness_hu: of its two measured slices.
    """
    thickness = (gap.slice_thickness_mm or 0.0) / gap.width_mm
    return (
        _MOST
        * _ramp(thickness, _OVERLAP, _FULL_OVERLAP)
        * (1 - _ramp(thickness, _THICK, _TOO_THICK))
        * _ramp(roughness_hu, _SMOOTH_HU, _ROUGH_HU)
    )


def _finite(scene: Scene, gap: Gap) -> Gap:
    """The gap with the scene's slices."""
    rows, columns = scene.outside.shape
    first = next(index for index, (slot, _) in enumerate(scene.positions) if slot == 1)
    return Gap(
        slices=tuple(scene.slices[0, slot, :rows, :columns] for slot, _ in scene.positions),
        positions_mm=tuple(gap.positions_mm[gap.left + slot - 1] for slot, _ in scene.positions),
        left=first,
        pixel_spacing_mm=gap.pixel_spacing_mm,
        slice_thickness_mm=gap.slice_thickness_mm,
    )


def _ramp(value: float, start: float, end: float) -> float:
    return min(max((value - start) / (end - start), 0.0), 1.0)
