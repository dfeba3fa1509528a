"""Optical flow and fitted taps.

Structures that cross slices obliquely move sideways from one slice to the next, and blending
slices voxel by voxel draws them twice. This method finds that motion with dense inverse search
(DIS, Kroeger et al., 2016) in both directions, moves the slices along it to the wanted position,
and mixes moved and unmoved, sharp and smoothed slices with weights fitted to real scans (see
:mod:`hrinet.synthesize.flow_taps`). Where motion compensation fails the two moved slices disagree,
and the weights lean back to plain interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.flow_taps import FIRST_LEVEL, LEVELS, Float32, Taps, load_taps
from hrinet.synthesize.interpolator import Gap
from hrinet.types import FLOAT32, SliceArray

SMOOTHING = (7, 7)
"""Window of the smoothed features and of the local measures, pixels."""

SMALLEST_SIDE = 32
"""DIS needs a few patches at its coarsest scale; smaller slices are interpolated by the cubic."""

_LEVEL_FLOOR = 4.0
"""HU squared; keeps the log of a local measure finite."""

_SHIFT_MM = 5.0
_SHIFT_MM_A_MM = 1.5
"""Largest shift taken for real: 5 mm plus 1.5 mm for every mm of gap. Unrelated slices yield more,
and extrapolating that to the outer slices would fetch voxels from anywhere."""

_BLOCK_VALUES = 1 << 14
"""Pixels mixed at a time, so that the intermediate planes stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Displacement between the two slices of a gap, both ways.

    Attributes:
        forward: shape (row, column, 2), pixels along (column, row): the content at x in the first
            slice is at x + forward(x) in the second.
        backward: the same from the second slice to the first.
        grid: shape (row, column, 2), column and row index of every pixel.
    """

    forward: Float32
    backward: Float32
    grid: Float32

    def at(self, t: float) -> Float32:
        """Displacement across the whole gap of what is at each pixel at position ``t``.

        Both fields are sampled where the content comes from and averaged, the nearer one weighing
        more: errors of the two directions are nearly independent, and the mean is the same when
        the order of the slices is reversed.

        Args:
            t: position in the gap, in [0, 1].

        Returns:
            Shape (row, column, 2), pixels.
        """
        forward = _sample(self.forward, cv2.scaleAdd(self.forward, -t, self.grid))
        backward = _sample(self.backward, cv2.scaleAdd(self.backward, t - 1.0, self.grid))
        return _float32(cv2.addWeighted(forward, 1.0 - t, backward, -t, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the taps weigh at one position.

    Attributes:
        groups: four arrays of shape (row, column, slice -1 / 0 / 1 / 2), HU; see
            :data:`hrinet.synthesize.flow_taps.GROUPS`.
        mismatch: shape (row, column), mean square difference of the two moved inner slices, HU^2.
        activity: shape (row, column), variance of their mean, HU^2.
    """

    groups: tuple[Float32, ...]
    mismatch: Float32
    activity: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One gap, prepared for any number of positions in it.

    Attributes:
        slices: slices -1, 0, 1, 2, each of shape (row, column), HU.
        group: the same interleaved, shape (row, column, slice).
        smoothed: ``group`` smoothed.
        offsets: position of each slice, 0 at slice 0 and 1 at slice 1.
        motion: between slices 0 and 1.
    """

    slices: tuple[Float32, ...]
    group: Float32
    smoothed: Float32
    offsets: tuple[float, float, float, float]
    motion: Motion

    def features(self, t: float) -> Features:
        """Move the slices to ``t`` and measure how well they agree there.

        Args:
            t: position in the gap, in [0, 1].
        """
        velocity = self.motion.at(t)
        moved = [
            _sample(values, cv2.scaleAdd(velocity, offset - t, self.motion.grid))
            for values, offset in zip(self.slices, self.offsets, strict=True)
        ]
        warped = _float32(cv2.merge(moved))
        difference = cv2.subtract(moved[1], moved[2])
        mean = cv2.addWeighted(moved[1], 0.5, moved[2], 0.5, 0.0)
        local_mean = cv2.blur(mean, SMOOTHING)
        # E[x^2] - E[x]^2 loses digits next to metal, where it is large anyway; never below zero.
        variance = cv2.subtract(
            cv2.blur(cv2.multiply(mean, mean), SMOOTHING), cv2.multiply(local_mean, local_mean)
        )
        return Features(
            groups=(self.group, warped, self.smoothed, _float32(cv2.blur(warped, SMOOTHING))),
            mismatch=_float32(cv2.blur(cv2.multiply(difference, difference), SMOOTHING)),
            activity=_float32(np.maximum(variance, 0.0, out=variance)),
        )

    @property
    def reach(self) -> tuple[float, float]:
        """Trust in the outer slices: less the farther they are, relative to the gap."""
        before, after = -self.offsets[0], self.offsets[3] - 1.0
        return min(1.0, 1.0 / before), min(1.0, 1.0 / after)


class Flow:
    """Motion-compensated interpolation with fitted taps."""

    name = "flow"

    def __init__(self, *, taps: Taps | None = None) -> None:
        """Load the taps.

        Args:
            taps: fitted coefficients; those that ship with the package by default.
        """
        self._taps = load_taps() if taps is None else taps

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield one float32 slice for every t; see :class:`Interpolator`.

        Values stay within the range of the two neighbouring slices at the pixel, moved and not.
        """
        if min(gap.slices[0].shape) < SMALLEST_SIDE:
            yield from Cubic().synthesize(gap, t)
            return
        scene = prepare(gap)
        for position in t:
            tables = self._taps.tables(
                position,
                gap_mm=gap.width_mm,
                thickness_mm=gap.slice_thickness_mm,
                reach=scene.reach,
            )
            yield mix(scene.features(position), tables)


