"""How much a surface shows the slices that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrinet.geometry import Geometry
from hrinet.surface.distance import sampled
from hrinet.surface.mesh import Mesh

_BESIDE = (0.6, 0.7, 0.8, 1.2, 1.3, 1.4)
"""Frequencies beside that of the slices, as multiples of it, where a body shows no slices."""

_SAMPLES = 200_000
"""Points on the surface; they leave the index uncertain by about 0.003."""

_FEWEST_GAPS = 6
"""With fewer, the window is as wide as the distance to the frequencies beside."""


@dataclass(frozen=True, slots=True)
class Staircase:
    """The measure of :func:`staircase`.

    Attributes:
        index: 0 for a surface that knows nothing of the slices, towards 1 for one of treads and
            risers; :attr:`at_slices` less :attr:`beside`, never below 0.
        at_slices: spectrum at the frequency of the slices.
        beside: the same beside that frequency: what the shape of the body itself has there.
    """

    index: float
    at_slices: float
    beside: float


def staircase(mesh: Mesh, slices: Geometry) -> Staircase | None:
    """The staircase index of a surface.

    A staircase faces along the stack on its treads only, and every tread lies at the same place
    between two slices. So the square of the surface normal's component along the stack, n_z^2, as
    a density over the surface's area, beats with the period of the slices. Its spectrum is ::

        F(f) = (|S+(f)| + |S-(f)|) / (S+(0) + S-(0)),
        S+-(f) = integral over the area with n_z > 0 (< 0) of n_z^2 w(z) exp(2 pi i f z) dA,

    with z counted in slices and w Hann's window from the first slice to the last, which leaves out
    the ends, where surfaces are closed. Upper and lower sides are taken apart, because their treads
    lie at mirrored places and would cancel. F(1) is what the slices have left in the surface. A
    body has some of every frequency too (an end plate lies at one z); the mean of F beside the
    frequency of the slices is taken off for it.

    Args:
        mesh: the surface, LPS.
        slices: the slices that it was made from, before gaps were filled; uneven gaps count one
            period each.

    Returns:
        The index, or None where there are fewer than six gaps or the surface never faces along the
        stack.
    """
    gaps = len(slices) - 1
    if gaps < _FEWEST_GAPS or not len(mesh.triangles):
        return None
    points, chosen = sampled(mesh, _SAMPLES, seed=0)
    corners = mesh.points[mesh.triangles[chosen]].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    along = np.divide(cross @ slices.normal, length, out=np.zeros(len(cross)), where=length > 0)
    heights = np.interp(
        points @ slices.normal, slices.positions_mm, np.arange(gaps + 1.0), left=0, right=gaps
    )
    weight = along**2 * np.sin(np.pi * heights / gaps) ** 2
    total = float(weight.sum())
    if total == 0:
        return None
    frequencies = np.array([1.0, *_BESIDE])
    spectrum = np.zeros(len(frequencies))
    for side in (along > 0, along < 0):
        waves = np.exp(2j * np.pi * np.outer(frequencies, heights[side]))
        spectrum += np.abs(waves @ weight[side]) / total
    at_slices, beside = float(spectrum[0]), float(spectrum[1:].mean())
    return Staircase(index=max(0.0, at_slices - beside), at_slices=at_slices, beside=beside)
