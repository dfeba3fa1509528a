"""How far one surface lies from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.surface.extra import from_vtk, to_vtk
from hrinet.surface.mesh import Mesh
from hrinet.types import Float64Array

SAMPLES = 100_000
"""Points on each surface; the standard error of a mean is then 0.3 % of the spread."""


@dataclass(frozen=True, slots=True)
class SurfaceDistance:
    """Distances between two surfaces, both ways, mm.

    Attributes:
        mean_mm: symmetric mean: of both directions' means, so that each surface counts half.
        hausdorff95_mm: the larger of both directions' 95th percentiles.
        hausdorff_mm: the largest distance that was met, over the points that were drawn.
    """

    mean_mm: float
    hausdorff95_mm: float
    hausdorff_mm: float


def surface_distance(
    mesh: Mesh, reference: Mesh, *, samples: int = SAMPLES, seed: int = 0
) -> SurfaceDistance:
    """Compare two surfaces by points that are spread evenly over their areas.

    From every point to the nearest point of the other surface's triangles, not of its vertices
    (Heimann et al.: "Comparison and Evaluation of Methods for Liver Segmentation From CT Datasets",
    IEEE TMI 2009, section III-B, on triangles).

    Args:
        mesh: one surface.
        reference: the other one.
        samples: points on each.
        seed: of the places of the points; the same seed gives the same figures.

    Raises:
        RequestError: if a surface is empty.
    """
    there = distances(points_on(mesh, samples, seed=seed), reference)
    back = distances(points_on(reference, samples, seed=seed), mesh)
    return SurfaceDistance(
        mean_mm=float((there.mean() + back.mean()) / 2),
        hausdorff95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hausdorff_mm=float(max(there.max(), back.max())),
    )


def deviation(mesh: Mesh, original: Mesh, *, samples: int = 20_000) -> SurfaceDistance:
    """How far processing has moved a surface.

    Vertices count besides points spread over the areas, since a mesh sticks out at its vertices.

    Args:
        mesh: what became of it.
        original: the surface before.
        samples: points of each kind on each surface at the most.
    """
    parts = []
    for one, other in ((mesh, original), (original, mesh)):
        step = max(1, -(-len(one.points) // samples))
        points = np.concatenate([points_on(one, samples, seed=0), one.points[::step]])
        parts.append(distances(points, other))
    spread = [part[:samples] for part in parts]
    return SurfaceDistance(
        mean_mm=float(np.mean([part.mean() for part in spread])),
        hausdorff95_mm=float(max(np.percentile(part, 95) for part in spread)),
        hausdorff_mm=float(max(part.max() for part in parts)),
    )


def points_on(mesh: Mesh, count: int, *, seed: int) -> Float64Array:
    """Points spread evenly over the area of a mesh, shape (count, 3), mm.

    Raises:
        RequestError: if it is empty.
    """
    return sampled(mesh, count, seed=seed)[0]


def sampled(mesh: Mesh, count: int, *, seed: int) -> tuple[Float64Array, NDArray[np.int64]]:
    """The same, and for every point the number of its triangle.

    Raises:
        RequestError: if it is empty.
    """
    if not len(mesh.triangles):
        raise RequestError("a surface without triangles has no distance to another")
    random = np.random.default_rng(seed)
    edges = np.cumsum(mesh.areas)
    # Stratified: one point in each of count parts of equal area.
    places = (np.arange(count) + random.random(count)) / count * edges[-1]
    chosen = np.searchsorted(edges, places, side="right").clip(max=len(edges) - 1)
    corners = mesh.points[mesh.triangles[chosen]].astype(np.float64)
    root, second = np.sqrt(random.random(count)), random.random(count)
    weights = np.stack([1 - root, root * (1 - second), root * second], axis=1)
    return np.asarray(np.einsum("ij,ijk->ik", weights, corners)), chosen


def distances(points: NDArray[np.floating], mesh: Mesh) -> Float64Array:
    """From every point to the nearest triangle, shape (point,), mm."""
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    distance = vtkImplicitPolyDataDistance()
    distance.SetInput(mesh.to_vtk())
    result = vtkDoubleArray()
    distance.FunctionValue(to_vtk(np.asarray(points, np.float64)), result)
    return np.asarray(np.abs(from_vtk(result)), np.float64)
