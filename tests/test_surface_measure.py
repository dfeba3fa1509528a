"""Distances and the staircase index against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.errors import RequestError
from hrinet.surface.measure import staircase
from hrinet.surface.mesh import Mesh
from hrinet.surface.structures import Structure
from hrinet.volume import Volume
from surface_phantoms import LEVEL_HU, ball, geometry_of, volume_of

pytest.importorskip("vtkmodules", reason="VTK, of the extra 'surface', is not installed")

from hrinet.surface.distance import deviation, distances, points_on, surface_distance
from hrinet.surface.extract import extract_surface

LEVEL = Structure(name="level", low=LEVEL_HU)
FINE = geometry_of((81, 64, 64))
SQUARE = Mesh(
    np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], np.float32),
    np.array([[0, 1, 2], [0, 2, 3]], np.int32),
)


def test_distance_runs_to_triangles_and_not_to_their_corners():
    points = np.array([[1.0, 1.0, 3.0], [5.0, 6.0, 0.0], [0.5, 1.5, 0.0]])
    assert distances(points, SQUARE) == pytest.approx([3.0, 5.0, 0.0], abs=1e-6)


def test_points_are_spread_evenly_over_the_area():
    lopsided = Mesh(SQUARE.points, np.array([[0, 1, 2], [0, 2, 3], [0, 1, 2]], np.int32))
    points = points_on(lopsided, 30_000, seed=1)
    assert np.all((points[:, :2] >= 0) & (points[:, :2] <= 2))
    assert np.mean(points[:, 0] > points[:, 1]) == pytest.approx(2 / 3, abs=0.01)
    assert points_on(SQUARE, 20_000, seed=1).mean(axis=0) == pytest.approx([1, 1, 0], abs=0.02)


def test_balls_within_each_other():
    inner, outer = (extract_surface(volume_of(FINE, ball(r)), LEVEL).mesh for r in (20.0, 22.5))
    found = surface_distance(outer, inner, samples=5000)
    assert found.mean_mm == pytest.approx(2.5, abs=0.02)
    assert found.hausdorff95_mm == pytest.approx(2.5, abs=0.05)
    assert found.hausdorff_mm == pytest.approx(2.5, abs=0.1)
    assert deviation(inner, inner, samples=2000).hausdorff_mm < 1e-3


def test_an_empty_surface_has_no_distance():
    empty = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
    with pytest.raises(RequestError, match="without triangles"):
        surface_distance(SQUARE, empty)
    assert not empty.is_closed
    assert empty.volume_mm3 == 0


def test_mesh_figures_of_a_tetrahedron():
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]], np.float32)
    mesh = Mesh(points + 100, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32))
    assert mesh.is_closed
    assert mesh.volume_mm3 == pytest.approx(4.5)
    assert mesh.area_mm2 == pytest.approx(3 * 4.5 + np.sqrt(3) / 4 * 18)
    inside_out = Mesh(mesh.points, mesh.triangles[:, ::-1])
    assert inside_out.volume_mm3 == pytest.approx(-4.5)
    twisted = mesh.triangles.copy()
    twisted[0] = twisted[0, ::-1]
    assert not Mesh(mesh.points, twisted).is_closed
    ras = mesh.in_coordinates("ras")
    assert ras.points[0].tolist() == [-100, -100, 100]
    assert ras.volume_mm3 == pytest.approx(4.5)


@pytest.mark.parametrize("turned", [False, True])
def test_the_index_sees_steps_and_only_steps(turned):
    """A ball from every fourth slice, each repeated four times, against the true one."""
    fine = geometry_of((81, 64, 64), turned=turned)
    thick = fine.at_positions(fine.positions_mm[::4].tolist())
    volume = volume_of(fine, ball(25.0))
    nearest = np.clip(np.rint(np.arange(81) / 4).astype(int) * 4, 0, 80)
    stepped = Volume(array=volume.array[nearest], geometry=fine)
    true = staircase(extract_surface(volume, LEVEL).mesh, thick)
    steps = staircase(extract_surface(stepped, LEVEL).mesh, thick)
    assert true is not None
    assert steps is not None
    assert true.index < 0.05
    # The poles of the ball are flat, which is the shape's own and taken off.
    assert steps.index > 0.4
    assert steps.at_slices > 0.6


def test_the_index_needs_slices():
    volume = volume_of(geometry_of((5, 32, 32), gaps=5.0), ball(9.0))
    assert staircase(extract_surface(volume, LEVEL).mesh, volume.geometry) is None
