"""Turning slices of volume files the way radiologists look at them, without resampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hrinet.geometry import Geometry
from hrinet.types import Float64Array, SliceArray

_USUAL = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
"""Row and column direction of slices as they are displayed: patient's left to the right, head or
front up."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows and columns exchanged or reversed.

    Attributes:
        is_transposed: rows become columns, before anything else.
        flips_rows: the order of the rows is reversed.
        flips_columns: likewise.
    """

    is_transposed: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    def values(self, values: SliceArray) -> SliceArray:
        """A slice in the new layout, shape (row, column)."""
        if self.is_transposed:
            values = values.T
        if self.flips_rows:
            values = values[::-1]
        if self.flips_columns:
            values = values[:, ::-1]
        return np.ascontiguousarray(values)

    def geometry(self, geometry: Geometry) -> Geometry:
        """Where the voxels lie in the new layout: every voxel keeps its place."""
        row, column = geometry.row_direction, geometry.column_direction
        spacing, rows, columns = geometry.pixel_spacing, geometry.rows, geometry.columns
        if self.is_transposed:
            row, column = column, row
            spacing, rows, columns = (spacing[1], spacing[0]), columns, rows
        origins = geometry.origins
        if self.flips_rows:
            origins = origins + column * spacing[0] * (rows - 1)
            column = -column
        if self.flips_columns:
            origins = origins + row * spacing[1] * (columns - 1)
            row = -row
        return replace(
            geometry,
            origins=origins,
            row_direction=row,
            column_direction=column,
            pixel_spacing=spacing,
            rows=rows,
            columns=columns,
        )


def usual_layout(geometry: Geometry, *, like: Geometry | None = None) -> Layout:
    """The layout in which rows and columns run as they do in another series, or as is usual.

    Args:
        geometry: of a volume file.
        like: of a series of the same patient, whose directions are taken.
    """
    if like is not None:
        row, column = like.row_direction, like.column_direction
    else:
        row, column = (np.array(v) for v in _USUAL[geometry.plane.split()[-1]])
    is_transposed = _along(geometry.row_direction, row) < _along(geometry.column_direction, row)
    turned = Layout(is_transposed).geometry(geometry)
    return Layout(
        is_transposed,
        flips_rows=float(turned.column_direction @ column) < 0,
        flips_columns=float(turned.row_direction @ row) < 0,
    )


def _along(direction: Float64Array, other: Float64Array) -> float:
    return abs(float(direction @ other))
