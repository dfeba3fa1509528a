"""Cubic interpolation at true positions: non-uniform Catmull-Rom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2

from hrinet.synthesize.interpolator import Gap
from hrinet.types import SliceArray


def cubic_weights(positions_mm: Sequence[float], left: int, t: float) -> tuple[float, ...]:
    """Weights of the slices for the cubic Hermite curve through them.

    The tangent at a slice is the derivative of the parabola through it and both its neighbours, so
    that quadratic profiles are reproduced exactly at any spacing; where a neighbour is missing,
    the parabola through the three slices that exist is used there too, and with two slices the
    line. At even spacing this is the Catmull-Rom spline (Catmull and Rom, 1974).

    Args:
        positions_mm: of two to four slices, strictly increasing, mm.
        left: index of the slice just before the gap.
        t: position in the gap, in [0, 1].

    Returns:
        One weight a slice; they sum to 1.
    """
    count = len(positions_mm)
    right = left + 1
    width = positions_mm[right] - positions_mm[left]
    weights = [0.0] * count
    t2, t3 = t * t, t * t * t
    weights[left] += 2 * t3 - 3 * t2 + 1
    weights[right] += 3 * t2 - 2 * t3
    for slice_index, hermite in ((left, t3 - 2 * t2 + t), (right, t3 - t2)):
        for index, coefficient in _tangent(positions_mm, slice_index, left):
            weights[index] += hermite * width * coefficient
    return tuple(weights)


def _tangent(positions_mm: Sequence[float], at: int, left: int) -> Iterator[tuple[int, float]]:
    """(index, coefficient per mm) of the derivative at slice ``at`` of the local parabola."""
    count = len(positions_mm)
    if count == 2:
        width = positions_mm[1] - positions_mm[0]
        yield from ((0, -1 / width), (1, 1 / width))
        return
    middle = min(max(at, 1), count - 2)
    # The parabola must contain both sides of the gap, or the curve would not follow its slope.
    if not middle - 1 <= left <= middle:
        middle = left
    x = positions_mm[at]
    a, b, c = (positions_mm[middle + d] for d in (-1, 0, 1))
    yield middle - 1, (2 * x - b - c) / ((a - b) * (a - c))
    yield middle, (2 * x - a - c) / ((b - a) * (b - c))
    yield middle + 1, (2 * x - a - b) / ((c - a) * (c - b))


class Cubic:
    """Non-uniform Catmull-Rom over up to four slices; see :func:`cubic_weights`."""

    name = "cubic"

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield the curve for every t; see :class:`Interpolator`."""
        for position in t:
            weights = cubic_weights(gap.positions_mm, gap.left, position)
            yield weighted_sum(gap.slices, weights)


def weighted_sum(slices: Sequence[SliceArray], weights: Sequence[float]) -> SliceArray:
    """Weighted sum of two to four slices as float32.

    Args:
        slices: shape (row, column), HU.
        weights: as many.
    """
    total = cv2.addWeighted(slices[0], weights[0], slices[1], weights[1], 0.0, dtype=cv2.CV_32F)
    if len(slices) == 3:
        total = cv2.addWeighted(total, 1.0, slices[2], weights[2], 0.0, dtype=cv2.CV_32F)
    elif len(slices) == 4:
        outer = cv2.addWeighted(slices[2], weights[2], slices[3], weights[3], 0.0, dtype=cv2.CV_32F)
        cv2.add(total, outer, dst=total)
    return total
