"""A gap as the network of ``hrinet-flow`` wants it, and the ways to look at it.

The network is not exactly symmetric: looking at a gap from the other end, or in a mirror, it makes
a slightly different slice. The mean over such views errs less than any of them (a self-ensemble:
B. Lim, S. Son, H. Kim, S. Nah, K. M. Lee: Enhanced deep residual networks for single image
super-resolution. CVPR Workshops 2017, section 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from hrinet.synthesize.cubic import cubic_weights
from hrinet.synthesize.fallback import outside_window
from hrinet.synthesize.interpolator import Gap
from hrinet.types import SliceArray

WINDOW = (-1200.0, 3200.0)
"""HU that the network can tell apart. Where a neighbour lies beyond, the result is the cubic."""

_MULTIPLE = 16
_AIR_HU = -1024.0


@dataclass(frozen=True, slots=True)
class View:
    """A way to look at a gap; all are undone exactly.

    Attributes:
        from_above: the last slice comes first.
        flips_rows: the last row comes first.
        flips_columns: the last column comes first.
    """

    from_above: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    def mirrored(self, values: SliceArray) -> SliceArray:
        """The same with rows and columns as seen, shape (..., row, column); its own inverse."""
        rows = -1 if self.flips_rows else 1
        columns = -1 if self.flips_columns else 1
        return values[..., ::rows, ::columns]

    def position(self, t: float) -> float:
        """Where in the gap a position is seen; its own inverse."""
        return 1.0 - t if self.from_above else t


PLAIN = View()
"""As it is."""

VIEWS = tuple(View(*ways) for ways in product((False, True), repeat=3))
"""All of them, the plain one first."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One gap as the graphs want it.

    Attributes:
        slices: shape (1, 4, row, column), HU, finite, the outer two within the window; sides are
            multiples of 16.
        offsets: shape (1, 4).
        thickness: shape (1,), over the width of the gap; 0 if unknown, or if the network was never
            told of any in its training.
        positions: of the slices that there are, relative to the gap, and which of the four each is.
        outside: shape (row, column) of the gap itself; where the network cannot be asked.
    """

    slices: SliceArray
    offsets: SliceArray
    thickness: SliceArray
    positions: tuple[tuple[int, float], ...]
    outside: Any

    def weights(self, t: float) -> SliceArray:
        """Of the cubic, shape (1, 4); 0 for a slice that is missing."""
        result = np.zeros((1, 4), np.float32)
        known = [position for _, position in self.positions]
        left = next(i for i, (slot, _) in enumerate(self.positions) if slot == 1)
        for (slot, _), weight in zip(self.positions, cubic_weights(known, left, t), strict=True):
            result[0, slot] = weight
        return result

    def decoder_inputs(self, t: float, encoded: Mapping[str, Any]) -> dict[str, SliceArray]:
        """What the second graph is given, by name.

        Args:
            t: position in the gap.
            encoded: outputs of the first graph, by name.
        """
        return {
            "slices": self.slices,
            **encoded,
            "offsets": self.offsets,
            "thickness": self.thickness,
            "t": np.array([t], np.float32),
            "weights": self.weights(t),
        }

    def seen(self, view: View) -> Scene:
        """The same gap as the view shows it."""
        if view == PLAIN:
            return self
        mirrored = view.mirrored(self.slices)
        if not view.from_above:
            return replace(self, slices=np.ascontiguousarray(mirrored))
        return replace(
            self,
            slices=np.ascontiguousarray(mirrored[:, ::-1]),
            offsets=np.ascontiguousarray(1 - self.offsets[:, ::-1]),
            positions=tuple((3 - slot, 1 - place) for slot, place in reversed(self.positions)),
        )


def scene_of(gap: Gap, *, knows_thickness: bool) -> Scene:
    """Make the scene of a gap.

    Args:
        gap: of slices with any number of rows and columns.
        knows_thickness: whether the network was told of the slice thickness in its training.
    """
    width, start = gap.width_mm, gap.positions_mm[gap.left]
    rows, columns = gap.slices[0].shape
    below, right = -rows % _MULTIPLE, -columns % _MULTIPLE
    slices = np.empty((1, 4, rows + below, columns + right), np.float32)
    positions = []
    offsets = np.array([[-1.0, 0.0, 1.0, 2.0]], np.float32)
    for slot in range(4):
        index = gap.left + slot - 1
        if 0 <= index < len(gap.slices):
            place = (gap.positions_mm[index] - start) / width
            offsets[0, slot] = place
            positions.append((slot, place))
        index = min(max(index, 0), len(gap.slices) - 1)
        values = slices[0, slot, :rows, :columns]
        values[...] = gap.slices[index]
    for slot in (1, 2, 0, 3):  # the inner ones first, from which the outer ones take what they lack
        values = slices[0, slot, :rows, :columns]
        is_finite = np.isfinite(values)
        if not is_finite.all():
            inner_ones = slices[0, min(max(slot, 1), 2), :rows, :columns]
            np.copyto(values, _AIR_HU if slot in (1, 2) else inner_ones, where=~is_finite)
        if slot in (0, 3):  # Metal that only an outer slice shows would be subtracted many times.
            np.clip(values, *WINDOW, out=values)
    if below or right:
        slices = np.pad(
            slices[..., :rows, :columns], ((0, 0), (0, 0), (0, below), (0, right)), mode="edge"
        )
    inner = gap.slices[gap.left], gap.slices[gap.left + 1]
    thickness = (gap.slice_thickness_mm or 0.0) / width if knows_thickness else 0.0
    return Scene(
        slices=slices,
        offsets=offsets,
        thickness=np.array([thickness], np.float32),
        positions=tuple(positions),
        outside=outside_window(inner[0], WINDOW) | outside_window(inner[1], WINDOW),
    )
