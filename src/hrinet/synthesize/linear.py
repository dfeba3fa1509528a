"""Linear interpolation between the two slices on either side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2

from hrinet.synthesize.interpolator import Gap
from hrinet.types import SliceArray


class Linear:
    """(1 - t) * left + t * right, rounded to nearest where the slices are int16."""

    name = "linear"

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield the blend for every t; see :class:`Interpolator`."""
        left, right = gap.slices[gap.left], gap.slices[gap.left + 1]
        blend = None
        for position in t:
            # One vectorized pass that rounds and saturates, without float32 copies.
            blend = cv2.addWeighted(left, 1.0 - position, right, position, 0.0, dst=blend)
            yield blend