def prepare(gap: Gap) -> Scene:
    """Estimate the motion across a gap and everything else that does not depend on t.

    A missing outer slice is replaced by its inner neighbour, at the distance of the gap: measured
    to be better than extrapolating, which doubles the noise.

    Args:
        gap: of slices at least 32 pixels high and wide.
    """
    inner = (gap.left, gap.left + 1)
    last = len(gap.slices) - 1
    indices = (max(inner[0] - 1, 0), *inner, min(inner[1] + 1, last))
    floats = {index: np.ascontiguousarray(gap.slices[index], FLOAT32) for index in set(indices)}
    slices = tuple(floats[index] for index in indices)
    start, width = gap.positions_mm[gap.left], gap.width_mm
    before = (gap.positions_mm[indices[0]] - start) / width if indices[0] < inner[0] else -1.0
    after = (gap.positions_mm[indices[3]] - start) / width if indices[3] > inner[1] else 2.0
    group = _float32(cv2.merge(slices))
    return Scene(
        slices=slices,
        group=group,
        smoothed=_float32(cv2.blur(group, SMOOTHING)),
        offsets=(before, 0.0, 1.0, after),
        motion=estimate_motion(
            slices[1], slices[2], gap_mm=width, pixel_spacing_mm=gap.pixel_spacing_mm
        ),
    )


def estimate_motion(
    first: Float32, second: Float32, *, gap_mm: float, pixel_spacing_mm: tuple[float, float]
) -> Motion:
    """Dense optical flow in both directions.

    Args:
        first: shape (row, column), HU.
        second: of the same shape.
        gap_mm: distance between them, mm.
        pixel_spacing_mm: distance between rows and between columns, mm.
    """
    height, width = first.shape
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width, dtype=np.float32)
    grid[..., 1] = np.arange(height, dtype=np.float32)[:, None]
    images = _windowed(first), _windowed(second)
    # A search object holds buffers, so every call has its own.
    search = _search()
    limit_mm = _SHIFT_MM + _SHIFT_MM_A_MM * gap_mm
    fields = []
    for source, target in (images, images[::-1]):
        field = search.calc(source, target, None)  # type: ignore[call-overload]
        for axis, spacing in ((0, pixel_spacing_mm[1]), (1, pixel_spacing_mm[0])):
            limit = limit_mm / spacing
            np.clip(field[..., axis], -limit, limit, out=field[..., axis])
        fields.append(_float32(field))
    return Motion(forward=fields[0], backward=fields[1], grid=grid)


def mix(features: Features, tables: Sequence[Float32]) -> Float32:
    """Weigh the features pixel by pixel.

    Args:
        features: at one position.
        tables: for every group, weights of shape (mismatch level, activity level, slice).

    Returns:
        Shape (row, column), HU.
    """
    height, width = features.mismatch.shape
    result = np.empty((height, width), np.float32)
    rows = max(1, _BLOCK_VALUES // width)
    for top in range(0, height, rows):
        block = slice(top, top + rows)
        mismatch, activity = _level(features.mismatch[block]), _level(features.activity[block])
        groups = [group[block] for group in features.groups]
        total: Float32 | None = None
        for group, table in zip(groups, tables, strict=True):
            # Sampling a tiny image at (activity, mismatch) is bilinear interpolation between
            # levels, four weights at a time.
            weights = cv2.remap(
                table, activity, mismatch, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            product = cv2.multiply(weights, group, dst=weights)
            total = _float32(product if total is None else cv2.add(total, product, dst=total))
        assert total is not None
        mixed = cv2.transform(total, np.ones((1, 4), np.float32))
        inner = [cv2.extractChannel(group, k) for group in groups[:2] for k in (1, 2)]
        lowest = cv2.min(cv2.min(inner[0], inner[1]), cv2.min(inner[2], inner[3]))
        highest = cv2.max(cv2.max(inner[0], inner[1]), cv2.max(inner[2], inner[3]))
        result[block] = cv2.min(cv2.max(mixed, lowest), highest)
    return result


def _level(measure: Float32) -> Float32:
    """Position of a mean square among the levels: log of its root, from the first level."""
    level = np.log(measure + np.float32(_LEVEL_FLOOR)) * np.float32(0.5) - np.float32(FIRST_LEVEL)
    return _float32(np.clip(level, 0.0, LEVELS - 1.0, out=level))


def _windowed(values: Float32) -> SliceArray:
    """8-bit image for the search: soft tissue in detail, lung and bone coarsely.

    Args:
        values: shape (row, column), HU.
    """
    smooth = cv2.GaussianBlur(values, (0, 0), 1.5)
    image = np.zeros(values.shape, np.float32)
    for low, high, steps in ((-1000.0, -200.0, 110.0), (-200.0, 200.0, 110.0), (200.0, 1200.0, 35)):
        slope = steps / (high - low)
        image += (np.clip(smooth, low, high) - np.float32(low)) * np.float32(slope)
    return np.rint(image).astype(np.uint8)


def _search() -> cv2.DISOpticalFlow:
    """DIS as chosen on validation scans: half resolution, little regularization."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)
    search.setPatchSize(8)
    search.setPatchStride(3)
    search.setGradientDescentIterations(8)
    search.setVariationalRefinementIterations(3)
    search.setVariationalRefinementAlpha(10.0)
    search.setVariationalRefinementGamma(5.0)
    return search


def _sample(values: Float32, at: SliceArray) -> Float32:
    """Bilinear samples of ``values`` at ``at`` (row, column, 2), pixels; edges are repeated."""
    return _float32(
        cv2.remap(values, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    )


def _float32(values: SliceArray) -> Float32:
    """OpenCV's stubs do not know the dtype of a result; this asserts it."""
    assert values.dtype == FLOAT32
    return values
