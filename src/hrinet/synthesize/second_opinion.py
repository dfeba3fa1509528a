"""What the network's slices are mixed with: the cubic where slices overlap, and ``flow``.

Where slices are thicker than half the gap, a hidden slice shares part of its data, noise included,
with the measured ones beside it. The network draws less of that noise than the slice has; the
cubic keeps it. So in noisy scans, and wherever the two differ by no more than noise, the cubic
takes part; in smooth ones, and at anatomy, it would only add its ghosts. Slices that are thicker
than the gap are smooth along the scan, and the network draws what noise they have: there it fades.

Two methods that err in different places are worth more together than either. ``flow`` finds motion
in another way, and mixes by weights of its own; where the two nearly agree, it counts most, and
where they are far apart, the network is right more often. Where slices are thicker than half the
gap, the network is right more often still. It takes as long as the network, and is asked where time
does not count. Without the slice thickness ``flow`` is not good enough to help.

The constants were chosen on the validation scan, those of overlapping slices on thick slices made
of other scans as well (``benchmarks/mixing.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.flow import SMALLEST_SIDE, Flow
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.scene import Scene
from hrinet.types import FLOAT32, SliceArray

_LARGEST_HU = 1e5
"""``flow`` squares HU and sums over windows: one huge value would reach every pixel of a slice."""

_WINDOW = (7, 7)
"""Over which the distance between the two is averaged, pixels."""

_MOST = 0.3
_START, _SLOPE, _FLOOR_HU = 0.66, 0.1, 3.0
"""Share of ``flow``: 0.3 up to 34 HU of distance, then less, and none from 730 HU on."""

_OVERLAPPING = 0.5
"""So much of that is left where the overlap is full."""

_CUBIC = 0.5
_OVERLAP, _FULL_OVERLAP = 0.5, 0.75
"""Most of the cubic, and the thickness over the width of the gap where overlap begins and is full:
where ``flow`` counts less, and the cubic may take part."""

_THICK, _TOO_THICK = 1.0, 1.4
"""Thickness over the width of the gap where the cubic's share begins to fall, and is nothing."""

_SMOOTH_HU, _ROUGH_HU = 45.0, 75.0
"""Roughness of the measured slices where its share begins and is full."""

_NOISE = 0.15
"""Share of the roughness that a distance between the two may have to pass for noise."""


class SecondOpinion:
    """The other methods' slices of one gap, in the order of the positions."""

    def __init__(
        self,
        scene: Scene,
        gap: Gap,
        t: Sequence[float],
        *,
        roughness_hu: float,
        flow: Flow | None = None,
    ) -> None:
        """Begin; nothing is computed before it is asked for.

        Args:
            scene: of the gap, whose slices are finite.
            gap: the same.
            t: positions in (0, 1).
            roughness_hu: mean over the two measured slices beside the gap; see
                :func:`hrinet.synthesize.slice_trust.roughness`.
            flow: the other method, where time does not count.
        """
        rows, columns = scene.outside.shape
        first = next(index for index, (slot, _) in enumerate(scene.positions) if slot == 1)
        finite = Gap(
            slices=tuple(scene.slices[0, slot, :rows, :columns] for slot, _ in scene.positions),
            positions_mm=tuple(
                gap.positions_mm[gap.left + slot - 1] for slot, _ in scene.positions
            ),
            left=first,
            pixel_spacing_mm=gap.pixel_spacing_mm,
            slice_thickness_mm=gap.slice_thickness_mm,
        )
        none: Iterator[SliceArray] = iter(())
        is_bounded = float(np.abs(scene.slices).max()) <= _LARGEST_HU
        self._roughness_hu = roughness_hu
        self._flow_share = flow_share(gap)
        self._cubic_share = cubic_share(gap, roughness_hu=roughness_hu) if is_bounded else 0.0
        if not (is_bounded and min(rows, columns) >= SMALLEST_SIDE and gap.slice_thickness_mm):
            flow = None
        self._flow = flow.synthesize(finite, t) if flow else none
        self._cubic = Cubic().synthesize(finite, t) if self._cubic_share else none

    def mixed(self, values: SliceArray) -> SliceArray:
        """The network's slice at the next position, mixed with the others.

        Args:
            values: shape (row, column), float32, HU, finite; not written to.
        """
        flow = next(self._flow, None)
        if flow is not None:
            values = with_flow(values, flow, share=self._flow_share)
        cubic = next(self._cubic, None)
        if cubic is not None:
            values = with_cubic(
                values, cubic, share=self._cubic_share, roughness_hu=self._roughness_hu
            )
        return values


def with_flow(network: SliceArray, flow: SliceArray, *, share: float) -> SliceArray:
    """Mix two guesses at a slice, by how far apart they are around each pixel.

    Args:
        network: shape (row, column), float32, HU, finite.
        flow: of the same shape.
        share: where the two agree.

    Returns:
        A new array.
    """
    distance = cv2.blur(cv2.absdiff(flow, network), _WINDOW)
    weight = np.log(distance + np.float32(_FLOOR_HU))
    weight *= np.float32(-_SLOPE)
    weight += np.float32(_START)
    np.clip(weight, 0.0, _MOST, out=weight)
    weight *= (flow - network) * np.float32(share / _MOST)
    weight += network
    return np.asarray(weight)


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
    kept = 1 - _ramp(_relative_thickness(gap), _THICK, _TOO_THICK)
    return _CUBIC * _overlap(gap) * kept * _ramp(roughness_hu, _SMOOTH_HU, _ROUGH_HU)


def flow_share(gap: Gap) -> float:
    """Most of ``flow`` in a gap, 0.15 to 0.3.

    Args:
        gap: of the scan.
    """
    return _MOST * (1 - (1 - _OVERLAPPING) * _overlap(gap))


def _overlap(gap: Gap) -> float:
    """0 where slices share nothing or their thickness is unknown, up to 1."""
    return _ramp(_relative_thickness(gap), _OVERLAP, _FULL_OVERLAP)


def _relative_thickness(gap: Gap) -> float:
    return (gap.slice_thickness_mm or 0.0) / gap.width_mm


def _ramp(value: float, start: float, end: float) -> float:
    return min(max((value - start) / (end - start), 0.0), 1.0)
