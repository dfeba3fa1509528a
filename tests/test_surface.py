"""Surfaces against closed forms, scikit-image and the geometry of stacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.errors import RequestError
from hrinet.surface.mesh import Mesh
from hrinet.surface.structures import BONE, LUNG, SKIN, Structure, parse_structure
from hrinet.volume import Volume
from surface_phantoms import LEVEL_HU, ball, cylinder, geometry_of, patient, places, volume_of

pytest.importorskip("vtkmodules", reason="VTK, of the extra 'surface', is not installed")

from hrinet.surface.extract import Shaping, extract_surface

LEVEL = Structure(name="level", low=LEVEL_HU)
UNEVEN = np.tile([0.6, 1.0, 1.7, 0.9], 15)

STACKS = {
    "even": geometry_of((61, 64, 64)),
    "anisotropic": geometry_of((31, 80, 70), spacing=(0.8, 0.9), gaps=2.0),
    "uneven": geometry_of((61, 64, 64), gaps=UNEVEN),
    "tilted": geometry_of((61, 90, 64), shear=(0.05, 0.3)),
    "oblique": geometry_of((61, 64, 64), turned=True),
    "all at once": geometry_of((61, 90, 64), gaps=UNEVEN, shear=(0.05, 0.3), turned=True),
    "left-handed": geometry_of((61, 64, 64), left_handed=True),
}


def outward(mesh: Mesh, centre: np.ndarray) -> np.ndarray:
    corners = mesh.points[mesh.triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.einsum("ij,ij->i", normals, corners.mean(axis=1) - centre)


@pytest.mark.parametrize("is_integer", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_a_ball_has_its_volume_area_place_and_winding(name, is_integer):
    radius = 25.0
    mesh = extract_surface(volume_of(STACKS[name], ball(radius), is_integer=is_integer), LEVEL).mesh
    assert mesh.is_closed
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.005)
    assert mesh.area_mm2 == pytest.approx(4 * np.pi * radius**2, rel=0.01)
    assert np.abs(np.linalg.norm(mesh.points, axis=1) - radius).max() < 0.1
    assert (outward(mesh, np.zeros(3)) > 0).mean() > 0.999


@pytest.mark.parametrize("name", ["even", "uneven", "tilted"])
def test_a_cylinder_through_the_scan_is_closed_on_its_outer_faces(name):
    geometry, radius = STACKS[name], 20.0
    axis = geometry.step / np.linalg.norm(geometry.step)
    gaps = geometry.gaps_mm
    height = geometry.positions_mm[-1] - geometry.positions_mm[0] + (gaps[0] + gaps[-1]) / 2
    cut = np.pi * radius**2 / abs(axis @ geometry.normal)  # An ellipse in a tilted stack.
    volume = volume_of(geometry, cylinder(radius, axis))
    mesh = extract_surface(volume, LEVEL).mesh
    assert mesh.is_closed
    assert mesh.volume_mm3 == pytest.approx(cut * height, rel=0.005)
    wall = 2 * np.pi * radius * height / abs(axis @ geometry.normal)
    assert mesh.area_mm2 == pytest.approx(wall + 2 * cut, rel=0.01)
    across = mesh.points - (mesh.points @ axis)[:, None] * axis
    on_wall = np.abs(mesh.points @ geometry.normal) < height / 2 - 2
    assert np.abs(np.linalg.norm(across[on_wall], axis=1) - radius).max() < 0.1
    ends = mesh.points @ geometry.normal
    assert np.ptp(ends) == pytest.approx(height, abs=1e-3)

    still_open = extract_surface(volume, LEVEL, shaping=Shaping(is_closed=False)).mesh
    assert not still_open.is_closed
    assert still_open.area_mm2 < wall


def test_points_are_those_of_marching_cubes():
    measure = pytest.importorskip("skimage.measure")
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(3)
    values = ndimage.gaussian_filter(random.normal(size=(30, 34, 38)), 2) * 5000
    geometry = geometry_of(values.shape, spacing=(0.7, 0.9), gaps=1.3)
    volume = Volume(array=values.astype(np.float32), geometry=geometry)
    mesh = extract_surface(volume, LEVEL, shaping=Shaping(is_closed=False)).mesh
    theirs, triangles, _, _ = measure.marching_cubes(
        values.astype(np.float32), LEVEL_HU, spacing=(1.3, 0.7, 0.9), allow_degenerate=False
    )
    theirs = theirs[:, ::-1] + geometry.origins[0]
    from scipy.spatial import cKDTree

    assert cKDTree(theirs).query(mesh.points)[0].max() < 1e-3
    assert measure.mesh_surface_area(theirs, triangles) == pytest.approx(mesh.area_mm2, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(2, 7), st.integers(3, 7), st.integers(3, 7)),
    is_integer=st.booleans(),
)
def test_any_field_gives_a_closed_surface_around_its_voxels(seed, shape, is_integer):
    random = np.random.default_rng(seed)
    values = random.integers(-3, 4, shape) * 100 + 50
    values[0, 0, 0] = 1000
    array = values.astype(np.int16 if is_integer else np.float32)
    volume = Volume(array=array, geometry=geometry_of(shape))
    mesh = extract_surface(volume, Structure(name="any", low=150)).mesh
    # Every edge is used equally often in both directions, also where voxels touch in an edge.
    edges = np.concatenate([np.roll(mesh.triangles, -k, axis=1)[:, :2] for k in range(3)])
    assert sorted(map(tuple, edges.tolist())) == sorted(map(tuple, edges[:, ::-1].tolist()))
    assert mesh.volume_mm3 > 0


def test_a_range_has_two_sides():
    volume = volume_of(STACKS["even"], ball(25.0))
    shell = extract_surface(volume, Structure(name="shell", low=LEVEL_HU, high=1150.0)).mesh
    expected = 4 / 3 * np.pi * (25.0**3 - 22.0**3)
    assert shell.volume_mm3 == pytest.approx(expected, rel=0.01)


def test_the_table_is_no_skin_and_no_bone():
    for structure in (SKIN, BONE):
        with_table = extract_surface(patient(), structure).mesh
        without = extract_surface(patient(with_table=False), structure).mesh
        assert with_table.volume_mm3 == pytest.approx(without.volume_mm3, rel=0.02)
        assert with_table.bounds_mm[1][1] < 97


def test_skin_is_one_silhouette_without_airways():
    mesh = extract_surface(patient(with_table=False), SKIN).mesh
    assert mesh.volume_mm3 == pytest.approx(np.pi * 130 * 90 * 24 * 5, rel=0.01)
    trimesh = pytest.importorskip("trimesh")
    assert trimesh.Trimesh(mesh.points, mesh.triangles, process=False).euler_number == 2


def test_lungs_leave_airway_and_bowel_gas_out():
    volume = patient()
    z = places(volume.geometry)[:, 0, 0, 2]
    mesh = extract_surface(volume, LUNG).mesh
    assert mesh.volume_mm3 == pytest.approx(2 * np.pi * 40 * 55 * 5 * (z > -20).sum(), rel=0.03)


def test_only_the_largest_pieces_are_kept():
    geometry = STACKS["even"]

    def two(at: np.ndarray) -> np.ndarray:
        return np.maximum(ball(10.0)(at - [-15, 0, 0]), ball(7.0)(at - [15, 0, 0]))

    volume = volume_of(geometry, two)
    both = extract_surface(volume, LEVEL).mesh
    larger = extract_surface(volume, LEVEL, shaping=Shaping(largest=1)).mesh
    small = 4 / 3 * np.pi * 7.0**3
    assert both.volume_mm3 - larger.volume_mm3 == pytest.approx(small, rel=0.02)
    assert larger.volume_mm3 == pytest.approx(4 / 3 * np.pi * 1000, rel=0.01)


def test_smoothing_and_decimation_say_how_far_they_go():
    random = np.random.default_rng(0)
    clean = volume_of(STACKS["even"], ball(25.0))
    noisy = Volume(
        array=clean.array + random.normal(0, 60, clean.shape).astype(np.float32),
        geometry=clean.geometry,
    )
    raw = extract_surface(noisy, LEVEL)
    smooth = extract_surface(noisy, LEVEL, shaping=Shaping(smooth=20))
    fewer = extract_surface(noisy, LEVEL, shaping=Shaping(smooth=20, decimate=0.8))
    most = extract_surface(noisy, LEVEL, shaping=Shaping(max_triangles=2000))

    def spread(mesh: Mesh) -> float:
        return float(np.linalg.norm(mesh.points, axis=1).std())

    assert raw.deviation is None
    assert spread(smooth.mesh) < 0.6 * spread(raw.mesh)
    assert smooth.mesh.volume_mm3 == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.01)
    assert smooth.deviation is not None
    moved = np.linalg.norm(smooth.mesh.points - raw.mesh.points, axis=1).max()
    assert 0 < smooth.deviation.mean_mm < smooth.deviation.hausdorff_mm <= moved * 1.5
    assert len(fewer.mesh.triangles) == pytest.approx(0.2 * len(raw.mesh.triangles), rel=0.02)
    assert len(most.mesh.triangles) <= 2000
    assert fewer.mesh.volume_mm3 > 0


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("300:", 300, np.inf), (":-400", -np.inf, -400), ("-50:150", -50, 150)],
)
def test_ranges_are_read(text, low, high):
    structure = parse_structure(text)
    assert (structure.low, structure.high) == (low, high)


@pytest.mark.parametrize("text", ["bones", "", ":", "a:b", "200:100", "nan:100", "1:2:3"])
def test_other_structures_are_refused_in_one_sentence(text):
    with pytest.raises(RequestError, match=r"^(--structure is|the structure)"):
        parse_structure(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"largest": 0},
        {"smooth": -1},
        {"decimate": 1.0},
        {"max_triangles": 3},
        {"decimate": 0.5, "max_triangles": 100},
    ],
)
def test_impossible_shapings_are_refused(wrong):
    with pytest.raises(RequestError, match="--"):
        Shaping(**wrong)


def test_nothing_to_draw_is_said():
    volume = volume_of(STACKS["even"], ball(25.0))
    with pytest.raises(RequestError, match=r"holds no 3000: .*-1000 to 1500 HU"):
        extract_surface(volume, parse_structure("3000:"))
    with pytest.raises(RequestError, match="fills the whole scan"):
        extract_surface(volume, parse_structure("-2000:"), shaping=Shaping(is_closed=False))
    single = Volume(array=volume.array[:1], geometry=geometry_of((1, 64, 64)))
    with pytest.raises(RequestError, match="single slice"):
        extract_surface(single, LEVEL)


def test_a_missing_extra_is_named(monkeypatch):
    from hrinet.surface import extra

    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"need vtk, .*hrinet\[surface\]"):
        extract_surface(volume_of(STACKS["even"], ball(25.0)), LEVEL)
