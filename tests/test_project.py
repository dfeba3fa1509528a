"""Projections against formulas, SciPy and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.project.beam import Beam
from hrinet.project.projector import Projection, project, ray_frame
from hrinet.project.views import View, _rotation
from hrinet.project.weights import FALLING, RISING, gaussian, parse_weight
from hrinet.volume import Volume
from project_phantoms import ball, rasterized, stack

Picture = NDArray[np.float32]


def places(one: Projection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of pixels to the right and upwards, mm."""
    rows, columns = np.mgrid[: one.values.shape[0], : one.values.shape[1]]
    right = one.origin @ one.view.right + columns * one.pixel_mm
    return right, one.origin @ one.view.up - rows * one.pixel_mm


def mass(volume: Volume) -> float:
    voxel = float(np.prod(volume.geometry.pixel_spacing)) * abs(
        float(volume.geometry.step @ volume.geometry.normal)
    )
    return (float(volume.array.sum(dtype=np.float64)) + 1000 * volume.array.size) * voxel


def only(volume: Volume, view: View, **options: object) -> Projection:
    (one,) = project(volume, [view], mode=options.pop("mode", "sum"), **options)  # type: ignore[arg-type]
    return one


VIEWS = [View.turned(0), View.turned(33), View.turned(90), View.turned(118), View.turned(20, 35, 8)]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_ball_has_the_profile_of_a_ball(view: View) -> None:
    centre, radius = (3.0, -4.0, 2.0), 15.0
    volume = rasterized(stack((48, 50, 46)), ball(radius, centre))
    one = only(volume, view)
    right, up = places(one)
    right, up = right - np.dot(centre, view.right), up - np.dot(centre, view.up)
    square = right**2 + up**2
    # Pixels are means, of 4 x 4 points here.
    parts = (np.arange(4) - 1.5) / 4
    inside = [radius**2 - (right + a) ** 2 - (up + b) ** 2 for a in parts for b in parts]
    chord = 2000 * np.sqrt(np.maximum(inside, 0)).mean(axis=0)
    inner = square < (radius - 2) ** 2
    np.testing.assert_allclose(one.values[inner], chord[inner], atol=0.012 * 2000 * radius)
    assert abs(float((one.values - chord)[inner].mean())) < 0.001 * 2000 * radius
    assert np.abs(one.values[square > (radius + 3) ** 2]).max() < 0.002 * 2000 * radius


