"""Smoothing and decimation, optional, with what they cost in mm."""

from __future__ import annotations

from hrinet.errors import RequestError
from hrinet.surface.mesh import Mesh

PASS_BAND = 0.05
"""Of the windowed sinc filter: lower is smoother. About the wavelength of ten edges is kept."""


def smoothed(mesh: Mesh, iterations: int) -> Mesh:
    """Smooth by a windowed sinc filter, which keeps the volume where averaging would shrink it.

    Taubin, Zhang, Golub: "Optimal Surface Smoothing as Filter Design", ECCV 1996.

    Args:
        mesh: the surface.
        iterations: degree of the filter; 20 is usual.

    Raises:
        RequestError: if there are less than one.
    """
    if iterations < 1:
        raise RequestError(f"--smooth is {iterations}, expected at least 1 iteration")
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    sinc = vtkWindowedSincPolyDataFilter()
    sinc.SetInputData(mesh.to_vtk())
    sinc.SetNumberOfIterations(iterations)
    sinc.SetPassBand(PASS_BAND)
    sinc.NormalizeCoordinatesOn()
    sinc.NonManifoldSmoothingOn()
    sinc.BoundarySmoothingOff()
    sinc.FeatureEdgeSmoothingOff()
    sinc.Update()
    return Mesh.from_vtk(sinc.GetOutput())


def decimated(mesh: Mesh, *, fraction: float | None = None, triangles: int | None = None) -> Mesh:
    """Take triangles out where they matter least: quadric error, volume preserved.

    Garland, Heckbert: "Surface Simplification Using Quadric Error Metrics", SIGGRAPH 1997.

    Args:
        mesh: the surface.
        fraction: of the triangles to take out, between 0 and 1.
        triangles: how many to leave at the most, instead.

    Raises:
        RequestError: if the fraction is none, or no triangle would be left.
    """
    if fraction is not None and not 0 < fraction < 1:
        raise RequestError(
            f"--decimate is {fraction:g}, expected the fraction of triangles to take out, between "
            "0 and 1"
        )
    if triangles is not None:
        if triangles < 4:
            raise RequestError(f"--max-triangles is {triangles}, expected at least 4")
        fraction = max(0.0, 1 - triangles / max(len(mesh.triangles), 1))
    if not fraction:
        return mesh
    from vtkmodules.vtkFiltersCore import vtkQuadricDecimation

    quadric = vtkQuadricDecimation()
    quadric.SetInputData(mesh.to_vtk())
    quadric.SetTargetReduction(fraction)
    quadric.VolumePreservationOn()
    quadric.Update()
    return Mesh.from_vtk(quadric.GetOutput())
