"""Nearest slice: what a viewer shows when nothing is interpolated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hrinet.synthesize.interpolator import Gap
from hrinet.types import SliceArray


class Repeat:
    """Copies the nearer neighbour; the left one at t = 0.5."""

    name = "repeat"

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield the nearer neighbour for every t; see :class:`Interpolator`."""
        for position in t:
            yield gap.slices[gap.left + (position > 0.5)]
