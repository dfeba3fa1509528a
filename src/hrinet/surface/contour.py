"""From a field on voxels to triangles in the patient: flying edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrinet.geometry import Geometry
from hrinet.surface.extra import to_vtk, use_threads
from hrinet.surface.field import Field
from hrinet.surface.mesh import Mesh

_BLOCK = 1 << 19


def contour(field: Field, geometry: Geometry, *, threads: int | None = None) -> Mesh:
    """The surface on which a field crosses zero.

    Flying edges (Schroeder, Maynard, Geveci: "Flying Edges: A High-Performance Scalable
    Isocontouring Algorithm", LDAV 2015), which finds the triangles of marching cubes; in index
    space, whose points then go to the true place of every slice. Tilted, oblique and unevenly
    spaced stacks need no resampling by that.

    Args:
        field: of the structure.
        geometry: of the volume.
        threads: by default all cores.

    Returns:
        The mesh, LPS.
    """
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    use_threads(threads)
    image = vtkImageData()
    image.SetDimensions(*field.values.shape[::-1])
    image.GetPointData().SetScalars(to_vtk(field.values.reshape(-1)))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.SetValue(0, 0.0)
    edges.Update()
    mesh = Mesh.from_vtk(edges.GetOutput())
    place(mesh.points, geometry, frame=field.frame)
    if _is_left_handed(geometry):
        mesh.triangles[:, 1:] = mesh.triangles[:, :0:-1].copy()
    return mesh


def place(points: NDArray[np.float32], geometry: Geometry, *, frame: int) -> None:
    """Turn (column, row, slice) of a framed volume into LPS, in place.

    A frame outside the stack goes on as the outermost gap does.
    """
    origins = geometry.origins
    step = geometry.step
    first = origins[1] - origins[0] if len(origins) > 1 else step
    last = origins[-1] - origins[-2] if len(origins) > 1 else step
    extended = np.concatenate([[origins[0] - first], origins, [origins[-1] + last]])
    indices = np.arange(-1, len(origins) + 1)
    in_plane = np.stack(
        [
            geometry.row_direction * geometry.pixel_spacing[1],
            geometry.column_direction * geometry.pixel_spacing[0],
        ]
    )
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK].astype(np.float64) - frame
        placed = block[:, :2] @ in_plane
        for axis in range(3):
            placed[:, axis] += np.interp(block[:, 2], indices, extended[:, axis])
        points[start : start + _BLOCK] = placed


def _is_left_handed(geometry: Geometry) -> bool:
    cross = np.cross(geometry.row_direction, geometry.column_direction)
    return float(cross @ geometry.normal) < 0
