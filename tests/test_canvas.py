"""Painting one plane, and the distances to the shapes painted on it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hrinet.demo.canvas import (
    Canvas,
    ellipse_distance,
    ellipsoid_distance,
    joined,
    polyline,
    rounded_max,
    tube_distance,
)


def make_canvas(rows: int = 121, columns: int = 161, pixel_mm: float = 0.5) -> Canvas:
    """A black plane whose middle is the origin."""
    x = ((np.arange(columns) - (columns - 1) / 2) * pixel_mm).astype(np.float32)[None]
    y = ((np.arange(rows) - (rows - 1) / 2) * pixel_mm).astype(np.float32)[:, None]
    return Canvas(np.zeros((rows, columns), np.float32), x, y, pixel_mm)


def area(canvas: Canvas) -> float:
    return float(canvas.image.sum(dtype=np.float64)) * canvas.pixel_mm**2


def soft_rim(canvas: Canvas) -> float:
    """What a soft edge adds to the area of a convex shape.

    By Steiner's formula a shape grown by d has the area A + L d + pi d**2; coverage averages that
    over d from -edge to edge.
    """
    return math.pi * canvas.edge_mm**2 / 3


def direction_of_image(canvas: Canvas) -> float:
    """Angle of the long axis of what is painted, from +x towards +y, degrees."""
    xx, yy, xy = ((canvas.image * m).sum() for m in (canvas.x**2, canvas.y**2, canvas.x * canvas.y))
    return math.degrees(0.5 * math.atan2(2 * xy, xx - yy))


def test_coverage_falls_evenly_across_an_edge() -> None:
    canvas = make_canvas(pixel_mm=1.5)
    assert canvas.edge_mm == 1.5
    distance = np.array([-9, -1.5, -0.75, 0, 0.75, 1.5, 9], np.float32)
    np.testing.assert_allclose(canvas.coverage(distance), [1, 1, 0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_array_equal(distance, np.array([-9, -1.5, -0.75, 0, 0.75, 1.5, 9]))


def test_edges_stay_as_wide_as_a_scanners_on_small_pixels() -> None:
    assert make_canvas(pixel_mm=0.1).edge_mm == 0.8


def test_blending_mixes_with_what_is_under_it() -> None:
    canvas = make_canvas(2, 3)
    canvas.image[:] = 100
    covered = np.array([[0, 0.25, 1], [0.5, 0, 0]], np.float32)
    canvas.blend(covered, -100.0)
    np.testing.assert_allclose(canvas.image, [[100, 50, -100], [0, 100, 100]])
    canvas.blend(np.ones((1, 2), np.float32), np.array([[7, 8]]), (slice(1, 2), slice(0, 2)))
    np.testing.assert_allclose(canvas.image, [[100, 50, -100], [7, 8, 100]])


@pytest.mark.parametrize(("a", "b"), [(30.0, 12.0), (8.0, 8.0), (10.0, 25.0)])
def test_a_painted_ellipse_has_its_area(a: float, b: float) -> None:
    canvas = make_canvas()
    canvas.paint(ellipse_distance(canvas.x, canvas.y, a, b), 1.0)
    assert area(canvas) == pytest.approx(math.pi * a * b + soft_rim(canvas), rel=5e-4)


def test_the_distance_to_a_circle_is_exact() -> None:
    canvas = make_canvas()
    radius = np.hypot(canvas.x, canvas.y)
    distance = ellipse_distance(canvas.x, canvas.y, 9.0, 9.0)
    away = radius > 0
    np.testing.assert_allclose(distance[away], radius[away] - 9, atol=1e-4)


def test_the_distance_to_an_ellipse_is_right_near_its_outline() -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    a, b, off = 40.0, 15.0, 0.3
    nx, ny = np.cos(angle) / a, np.sin(angle) / b
    norm = np.hypot(nx, ny)
    for sign in (-1, 0, 1):
        x = a * np.cos(angle) + sign * off * nx / norm
        y = b * np.sin(angle) + sign * off * ny / norm
        np.testing.assert_allclose(ellipse_distance(x, y, a, b), sign * off, atol=0.02)


def test_the_distance_to_a_sphere_is_exact() -> None:
    points = np.random.default_rng(0).uniform(-30, 30, (3, 500))
    centre = (4.0, -3.0, 2.0)
    expected = np.linalg.norm(points - np.array(centre)[:, None], axis=0) - 11
    x, y, z = points
    distance = ellipsoid_distance(x, y, z, centre, (11, 11, 11), angle=33)
    np.testing.assert_allclose(distance, expected, atol=1e-5)


def test_an_ellipsoid_without_height_is_an_ellipse() -> None:
    canvas = make_canvas()
    flat = ellipse_distance(canvas.x - 3, canvas.y + 2, 20, 8)
    long = ellipsoid_distance(canvas.x, canvas.y, 5.0, (3, -2, 5), (20, 8, 40))
    np.testing.assert_allclose(long, flat, atol=1e-4)


def test_the_sections_of_an_ellipsoid_sum_to_its_volume() -> None:
    step, radii, volume = 0.5, (16.0, 9.0, 12.0), 0.0
    for z in np.arange(-20, 20, step):
        canvas = make_canvas()
        canvas.ellipsoid(float(z), (2.0, -1.0, 1.3), radii, 1.0, angle=20)
        volume += area(canvas) * step
    assert volume == pytest.approx(4 / 3 * math.pi * math.prod(radii), rel=5e-3)


@pytest.mark.parametrize("angle", [0.0, 30.0, -28.0])
def test_an_ellipsoid_turns_from_left_to_anterior(angle: float) -> None:
    canvas = make_canvas()
    canvas.ellipsoid(0.0, (0, 0, 0), (22, 8, 10), 1.0, angle=angle)
    assert direction_of_image(canvas) == pytest.approx(-angle, abs=0.1)


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0])
def test_an_ellipsoid_is_painted_whole(angle: float) -> None:
    canvas, whole = make_canvas(), make_canvas()
    shape = (5.0, 3.0, 0.0), (30.0, 6.0, 12.0)
    canvas.ellipsoid(4.0, *shape, 70.0, angle=angle)
    whole.paint(ellipsoid_distance(whole.x, whole.y, 4.0, *shape, angle=angle), 70.0)
    np.testing.assert_array_equal(canvas.image, whole.image)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 50.0), (300.0, 0.0, 0.0), (0.0, -300.0, 0.0)])
def test_an_ellipsoid_elsewhere_paints_nothing(centre: tuple[float, float, float]) -> None:
    canvas = make_canvas()
    canvas.ellipsoid(0.0, centre, (9, 9, 9), 1.0)
    assert not canvas.image.any()


def test_a_window_holds_every_pixel_within_reach() -> None:
    canvas = make_canvas()
    window = canvas.window(10.0, -7.0, 4.2, 2.3)
    assert window is not None
    rows, columns = window
    inside_x = np.flatnonzero(np.abs(canvas.x[0] - 10) <= 4.2)
    inside_y = np.flatnonzero(np.abs(canvas.y[:, 0] + 7) <= 2.3)
    assert columns.start <= inside_x[0] <= columns.start + 1
    assert columns.stop - 2 <= inside_x[-1] < columns.stop
    assert rows.start <= inside_y[0] <= rows.start + 1
    assert rows.stop - 2 <= inside_y[-1] < rows.stop


def test_a_window_ends_with_the_canvas() -> None:
    canvas = make_canvas(20, 30, 1.0)
    assert canvas.window(0, 0, 500, 500) == (slice(0, 20), slice(0, 30))
    assert canvas.window(0, 100, 5, 5) is None
    assert canvas.window(-100, 0, 5, 5) is None


def test_a_rounded_maximum_is_the_maximum_away_from_the_edge() -> None:
    a, b = np.array([100.0, -40.0, 5.0]), np.array([-100.0, 60.0, 5.0])
    rounded = rounded_max(a, b, 8.0)
    np.testing.assert_allclose(rounded[:2], [100, 60], atol=0.2)
    assert rounded[2] == pytest.approx(5 + 4)
    assert np.all(rounded >= np.maximum(a, b))
    # The surface between two planes is a hyperbola: a * b = radius**2 / 4.
    np.testing.assert_allclose(rounded_max(np.array([-2.0]), np.array([-8.0]), 8.0), 0, atol=1e-6)


@pytest.mark.parametrize("pixel_mm", [0.5, 2.0])  # Patches of both kinds, small and large.
@pytest.mark.parametrize("z", [-6.0, 0.0, 3.5])
def test_an_upright_tube_cuts_a_circle(pixel_mm: float, z: float) -> None:
    canvas = make_canvas(pixel_mm=pixel_mm)
    tubes = polyline((3, -4, -20, 7), (3, -4, 20, 7))
    distance = tube_distance(canvas, tubes, z)
    expected = np.hypot(canvas.x - 3, canvas.y + 4) - 7
    near = expected < canvas.edge_mm
    assert near.sum() > 20
    np.testing.assert_allclose(distance[near], expected[near], atol=1e-3)
    assert np.all(distance[~near] >= canvas.edge_mm - 1e-3)


def test_an_oblique_tube_cuts_an_ellipse() -> None:
    tilt, radius = math.radians(50), 6.0
    way = np.array([math.sin(tilt), 0, math.cos(tilt)]) * 60
    canvas = make_canvas()
    canvas.paint(tube_distance(canvas, polyline((*-way, radius), (*way, radius)), 2.0), 1.0)
    expected = (math.pi * radius**2 + soft_rim(canvas)) / math.cos(tilt)
    assert area(canvas) == pytest.approx(expected, rel=1e-3)
    columns = (canvas.image * canvas.x).sum() / canvas.image.sum()
    assert columns == pytest.approx(2.0 * math.tan(tilt), abs=0.05)


def test_a_tube_in_the_plane_is_a_stadium() -> None:
    canvas = make_canvas()
    canvas.paint(tube_distance(canvas, polyline((-15, 5, 0, 4), (12, 5, 0, 4)), 0.0), 1.0)
    assert area(canvas) == pytest.approx(27 * 8 + math.pi * 16 + soft_rim(canvas), rel=1e-3)
    off = make_canvas()
    off.paint(tube_distance(off, polyline((-15, 5, 0, 4), (12, 5, 0, 4)), 3.0), 1.0)
    chord = math.sqrt(4**2 - 3**2)
    assert area(off) == pytest.approx(27 * 2 * chord + math.pi * chord**2, rel=0.03)


def test_a_tapered_tube_is_as_wide_as_its_radius_there() -> None:
    tubes = polyline((0, 0, -10, 4), (0, 0, 10, 12))
    for z, radius in ((-10.0, 4), (0.0, 8), (5.0, 10), (10.0, 12)):
        canvas = make_canvas()
        middle = tube_distance(canvas, tubes, z)[60, 80]
        assert middle == pytest.approx(-radius, abs=1e-3)


def test_random_tubes_are_as_far_as_the_nearest_segment() -> None:
    rng = np.random.default_rng(1)
    canvas = make_canvas(61, 81, 1.0)
    ends, radius = rng.uniform(-35, 35, (2, 30, 3)), rng.uniform(0.8, 6, 30)
    tubes = joined(
        [polyline((*a, r), (*b, r)) for a, b, r in zip(ends[0], ends[1], radius, strict=True)]
    )
    grid = np.stack(np.broadcast_arrays(canvas.x, canvas.y, np.float32(1.5)), axis=-1)
    expected = np.full(canvas.image.shape, np.inf)
    for a, b, r in zip(ends[0], ends[1], radius, strict=True):
        t = np.clip((grid - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        gap = np.linalg.norm(grid - a - t[..., None] * (b - a), axis=-1) - r
        expected = np.minimum(expected, gap)
    distance = tube_distance(canvas, tubes, 1.5)
    near = expected < canvas.edge_mm
    assert 100 < near.sum() < near.size
    np.testing.assert_allclose(distance[near], expected[near], atol=1e-4)
    assert np.all(distance[~near] >= canvas.edge_mm - 1e-4)


def test_tubes_out_of_reach_leave_the_plane_empty() -> None:
    canvas = make_canvas()
    tubes = joined(
        [polyline((0, 0, 20, 5), (9, 0, 40, 5)), polyline((900, 0, -5, 3), (900, 0, 5, 3))]
    )
    np.testing.assert_array_equal(tube_distance(canvas, tubes, 0.0), 99)


def test_a_tube_across_the_border_is_cut_off_there() -> None:
    canvas, wide = make_canvas(41, 41, 1.0), make_canvas(81, 81, 1.0)
    tubes = polyline((-30, -18, 0, 6), (30, 22, 0, 6))
    np.testing.assert_allclose(
        canvas.coverage(tube_distance(canvas, tubes, 0.0)),
        wide.coverage(tube_distance(wide, tubes, 0.0))[20:61, 20:61],
        atol=1e-5,
    )


def test_a_polyline_goes_from_point_to_point() -> None:
    tubes = polyline((0, 0, 0, 3), (1, 2, 3, 2), (4, 4, 4, 1))
    np.testing.assert_array_equal(tubes.start, [[0, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(tubes.end, [[1, 2, 3], [4, 4, 4]])
    np.testing.assert_array_equal(tubes.start_radius, [3, 2])
    np.testing.assert_array_equal(tubes.end_radius, [2, 1])
    both = joined([tubes, polyline((9, 9, 9, 5), (8, 8, 8, 4))])
    np.testing.assert_array_equal(both.end_radius, [2, 1, 4])
    assert both.start.shape == both.end.shape == (3, 3)