@pytest.mark.parametrize("degrees", [0, 27, 45, 90, 160])
def test_a_box_and_a_rod_have_their_line_integrals(degrees: float) -> None:
    view = View.turned(degrees)
    one = only(
        rasterized(
            stack((20, 60, 64)), lambda p: np.abs(p[..., :2] @ np.diag([1, 2])).max(-1) < 18
        ),
        view,
    )
    # |x| < 18, |y| < 9, all z: on the ray through the middle.
    x, y = np.abs(view.ray[:2])
    middle = one.values[one.values.shape[0] // 2]
    right = places(one)[0][0]
    path = min(36 / max(x, 1e-9), 18 / max(y, 1e-9)) * 1000
    core = middle[np.abs(right) < 3]
    np.testing.assert_allclose(core, path, rtol=0.004)
    rod = rasterized(stack((20, 60, 64)), lambda p: (p[..., :2] ** 2).sum(-1) < 20**2)
    one = only(rod, view)
    right = places(one)[0][0]
    inner = np.abs(right) < 17
    expected = 2000 * np.sqrt(400 - right[inner] ** 2)
    np.testing.assert_allclose(one.values[one.values.shape[0] // 2][inner], expected, rtol=0.02)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-360, 360),
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.floats(0.4, 3),
    st.floats(0.5, 1.5),
    st.floats(0.4, 2),
)
def test_mass_is_kept_from_every_side_by_every_stack(
    a: float, b: float, c: float, down: float, right: float, gap: float, row: float, pixel: float
) -> None:
    turn = _rotation(0, b / 2) @ _rotation(2, c)
    geometry = stack((9, 12, 11), spacing=(gap, row, 0.9), turn=turn, shear=(down, right))
    array = np.random.default_rng(1).integers(-1000, 1500, geometry.shape).astype(np.int16)
    volume = Volume(array, geometry)
    one = only(volume, View.turned(a, b, c), pixel_mm=pixel)
    total = float(one.values.sum(dtype=np.float64)) * pixel**2
    assert total == pytest.approx(mass(volume), rel=2e-5)


def test_planes_straight_ahead_are_summed_up_exactly() -> None:
    geometry = stack((7, 8, 9), spacing=(2.0, 2.0, 2.0))
    array = np.random.default_rng(2).integers(-900, 900, geometry.shape).astype(np.int16)
    above = array.astype(float) + 1000
    for view, expected in (
        (View.turned(0), above.sum(axis=1)[::-1]),
        (View.turned(90), above.sum(axis=2)[::-1]),
        (View.turned(180), above.sum(axis=1)[::-1, ::-1]),
        (View.turned(0, 90), above.sum(axis=0)),
    ):
        one = only(Volume(array, geometry), view)
        top, left = ((a - b) // 2 for a, b in zip(one.values.shape, expected.shape, strict=True))
        inner = one.values[top : top + expected.shape[0], left : left + expected.shape[1]]
        np.testing.assert_allclose(inner, 2 * expected, rtol=1e-5)
        assert one.values.sum() == pytest.approx(2 * expected.sum(), rel=1e-5)


@pytest.mark.parametrize("degrees", [17, 60, 135])
def test_it_agrees_with_scipy(degrees: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(12, 64, 64)), (0, 2.5, 2.5))
    row, column = np.mgrid[:64, :64] - 31.5
    noise = np.where(np.hypot(row, column) < 24, 1200 + 2000 * noise, 0).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    volume = Volume(noise - 1000, stack(noise.shape))
    # The first view decides whether the width of all is even, as scipy's is.
    _, one = project(volume, [View.turned(0), View.turned(degrees)], mode="sum")
    # Rows count downwards, so that scipy turns the slice the other way than the viewer goes.
    turned = ndimage.rotate(noise, degrees, axes=(1, 2), reshape=False, order=3).sum(axis=1)[::-1]
    top, left = ((a - b) // 2 for a, b in zip(one.values.shape, turned.shape, strict=True))
    inner = one.values[top : top + 12, left : left + 64]
    np.testing.assert_allclose(inner, turned, atol=0.01 * turned.max())
    assert noise.min() > -1
    assert np.corrcoef(inner.ravel(), turned.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("degrees", range(5, 180, 25))
def test_it_is_nearer_to_line_integrals_than_turning_the_volume(degrees: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    # A shell with a hole in it; edges are sharp, so that both blurring and aliasing show.
    radii = {(2.0, -3.0): (26.0, 21.0), (6.0, 4.0): (7.5,)}

    def inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        result = np.zeros(points.shape[:-1], bool)
        for (x, y), found in radii.items():
            for radius in found:
                result ^= (points[..., 0] - x) ** 2 + (points[..., 1] - y) ** 2 <= radius**2
        return result

    volume = rasterized(stack((1, 64, 64)), inside, fine=9, slab=1.0)
    view = View.turned(degrees)
    turned = ndimage.rotate(volume.array + 1000, degrees, axes=(1, 2), order=1).sum(axis=1)[0]
    one = only(volume, view).values
    found = []
    for row in (turned, one[len(one) // 2]):
        u = (np.arange(20 * len(row)) + 0.5) / 20 - len(row) / 2
        chords = np.zeros(u.shape)
        for (x, y), circles in radii.items():
            away = (u - np.dot((x, y), view.right[:2])) ** 2
            for sign, radius in zip((1, -1), circles, strict=False):
                chords += sign * 2000 * np.sqrt(np.maximum(radius**2 - away, 0))
        found.append(np.sqrt(np.sum((row - chords.reshape(-1, 20).mean(axis=1)) ** 2)))
    assert found[1] < 0.9 * found[0]


@pytest.mark.parametrize("angles", [(40.0, 0.0, 0.0), (25.0, 30.0, -15.0)])
def test_it_agrees_with_resampling_by_simpleitk(angles: tuple[float, float, float]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    turn = _rotation(0, 20) @ _rotation(2, 10)
    geometry = stack((40, 44, 48), spacing=(1.3, 0.9, 1.1), turn=turn, centre=(50, -20, 300))
    volume = rasterized(geometry, ball(14, (52, -22, 302)), hu=200)
    image = sitk.GetImageFromArray(volume.array + 1000)
    image.SetSpacing((1.1, 0.9, 1.3))
    image.SetOrigin(geometry.origins[0].tolist())
    axes = [geometry.row_direction, geometry.column_direction, geometry.normal]
    image.SetDirection(np.stack(axes, axis=1).ravel().tolist())
    view = View.turned(*angles)
    one = only(volume, view, pixel_mm=1.0)
    depth = 90
    grid = np.stack([view.right, -view.up, view.ray], axis=1)
    start = one.origin - view.ray * depth / 2
    height, width = one.values.shape
    turned = sitk.Resample(
        image,
        (width, height, depth),
        sitk.Transform(),
        sitk.sitkLinear,
        start.tolist(),
        (1.0, 1.0, 1.0),
        grid.ravel().tolist(),
        0.0,
    )
    expected = sitk.GetArrayFromImage(turned).sum(axis=0)
    assert expected.max() > 1000 * 28
    np.testing.assert_allclose(one.values, expected, atol=0.05 * expected.max())
    assert np.sqrt(np.mean((one.values - expected) ** 2)) < 0.005 * expected.max()


def width_and_height(one: Projection) -> tuple[float, float]:
    """From second moments, which for a ball are R^2 / 5 along both."""
    right, up = places(one)
    values = one.values.astype(np.float64) / one.values.sum(dtype=np.float64)
    sizes = []
    for axis in (right, up):
        middle = (values * axis).sum()
        sizes.append(2 * np.sqrt(5 * (values * (axis - middle) ** 2).sum()))
    return sizes[0], sizes[1]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@pytest.mark.parametrize(
    "geometry",
    [
        stack((60, 70, 44), spacing=(1.0, 0.8, 1.3)),
        stack((60, 90, 60), spacing=(0.9, 1.0, 0.9), shear=(np.tan(np.radians(18.5)), 0.0)),
        stack((60, 60, 60), turn=_rotation(0, 30) @ _rotation(1, -20)),
        stack((60, 60, 60), turn=_rotation(1, 90), spacing=(0.9, 1.0, 1.0)),
    ],
    ids=["anisotropic", "tilted", "oblique", "sagittal"],
)
def test_a_ball_is_round_in_every_stack(geometry: Geometry, view: View) -> None:
    one = only(rasterized(geometry, ball(20), fine=2), view)
    width, height = width_and_height(one)
    assert width == pytest.approx(height, rel=0.01)
    assert width == pytest.approx(40, rel=0.01)


def test_maximum_and_minimum_are_those_of_lines_of_voxels() -> None:
    geometry = stack((6, 30, 28))
    array = np.random.default_rng(5).integers(-1000, 1500, geometry.shape).astype(np.int16)
    volume = Volume(array, geometry)
    for mode, reduce in (("maximum", np.max), ("minimum", np.min)):
        one = only(volume, View.turned(0), mode=mode)
        top, left = (one.values.shape[0] - 6) // 2, (one.values.shape[1] - 28) // 2
        inner = one.values[top : top + 6, left : left + 28]
        np.testing.assert_allclose(inner, reduce(array, axis=1)[::-1], atol=0.01)
        assert one.values[0, 0] == -1000
    for view in VIEWS:
        highest = only(volume, view, mode="maximum").values
        assert highest.min() >= -1000
        assert highest.max() <= array.max()
        lowest = only(volume, view, mode="minimum").values
        assert lowest.min() >= -1000
        assert lowest.max() <= array.max()


def test_a_bead_is_found_by_the_maximum_from_every_side() -> None:
    # Three voxels wide, so that there is a point of the whole bead on some ray.
    volume = rasterized(stack((70, 40, 40)), ball(4, (6, -3, 20)), hu=900)
    for view in VIEWS:
        one = only(volume, view, mode="maximum")
        assert one.values.max() == pytest.approx(900, abs=1)
        right, up = places(one)
        bright = one.values > -50
        assert right[bright].mean() == pytest.approx(np.dot((6, -3, 20), view.right), abs=0.2)
        assert up[bright].mean() == pytest.approx(np.dot((6, -3, 20), view.up), abs=0.2)


def test_blocks_of_slices_do_not_show() -> None:
    # More slices than a block has, and rays that cross them.
    geometry = stack((150, 12, 12))
    array = np.full(geometry.shape, 100, np.int16)
    for mode in ("maximum", "minimum"):
        one = only(Volume(array, geometry), View.turned(0, 25), mode=mode)
        inside = one.values > 0
        core = one.values[20:-20, 10:-10][inside[20:-20, 10:-10]]
        np.testing.assert_allclose(core, 100, atol=1e-3)
    pair = [
        only(Volume(array, geometry), View.turned(10, 25), threads=threads).values
        for threads in (1, 3)
    ]
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-5, atol=0.1)


@pytest.mark.parametrize("turn", [np.eye(3), _rotation(0, 20)], ids=["straight", "oblique"])
def test_weights_count_by_depth(turn: NDArray[np.float64]) -> None:
    # A thin plate at depth y: its sum is the weight there times its thickness.
    geometry = stack((24, 80, 24), turn=turn)
    view = View.turned(0)
    frame = ray_frame(geometry, view, pixel_mm=1.0)
    for y in (-30.2, -7.0, 21.5):
        volume = rasterized(
            geometry,
            lambda p, y=y: (np.abs(p[..., 1] - y) < 2) & (np.abs(p[..., ::2]).max(-1) < 8),
        )
        depth = (y - frame.start_mm) / frame.length_mm
        plain = only(volume, view).values
        for weight in (FALLING, RISING, gaussian(0.25, 1 / 11), parse_weight("polynomial:1,-2,1")):
            one = only(volume, view, weight=weight).values
            near = np.linspace(depth - 2 / frame.length_mm, depth + 2 / frame.length_mm, 201)
            expected = float(weight.along(view, frame)(near).mean())
            core = plain > 0.95 * plain.max()
            assert np.median(one[core] / plain[core]) == pytest.approx(expected, rel=0.03, abs=1e-3)


def test_the_mean_of_one_tissue_throughout_is_that_tissue() -> None:
    geometry = stack((20, 40, 40))
    volume = Volume(np.full(geometry.shape, 37, np.int16), geometry)
    for weight in (FALLING, RISING, gaussian(0.5, 0.1), parse_weight("uniform")):
        one = only(volume, View.turned(90), mode="mean", weight=weight)
        middle = one.values[one.values.shape[0] // 2, one.values.shape[1] // 2]
        assert middle == pytest.approx(37, abs=0.5)
        assert one.values[0, 0] == -1000


def test_one_structure_is_equally_bright_from_all_sides() -> None:
    volume = rasterized(stack((30, 60, 60)), ball(12))
    peaks = [
        np.sort(only(volume, View.turned(a), mode="mean").values, axis=None)[-60:].mean()
        for a in range(0, 180, 15)
    ]
    assert np.ptp(peaks) < 0.01 * (np.mean(peaks) + 1000)


def test_attenuation_is_beer_lambert() -> None:
    geometry = stack((20, 50, 50))
    volume = rasterized(geometry, ball(9, (0, 0, 0)), hu=0)
    for kev, water in ((60.0, 0.02059), (100.0, 0.01707)):
        one = only(volume, View.turned(30), mode="attenuation", beam=Beam(kev))
        centre = one.values[one.values.shape[0] // 2, one.values.shape[1] // 2]
        assert centre == pytest.approx(18 * water, rel=0.02)
    bone = Volume(np.full(geometry.shape, 1000, np.int16), geometry)
    soft = only(bone, View.turned(0), mode="attenuation", beam=Beam(40.0)).values.max()
    hard = only(bone, View.turned(0), mode="attenuation", beam=Beam(120.0)).values.max()
    assert soft / hard > (0.2683 / 0.16) * 1.3  # Bone gains more than water does.
    at_scanner = only(bone, View.turned(0), mode="attenuation", beam=Beam(70.0)).values.max()
    assert at_scanner == pytest.approx(2 * 50 * Beam(70.0).water_per_mm, rel=1e-3)
    for kev in (10.0, 400.0, float("nan")):
        with pytest.raises(RequestError, match="keV"):
            Beam(kev)


def test_padding_is_air() -> None:
    geometry = stack((4, 20, 20))
    array = np.full(geometry.shape, -1000, np.int16)
    array[:, 5:15, 5:15] = 50
    row, column = np.mgrid[:20, :20] - 9.5
    outside = np.hypot(row, column) > 9.5
    expected = only(Volume(array, geometry), View.turned(30)).values
    for value, padding in ((-1024, None), (-2000, None), (-3024, -3024.0), (3000, 3000.0)):
        padded = array.copy()
        padded[:, outside] = value
        volume = Volume(padded, geometry, padding_hu=padding)
        np.testing.assert_allclose(only(volume, View.turned(30)).values, expected, atol=1e-2)


def test_what_cannot_be_projected_is_refused() -> None:
    geometry = stack((3, 5, 5))
    volume = Volume(np.zeros(geometry.shape, np.int16), geometry)
    with pytest.raises(RequestError, match="--mode"):
        only(volume, View.turned(0), mode="median")
    for pixel in (0.0, -1.0, float("nan")):
        with pytest.raises(RequestError, match="--pixel-mm"):
            only(volume, View.turned(0), pixel_mm=pixel)
    with pytest.raises(RequestError, match="larger --pixel-mm"):
        only(volume, View.turned(0), pixel_mm=1e-4)
    uneven = stack((3, 5, 5), positions=np.array([0.0, 1.0, 4.0]))
    with pytest.raises(RequestError, match="uneven"):
        only(Volume(volume.array, uneven), View.turned(0))
    with pytest.raises(RequestError, match="finite"):
        View.turned(float("inf"))
