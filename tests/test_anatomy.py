"""Surfaces, bones and vessels of the phantom."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hrinet.demo.anatomy import (
    AIRWAYS,
    CANCELLOUS,
    CARTILAGE,
    CORD,
    CORTICAL,
    DISC,
    WALLS,
    body_distance,
    chest_axes,
    chest_distance,
    chest_middle,
    dome_distance,
    grow_tree,
    liver_distance,
    liver_vessels,
    lung_distance,
    lung_vessels,
    paint_ribs,
    paint_spine,
    smooth_step,
    spine_middle,
)
from hrinet.demo.canvas import Canvas, FloatArray, Tubes

VERTEBRA_MM = 27.0
MURRAY = 2.9


def make_canvas(y: float = 0.0, rows: int = 241, columns: int = 281) -> Canvas:
    """A plane of 1 mm pixels, without anything, about x = 0 and ``y``."""
    xs = (np.arange(columns) - columns // 2).astype(np.float32)[None]
    ys = (np.arange(rows) - rows // 2 + round(y)).astype(np.float32)[:, None]
    return Canvas(np.zeros((rows, columns), np.float32), xs, ys, 1.0)


def value_at(canvas: Canvas, x: float, y: float) -> float:
    return float(canvas.image[round(y - canvas.corner[1]), round(x - canvas.corner[0])])


def random_points(count: int = 4000) -> FloatArray:
    return np.random.default_rng(0).uniform((-160, -120, -140), (160, 130, 150), (count, 3)).T


def twig_count(tubes: Tubes) -> int:
    starts = {tuple(p) for p in tubes.start}
    return sum(tuple(p) not in starts for p in tubes.end)


def test_a_step_goes_from_0_to_1() -> None:
    assert smooth_step(7.0, 7.0, 3.0) == 0.5
    assert smooth_step(10.0, 7.0, 3.0) == pytest.approx(1 / (1 + math.exp(-2)))
    assert smooth_step(-90.0, 7.0, 3.0) == pytest.approx(0)
    assert smooth_step(90.0, 7.0, 3.0) == pytest.approx(1)


@pytest.mark.parametrize("z", [-140.0, -45.0, 0.0, 60.0, 150.0])
def test_the_chest_is_an_ellipse_in_every_plane(z: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 50)
    a, b = chest_axes(z)
    x, y = a * np.cos(angle), chest_middle(z) + b * np.sin(angle)
    np.testing.assert_allclose(chest_distance(x, y, z), 0, atol=1e-6)
    assert np.all(chest_distance(0.9 * x, chest_middle(z) + 0.9 * b * np.sin(angle), z) < 0)
    assert chest_middle(z) + b == pytest.approx(spine_middle(z) + 30)


def test_the_chest_narrows_to_the_top_only() -> None:
    assert chest_axes(-140.0) == chest_axes(-45.0) == (130, 92)
    widths = [chest_axes(z)[0] for z in (-45.0, 0.0, 60.0, 120.0, 170.0)]
    assert widths == sorted(widths, reverse=True)
    # (a / 130)**2 + ((z + 45) / 222)**2 = 1.
    assert (widths[2] / 130) ** 2 + (105 / 222) ** 2 == pytest.approx(1)


def test_arrays_of_points_and_single_planes_agree() -> None:
    x, y, z = random_points(20)
    for surface in (chest_distance, dome_distance, lung_distance, liver_distance):
        one_by_one = [
            float(surface(np.array([a]), np.array([b]), float(c))[0])
            for a, b, c in zip(x, y, z, strict=True)
        ]
        np.testing.assert_allclose(surface(x, y, z), one_by_one, rtol=1e-5, atol=1e-4)


def test_planes_are_computed_in_single_precision() -> None:
    canvas = make_canvas()
    chest = chest_distance(canvas.x, canvas.y, 20.0)
    dome = dome_distance(canvas.x, canvas.y, 20.0)
    body = body_distance(canvas.x, canvas.y, 20.0, chest)
    lung = lung_distance(canvas.x, canvas.y, 20.0, chest=chest, dome=dome)
    assert {chest.dtype, dome.dtype, body.dtype, lung.dtype} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(lung, lung_distance(canvas.x, canvas.y, 20.0))


@pytest.mark.parametrize("z", [-150.0, -60.0, 0.0, 80.0, 150.0])
def test_skin_and_flesh_enclose_the_chest(z: float) -> None:
    canvas = make_canvas(rows=301, columns=401)
    chest = chest_distance(canvas.x, canvas.y, z)
    body = body_distance(canvas.x, canvas.y, z, chest)
    assert body[0].min() > 0
    assert body[:, 0].min() > 0
    # A smooth union with the chest grown by 18 mm.
    assert np.all(body <= chest - 18 + 1e-3)


def test_the_lungs_lie_in_the_chest_above_the_diaphragm_and_beside_the_midline() -> None:
    x, y, z = random_points(20000)
    inside = lung_distance(x, y, z) < 0
    assert 0.1 < inside.mean() < 0.6
    assert chest_distance(x, y, z)[inside].max() < -8.5
    assert dome_distance(x, y, z)[inside].max() < 0
    assert np.abs(x[inside]).min() > 9
    assert z[inside].max() < 132
    assert 0.8 < np.sum(x[inside] > 0) / np.sum(x[inside] < 0) < 1.25


def test_the_diaphragm_is_higher_on_the_right() -> None:
    def height(x: float) -> float:
        z = np.linspace(-120, 60, 7201)
        surface = dome_distance(np.array(x), np.array(2.0), z)
        assert surface[0] > 0 > surface[-1]
        return float(z[np.argmin(np.abs(surface))])

    assert height(-66.0) == pytest.approx(-10 + 7 * math.tanh(66 / 25), abs=0.03)
    assert height(66.0) == pytest.approx(-10 - 7 * math.tanh(66 / 25), abs=0.03)
    assert height(-120.0) < height(-66.0)


def test_the_liver_is_on_the_right() -> None:
    x, y, z = random_points(20000)
    inside = liver_distance(x, y, z) < 0
    assert x[inside].mean() < -30
    assert float(liver_distance(np.array(-52.0), np.array(2.0), -144.0)) == pytest.approx(
        0, abs=0.1
    )
    assert not np.any(inside & (lung_distance(x, y, z) < 0) & (dome_distance(x, y, z) > 0))


@pytest.mark.parametrize("level", [-8, -3, 0])
def test_vertebrae_and_discs_take_turns(level: int) -> None:
    for shift, expected in ((0.0, CANCELLOUS), (VERTEBRA_MM / 2 - 0.1, DISC)):
        z = 150 + level * VERTEBRA_MM + shift
        canvas = make_canvas(spine_middle(z))
        paint_spine(canvas, z, spine_middle(z))
        assert value_at(canvas, 0, spine_middle(z)) == pytest.approx(expected)


def test_the_cord_runs_behind_the_vertebrae() -> None:
    for z in np.arange(-140.0, 150.0, 9.0):
        middle, size = spine_middle(float(z)), 1 - 0.0011 * z
        canvas = make_canvas(middle)
        paint_spine(canvas, float(z), middle)
        behind = middle + 12.5 * size + 8.5
        assert value_at(canvas, 0, behind + 0.7) == pytest.approx(CORD)


def test_a_vertebra_is_symmetric_and_has_its_area() -> None:
    z = 150 - 5 * VERTEBRA_MM
    canvas = make_canvas(spine_middle(z))
    paint_spine(canvas, z, spine_middle(z))
    np.testing.assert_allclose(canvas.image, canvas.image[:, ::-1], atol=1e-3)
    size = 1 - 0.0011 * z
    front = canvas.image[: round(spine_middle(z) - canvas.corner[1])] > 60
    assert front.sum() == pytest.approx(math.pi / 2 * 16 * 12.5 * size**2, rel=0.1)


def test_a_plane_beside_the_spine_stays_empty() -> None:
    canvas = make_canvas(y=900)
    paint_spine(canvas, 0.0, spine_middle(0.0))
    paint_ribs(canvas, 0.0, chest_distance(canvas.x, canvas.y, 0.0))
    assert not canvas.image.any()


def ribs_along(along: float, side: int) -> FloatArray:
    """The value on the chest wall by height, at an angle that is 0 at the spine and 1 in front."""
    heights = np.arange(-280.0, 170.0)
    found = []
    for z in heights:
        a, b = chest_axes(float(z))
        x, y = side * a * math.sin(math.pi * along), chest_middle(z) + b * math.cos(math.pi * along)
        xs, ys = np.array([[x]], np.float32), np.array([[y]], np.float32)
        canvas = Canvas(np.zeros((1, 1), np.float32), xs, ys, 1.0)
        paint_ribs(canvas, float(z), chest_distance(xs, ys, float(z)))
        found.append(canvas.image[0, 0])
    return np.array(found)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("along", "count"), [(0.2, 12), (0.43, 11), (0.6, 10)])
def test_there_are_twelve_pairs_of_ribs_and_the_last_are_short(
    along: float, count: int, side: int
) -> None:
    values = ribs_along(along, side)
    bone = np.concatenate([[False], values > 150, [False]])
    edges = np.flatnonzero(np.diff(bone.astype(int))).reshape(-1, 2)
    assert len(edges) == count
    middles = edges.mean(axis=1)
    np.testing.assert_allclose(np.diff(middles), VERTEBRA_MM, atol=1.01)
    np.testing.assert_allclose(np.diff(edges), 2 * 6.2 / 0.95, atol=2)


def test_ribs_end_in_cartilage() -> None:
    assert ribs_along(0.5, 1).max() > CARTILAGE + 400
    assert ribs_along(0.85, 1).max() == pytest.approx(CARTILAGE, abs=1)


def test_ribs_have_a_hard_rim_and_keep_to_the_chest_wall() -> None:
    canvas = make_canvas()
    chest = chest_distance(canvas.x, canvas.y, -20.0)
    paint_ribs(canvas, -20.0, chest)
    np.testing.assert_allclose(canvas.image, canvas.image[:, ::-1], atol=0.1)
    assert CANCELLOUS + 100 < canvas.image.max() <= CORTICAL
    assert np.abs(chest[canvas.image > 0]).max() < 3.7 + canvas.edge_mm


def test_one_leaf_is_a_straight_twig() -> None:
    root, leaf = np.array([1.0, 2.0, 3.0]), np.array([[11.0, 2.0, 3.0]])
    tubes = grow_tree(root, leaf, leaf_radius=2.0)
    np.testing.assert_allclose(tubes.start, [[1, 2, 3], [6, 2, 3]])
    np.testing.assert_allclose(tubes.end, [[6, 2, 3], [11, 2, 3]])
    np.testing.assert_allclose(tubes.end_radius, [2, 2 * 0.5 ** (1 / MURRAY)])
    # A branch starts as thick as its parent, but at most a quarter thicker than it ends.
    limit = 1.25 * tubes.end_radius[1]
    np.testing.assert_allclose(tubes.start_radius, [2 * 1.5 ** (1 / MURRAY), min(limit, 2)])


def test_a_tree_reaches_every_leaf_and_hangs_together() -> None:
    targets = np.random.default_rng(3).uniform(-40, 40, (60, 3))
    root = np.array([50.0, 0.0, 0.0])
    tubes = grow_tree(root, targets, leaf_radius=1.0)
    assert len(tubes.start) == 120
    assert {tuple(p) for p in targets} <= {tuple(p) for p in tubes.end}
    reached = {tuple(root)}
    for start, end in zip(tubes.start, tubes.end, strict=True):
        assert tuple(start) in reached
        reached.add(tuple(end))
    assert len(reached) == 121


def test_branches_follow_murrays_law() -> None:
    leaf_radius = 0.7
    targets = np.random.default_rng(4).uniform(-40, 40, (50, 3))
    tubes = grow_tree(np.zeros(3), targets, leaf_radius=leaf_radius)
    for end, radius in zip(tubes.end, tubes.end_radius, strict=True):
        children = tubes.end_radius[np.all(tubes.start == end, axis=1)]
        own = leaf_radius**MURRAY / 2
        assert radius**MURRAY == pytest.approx(own + np.sum(children**MURRAY))
    assert np.all(tubes.start_radius <= 1.25 * tubes.end_radius + 1e-12)
    assert np.all(tubes.start_radius >= tubes.end_radius)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_lung_vessels_are_two_trees_inside_the_lungs(seed: int) -> None:
    tubes = lung_vessels(seed)
    t = np.linspace(0, 1, 9)[:, None, None]
    assert lung_distance(*(tubes.start + t * (tubes.end - tubes.start)).T).max() < 0
    assert np.all(np.sign(tubes.start[:, 0]) == np.sign(tubes.end[:, 0]))
    for side in (-1, 1):
        mine = tubes.start[:, 0] * side > 0
        reached = {(side * 34.0, 6.0, 38.0)}
        for start, end in zip(tubes.start[mine], tubes.end[mine], strict=True):
            assert tuple(start) in reached
            reached.add(tuple(end))
        assert 600 < mine.sum() <= 840
    assert tubes.end_radius.min() == pytest.approx(0.85 * 0.5 ** (1 / MURRAY))
    assert 4 < tubes.start_radius.max() < 10


def test_liver_vessels_stay_in_the_liver_below_the_diaphragm() -> None:
    tubes = liver_vessels(0)
    assert len(tubes.start) == 140
    assert twig_count(tubes) > 20
    assert liver_distance(*tubes.end.T).max() < -5
    assert dome_distance(*tubes.end.T).min() > 5


def test_the_seed_decides_where_vessels_run() -> None:
    for make in (lung_vessels, liver_vessels):
        np.testing.assert_array_equal(make(5).end, make(5).end)
        assert not np.array_equal(make(5).end[:100], make(6).end[:100])


def test_airways_have_walls_everywhere() -> None:
    count = len(AIRWAYS.start)
    np.testing.assert_array_equal(WALLS.start[:count], AIRWAYS.start)
    np.testing.assert_allclose(WALLS.end_radius[:count] - AIRWAYS.end_radius, 1.6)
    # The trachea ends where both main bronchi begin.
    assert np.sum(np.all(AIRWAYS.start == (2, 22, 62), axis=1)) == 2
    assert np.sum(np.all(AIRWAYS.end == (2, 22, 62), axis=1)) == 1
