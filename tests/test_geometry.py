from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from conftest import make_geometry
from hrinet.errors import GeometryError
from hrinet.geometry import Geometry


def affine_from(rotation, spacing, origin, flip=1.0):
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 2] *= flip
    affine[:3, 3] = origin
    return affine


spacings = st.tuples(*[st.floats(0.05, 20.0)] * 3)
origins = st.tuples(*[st.floats(-2000.0, 2000.0)] * 3)
angles = st.tuples(*[st.floats(-180.0, 180.0)] * 3)


@given(angles, spacings, origins, st.sampled_from([1.0, -1.0]), st.integers(2, 400))
def test_affine_round_trip_at_every_orientation(euler, spacing, origin, flip, slices):
    rotation = Rotation.from_euler("xyz", euler, degrees=True).as_matrix()
    affine = affine_from(rotation, spacing, origin, flip)
    geometry = Geometry.from_affine(affine, shape=(slices, 300, 200))
    corners = np.array([[i, j, k, 1] for i in (0, 199) for j in (0, 299) for k in (0, slices - 1)])
    error = corners @ geometry.affine_lps.T - corners @ affine.T
    assert np.abs(error).max() < 1e-4
    assert np.all(np.diff(geometry.positions_mm) > 0)
    assert abs(np.linalg.norm(geometry.normal) - 1) < 1e-12
    assert geometry.tilt_deg < 0.01


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_all_48_axis_orientations_agree_with_simpleitk(axes, signs):
    direction = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        direction[axis, column] = sign
    image = sitk.Image(4, 5, 6, sitk.sitkInt16)
    image.SetDirection(direction.ravel())
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    affine = affine_from(direction, (0.5, 0.75, 3.0), (-10.0, 20.0, 30.0))
    geometry = Geometry.from_affine(affine, shape=(6, 5, 4))
    for column, row, k in product((0, 3), (0, 4), (0, 2.5, 5)):
        expected = image.TransformContinuousIndexToPhysicalPoint((column, row, k))
        assert np.allclose(geometry.point(k, row, column), expected, atol=1e-9)
    letters = "".join("LPS"[a] if s > 0 else "RAI"[a] for a, s in zip(axes, signs, strict=True))
    assert geometry.orientation == letters
    assert geometry.plane == ("sagittal", "coronal", "axial")[axes[2]]
    assert geometry.pixel_spacing == (0.75, 0.5)


def test_ras_negates_the_first_two_axes():
    geometry = make_geometry([0, 5, 10])
    assert np.array_equal(geometry.affine_ras[:2], -geometry.affine_lps[:2])
    assert np.array_equal(geometry.affine_ras[2:], geometry.affine_lps[2:])


@pytest.mark.parametrize("degrees", [-25.0, -3.0, 0.0, 18.5, 30.0])
def test_tilt_is_the_angle_between_advance_and_normal(degrees):
    slide = np.tan(np.radians(degrees))
    geometry = make_geometry(np.arange(6) * 4.0, shear=(0.0, slide))
    assert geometry.tilt_deg == pytest.approx(abs(degrees), abs=1e-9)
    assert geometry.shear[1] == pytest.approx(slide)
    assert geometry.gaps_mm == pytest.approx([4.0] * 5)
    assert geometry.is_uniform
    # The affine carries the shear: the last slice's origin is where it should be.
    assert np.allclose(geometry.affine_lps @ [0, 0, 5, 1], [*geometry.origins[5], 1])


def test_uneven_slices_have_no_affine():
    geometry = make_geometry([0, 5, 12, 17])
    assert not geometry.is_uniform
    with pytest.raises(GeometryError, match=r"5 to 7 mm"):
        _ = geometry.affine_lps


def test_rounded_positions_count_as_uniform():
    positions = np.round(np.arange(200) * (10 / 3), 2)
    assert make_geometry(positions).is_uniform


def test_at_positions_interpolates_origins_and_keeps_originals_exact():
    geometry = make_geometry([0, 5, 12], shear=(0.0, 0.3))
    result = geometry.at_positions([0.0, 2.5, 5.0, 8.5, 12.0])
    assert np.array_equal(result.origins[[0, 2, 4]], geometry.origins)
    assert np.allclose(result.origins[1], geometry.origins[:2].mean(axis=0))
    assert result.tilt_deg == pytest.approx(geometry.tilt_deg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_spacing": (0.0, 1.0)}, "pixel spacing"),
        ({"pixel_spacing": (float("nan"), 1.0)}, "pixel spacing"),
        ({"rows": 0}, "rows and columns"),
        ({"slice_thickness": -1.0}, "thickness"),
        ({"row_direction": np.array([2.0, 0, 0])}, "unit vector"),
        ({"row_direction": np.array([0.0, 1.0, 0])}, "orthogonal"),
        ({"row_direction": np.array([np.inf, 1.0, 0])}, "finite"),
        ({"origins": np.zeros((0, 3))}, "shape"),
        ({"origins": np.zeros((3, 3))}, "advance"),
        ({"origins": np.array([[0, 0, 0], [0, 0, 5.0], [0, 0, 3.0]])}, "advance"),
    ],
)
def test_invalid_geometry_is_refused(change, message):
    good = make_geometry([0.0, 5.0])
    fields = {name: getattr(good, name) for name in Geometry.__dataclass_fields__}
    with pytest.raises(GeometryError, match=message):
        Geometry(**{**fields, **change})


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 1, 0, 1]),
        np.full((4, 4), np.nan),
        np.ones((4, 4)),
        np.eye(3),
    ],
)
def test_singular_affines_are_refused(affine):
    with pytest.raises(GeometryError):
        Geometry.from_affine(affine, shape=(2, 2, 2))


def test_arrays_cannot_be_changed():
    geometry = make_geometry([0, 5])
    with pytest.raises(ValueError, match="read-only"):
        geometry.origins[0, 0] = 1


def test_a_single_slice_is_a_valid_geometry():
    geometry = make_geometry([3.0])
    assert geometry.spacing_mm == 5.0
    assert geometry.is_uniform
    assert np.allclose(geometry.normal, [0, 0, 1])
