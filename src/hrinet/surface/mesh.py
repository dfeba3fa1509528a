"""A triangle mesh in patient coordinates, and what can be said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hrinet.surface.extra import from_vtk, to_vtk, to_vtk_ids

Coordinates = Literal["lps", "ras"]

_BLOCK = 1 << 19
"""Triangles at a time: double-precision corners of all would take more than the mesh."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles whose corners run counter-clockwise seen from outside.

    Attributes:
        points: shape (point, 3), mm, float32; LPS unless converted.
        triangles: indices of corners, shape (triangle, 3), int32.
    """

    points: NDArray[np.float32]
    triangles: NDArray[np.int32]

    @cached_property
    def volume_mm3(self) -> float:
        """Enclosed volume by the divergence theorem, mm^3; positive if normals point outward."""
        if not len(self.points):
            return 0.0
        centre = self.points.mean(axis=0, dtype=np.float64)
        total = 0.0
        for start in range(0, len(self.triangles), _BLOCK):
            a, b, c = _corners(self, start, centre)
            total += float(np.einsum("ij,ij->", a, np.cross(b, c)))
        return total / 6

    @cached_property
    def area_mm2(self) -> float:
        """Sum of the triangles' areas, mm^2."""
        return float(sum(areas.sum() for areas in _blocks_of_areas(self)))

    @property
    def areas(self) -> NDArray[np.float64]:
        """Of every triangle, shape (triangle,), mm^2."""
        return np.concatenate([np.zeros(0), *_blocks_of_areas(self)])

    @cached_property
    def is_closed(self) -> bool:
        """Whether every edge is met once in either direction: watertight and wound alike."""
        count = max(len(self.points), 1)
        heads = self.triangles.astype(np.int64)
        tails = np.roll(heads, -1, axis=1)
        forward = np.sort((heads * count + tails).ravel())
        backward = np.sort((tails * count + heads).ravel())
        once = bool(np.all(forward[1:] != forward[:-1]))
        return len(forward) > 0 and once and np.array_equal(forward, backward)

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smallest and the largest coordinate along each axis, mm."""
        points = self.points
        return points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)

    def in_coordinates(self, coordinates: Coordinates) -> Mesh:
        """This LPS mesh in the given coordinates; RAS turns it by 180 degrees about z."""
        if coordinates == "lps":
            return self
        return replace(self, points=self.points * np.array([-1, -1, 1], np.float32))

    def to_vtk(self) -> Any:
        """A ``vtkPolyData`` that shares the points."""
        from vtkmodules.vtkCommonCore import vtkPoints
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

        points, cells, data = vtkPoints(), vtkCellArray(), vtkPolyData()
        points.SetData(to_vtk(self.points))
        ids = np.ascontiguousarray(self.triangles, np.int64).ravel()
        offsets = np.arange(0, len(ids) + 1, 3, dtype=np.int64)
        cells.SetData(to_vtk_ids(offsets), to_vtk_ids(ids))
        data.SetPoints(points)
        data.SetPolys(cells)
        return data

    @classmethod
    def from_vtk(cls, data: Any) -> Mesh:
        """Copy the triangles of a ``vtkPolyData`` that holds nothing else."""
        if not data.GetNumberOfPolys():
            return cls(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
        ids = from_vtk(data.GetPolys().GetConnectivityArray())
        return cls(
            from_vtk(data.GetPoints().GetData()).astype(np.float32),
            ids.reshape(-1, 3).astype(np.int32),
        )


def _corners(mesh: Mesh, start: int, centre: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    corners = mesh.points[mesh.triangles[start : start + _BLOCK]].astype(np.float64) - centre
    return corners[:, 0], corners[:, 1], corners[:, 2]


def _blocks_of_areas(mesh: Mesh) -> list[NDArray[np.float64]]:
    blocks = []
    for start in range(0, len(mesh.triangles), _BLOCK):
        a, b, c = _corners(mesh, start, np.zeros(3))
        blocks.append(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
    return blocks
