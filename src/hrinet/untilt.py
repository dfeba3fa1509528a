"""Straightening a tilted stack: shift every slice in its plane until the shear is gone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from hrinet.geometry import Geometry
from hrinet.rounding import store
from hrinet.types import Float64Array, SliceArray
from hrinet.volume import WrappedSource

_AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Untilted(WrappedSource):
    """A source whose slices lie straight above each other.

    Gantry tilt makes the slices of a series slide sideways (:attr:`Geometry.shear`). Viewers and
    file formats that know no shear show such a stack askew. Here every slice is moved back within
    its own plane by a fraction of a pixel (Keys' cubic convolution, a = -1/2), and the frame is
    enlarged so that nothing is cut off. Original voxels are resampled by that; the output says so.

    Attributes:
        source: the tilted stack.
        is_label: whether voxels are ids, which are moved by whole pixels instead.
    """

    is_label: bool = False
    _geometry: Geometry = field(init=False)
    _shifts: tuple[tuple[float, float], ...] = field(init=False)
    _frame: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        tilted = self.source.geometry
        relative = tilted.origins - tilted.origins[0]
        spacing = np.array(tilted.pixel_spacing)
        slides = (
            np.stack([relative @ tilted.column_direction, relative @ tilted.row_direction], axis=1)
            / spacing
        )
        corner = np.floor(slides.min(axis=0))
        extra = np.ceil(slides.max(axis=0) - corner).astype(int)
        shifts = slides - corner
        start = (
            tilted.origins[0]
            + corner[0] * spacing[0] * tilted.column_direction
            + corner[1] * spacing[1] * tilted.row_direction
        )
        rise = tilted.positions_mm - tilted.positions_mm[0]
        geometry = replace(
            tilted,
            origins=start + rise[:, None] * tilted.normal,
            rows=tilted.rows + int(extra[0]),
            columns=tilted.columns + int(extra[1]),
        )
        set_field = object.__setattr__
        set_field(self, "_geometry", geometry)
        set_field(self, "_shifts", tuple((float(r), float(c)) for r, c in shifts))
        set_field(self, "_frame", (int(extra[0]), int(extra[1])))

    @property
    def geometry(self) -> Geometry:
        """Of the straightened stack."""
        return self._geometry

    def widened(self) -> Untilted:
        """The same with float32 slices."""
        return Untilted(self.source.widened(), is_label=self.is_label)

    def read_slice(self, index: int) -> SliceArray:
        """Slice ``index`` moved to its straight place, shape (row, column), HU."""
        values = self.source.read_slice(index)
        fill = 0.0 if self.is_label else self.padding_hu
        background = _AIR_HU if fill is None else fill
        rows, columns = values.shape
        down, right = self._shifts[index]
        if self.is_label:
            down, right = float(round(down)), float(round(right))
        top, left = int(down), int(right)
        framed = cv2.copyMakeBorder(
            values,
            top,
            self.geometry.rows - rows - top,
            left,
            self.geometry.columns - columns - left,
            cv2.BORDER_CONSTANT,
            value=background,
        )
        if down == top and right == left:
            return framed
        # Sub-pixel move by separable correlation: out[i] = sum of w[k] * in[i + k - 2].
        moved = cv2.sepFilter2D(
            framed,
            cv2.CV_32F,
            _keys_weights(right - left),
            _keys_weights(down - top),
            anchor=(2, 2),
            borderType=cv2.BORDER_REPLICATE,
        )
        # The kernel overshoots at edges; no voxel may leave the range of its slice.
        np.clip(moved, float(values.min()), float(values.max()), out=moved)
        result = np.empty(moved.shape, self.dtype)
        store(moved, result)
        return result


def _keys_weights(fraction: float) -> Float64Array:
    """Weights of in[i - 2 .. i + 1] for a move by ``fraction`` to larger indices (Keys 1981)."""
    t = 1.0 - fraction  # Position of the sample between in[i - 1] and in[i].
    return np.array(
        [
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1.0,
            -1.5 * t**3 + 2.0 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        ]
    )
