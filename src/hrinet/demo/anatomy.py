"""The anatomy of the phantom: where its surfaces, bones and vessels are.

Coordinates are LPS, mm, with z counted from the middle of the chest. A surface is a signed distance
in mm, negative inside unless said otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hrinet.demo.canvas import (
    Canvas,
    FloatArray,
    Tubes,
    ellipse_distance,
    ellipsoid_distance,
    joined,
    polyline,
    rounded_max,
)
from hrinet.types import FLOAT32

# Tissues, HU.
AIR, LUNG, FAT, MUSCLE, SKIN = -1000.0, -850.0, -100.0, 50.0, 20.0
LIVER, SOFT, MYOCARDIUM, KIDNEY, CORD = 60.0, 40.0, 90.0, 40.0, 40.0
CORTICAL, CANCELLOUS, DISC, CARTILAGE = 900.0, 250.0, 90.0, 120.0
BLOOD, CONTRAST = 45.0, 180.0
NODULE = 40.0

_PITCH = 27.0  # One vertebra and one rib every so many mm.
_TOP_VERTEBRA = 150.0
_LAST_RIB_ANGLE = (0.93,) * 7 + (0.9, 0.86, 0.82, 0.5, 0.36)


def smooth_step(z: float, middle: float, width: float) -> float:
    """A smooth step from 0 to 1.

    Args:
        z: where to evaluate it, mm.
        middle: where it is 0.5, mm.
        width: from 0.5 to 0.88, mm; negative for a step down.
    """
    return 0.5 + 0.5 * math.tanh((z - middle) / width)


def _plain(value: Any) -> Any:
    """A scalar as a Python number, which does not turn float32 arrays into float64."""
    return float(value) if np.ndim(value) == 0 else value


def spine_middle(z: float | FloatArray) -> Any:
    """The y of the middle of the vertebral bodies, mm: bent forwards in neck and loin."""
    return 56 - 16 * ((z - 15) / 150) ** 2


def chest_axes(z: float | FloatArray) -> tuple[Any, Any]:
    """Half-axes of the ellipse on which the ribs lie; it narrows to the top like a barrel.

    Args:
        z: any shape, less than 177 mm.

    Returns:
        along x and along y, same shape as ``z``, mm.
    """
    taper = _plain(np.sqrt(1 - (np.maximum(z + 45, 0) / 222) ** 2))
    return 130 * taper, 46 + 46 * taper - 18 * (1 - taper)


def chest_middle(z: float | FloatArray) -> Any:
    """The y of the centre of the ellipse on which the ribs lie, same shape as ``z``, mm."""
    return spine_middle(z) + 30 - chest_axes(z)[1]


def chest_distance(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    """Signed distance to the surface that the ribs run in.

    Args:
        x: of the points, any shape that broadcasts with ``y`` and ``z``, mm.
        y: of the points, mm.
        z: of the points, mm.

    Returns:
        shape of the coordinates broadcast, negative inside, mm.
    """
    a, b = chest_axes(z)
    lean = _plain(np.sqrt(1 + (0.7 * np.maximum(z + 45, 0) / 222) ** 2))
    return np.asarray(ellipse_distance(x, y - chest_middle(z), a, b) / lean)


def body_distance(x: FloatArray, y: FloatArray, z: float, chest: FloatArray) -> FloatArray:
    """Signed distance to the skin: a flattened ellipse, widest below the shoulders.

    Args:
        x: of the points, shape (1, column), mm.
        y: of the points, shape (row, 1), mm.
        z: of the plane, mm.
        chest: :func:`chest_distance` there, shape (row, column), mm.

    Returns:
        shape (row, column), negative inside, mm.
    """
    a = 152 + 20 * math.exp(-(((z - 85) / 60) ** 2)) - 50 * smooth_step(z, 158, 14)
    b = 104 + 10 * math.exp(-(((z - 40) / 90) ** 2)) - 26 * smooth_step(z, 150, 22)
    y = y - 8 - 14 * smooth_step(z, 135, 18)
    u, v = (x / a) ** 2, (y / b) ** 2
    # Between an ellipse (coefficient 2) and a rounded box (0).
    f = np.sqrt(np.sqrt(u * u + v * v + 1.3 * u * v)) + np.float32(1e-6)
    outline = np.sqrt(x * x + y * y) * (1 - 1 / f)
    return -rounded_max(-outline, 18 - chest, 10)


def dome_distance(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    """Signed distance to the diaphragm, whose right half is higher.

    Args:
        x: of the points, any shape that broadcasts with ``y`` and ``z``, mm.
        y: of the points, mm.
        z: of the points, mm.

    Returns:
        shape of the coordinates broadcast, negative above it, mm.
    """
    aside = np.abs(x) - 66
    fall = np.where(aside > 0, 0.011, 0.0035).astype(FLOAT32) * aside
    y = y - 2
    top = -10 - 7 * np.tanh(x / 25)
    height = top - fall * aside - 0.0065 * y * y
    return np.asarray((height - z) / np.sqrt(1 + 4 * fall**2 + (0.013 * y) ** 2))


def lung_distance(
    x: FloatArray,
    y: FloatArray,
    z: float | FloatArray,
    *,
    chest: FloatArray | None = None,
    dome: FloatArray | None = None,
) -> FloatArray:
    """Signed distance to the nearer of the two lungs.

    Args:
        x: of the points, any shape that broadcasts with ``y`` and ``z``, mm.
        y: of the points, mm.
        z: of the points, mm.
        chest: :func:`chest_distance` there, if it is known already, mm.
        dome: :func:`dome_distance` there, if it is known already, mm.

    Returns:
        shape of the coordinates broadcast, negative inside, mm.
    """
    chest = chest_distance(x, y, z) if chest is None else chest
    dome = dome_distance(x, y, z) if dome is None else dome
    midline = 9 + 9 * (1 + np.tanh((y + 62) / 12)) + 5 * np.exp(-(((y - 50) / 25) ** 2))
    outside = rounded_max(chest + 8.5, midline - np.abs(x), 7)
    apex = z - 132 + 0.010 * ((np.abs(x) - 44) ** 2 + (y - 22) ** 2)
    apex = apex / np.sqrt(1 + (0.02 * (np.abs(x) - 44)) ** 2 + (0.02 * (y - 22)) ** 2)
    return np.maximum(rounded_max(outside, apex, 6), dome)


def liver_distance(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    """Signed distance to the liver, of two lobes, not yet cut off by diaphragm and belly wall.

    Args:
        x: of the points, any shape that broadcasts with ``y`` and ``z``, mm.
        y: of the points, mm.
        z: of the points, mm.

    Returns:
        shape of the coordinates broadcast, negative inside, mm.
    """
    right = ellipsoid_distance(x, y, z, (-52, 2, -72), (92, 86, 72))
    left = ellipsoid_distance(x, y, z, (10, -42, -52), (62, 46, 38))
    return np.minimum(right, left)


def paint_spine(canvas: Canvas, z: float, spine_y: float) -> None:
    """Paint the vertebra or the disc at a level, with the spinal cord behind it.

    Args:
        canvas: is painted on.
        z: of its plane, mm.
        spine_y: :func:`spine_middle` there, mm.
    """
    size = 1 - 0.0011 * z
    roi = canvas.window(0, spine_y + 20, 46, 62)
    if roi is None:
        return
    x, y = canvas.x[:, roi[1]], canvas.y[roi[0]] - spine_y
    level = (z - _TOP_VERTEBRA) / _PITCH
    phase = (level - round(level)) * _PITCH
    flare = min(abs(phase) / 10.0, 1.0) ** 2
    rx, ry = (16 + 2.2 * flare) * size, (12.5 + 1.4 * flare) * size
    body = ellipse_distance(x, y, rx, ry)
    canvas.paint(body + 0.6, DISC, roi)
    bone = np.maximum(body, abs(phase) - 10.2)
    canvas.paint(bone, CORTICAL - 250, roi)
    canvas.paint(bone + 1.3, CANCELLOUS, roi)

    canal_y = ry + 8.5
    y = y - canal_y
    ring = np.maximum(ellipse_distance(x, y, 14 * size, 12.5 * size), abs(phase + 1) - 10)
    # Processes point down and back, so that a plane cuts them below their vertebra.
    slant = np.remainder(phase + 0.55 * (y - 10) + _PITCH / 2, _PITCH) - _PITCH / 2
    spinous = np.maximum(_box(x, 2.6, np.abs(slant) - 6.5), np.maximum(8 - y, y - 29))
    across = np.hypot(y - 3 - 0.35 * (np.abs(x) - 14), phase + 0 * x) - 5.2
    transverse = np.maximum(across, np.abs(x) - 34)
    arch = np.minimum(np.minimum(ring, spinous), np.maximum(transverse, 8 - np.abs(x)))
    canvas.paint(arch, CORTICAL - 200, roi)
    canvas.paint(arch + 1.6, CANCELLOUS + 50, roi)
    canvas.paint(ellipse_distance(x, y, 8.6, 8.0), CORD - 40, roi)
    canvas.paint(ellipse_distance(x, y + 0.5, 5.2, 4.4), CORD, roi)


def _box(x: FloatArray, half: float, other: FloatArray) -> FloatArray:
    return np.maximum(np.abs(x) - half, other)


def paint_ribs(canvas: Canvas, z: float, chest: FloatArray) -> None:
    """Paint twelve pairs of arches that fall from the spine to the front and rise as cartilage.

    Args:
        canvas: is painted on.
        z: of its plane, mm.
        chest: :func:`chest_distance` of its pixels, shape (row, column), mm.
    """
    near = np.flatnonzero(np.abs(chest) < 8)
    if near.size == 0:
        return
    row, column = np.divmod(near, canvas.image.shape[1])
    x, y = canvas.x[0, column], canvas.y[row, 0] - np.float32(chest_middle(z))
    a, b = chest_axes(z)
    # 0 at the spine, 1 at the front.
    along = np.arctan2(np.abs(x) / a, y / b) / np.float32(math.pi)
    bony = np.minimum(along, 0.76) / 0.76
    drop = 100 * np.sin(bony * math.pi / 2) ** 1.2
    drop -= 55 * (np.maximum(along - 0.76, 0) / 0.24) ** 1.4
    height = (z + drop - _TOP_VERTEBRA) / _PITCH
    number = np.rint(height)
    rib = -number.astype(np.intp)
    end = np.where((rib >= 0) & (rib < 12), np.take(_LAST_RIB_ANGLE, rib, mode="clip"), -1.0)
    radial, vertical = chest.flat[near], (height - number) * _PITCH * 0.95
    k0 = np.sqrt((radial / 3.7) ** 2 + (vertical / 6.2) ** 2)
    k1 = np.sqrt((radial / 3.7**2) ** 2 + (vertical / 6.2**2) ** 2) + 1e-6
    distance = np.maximum(k0 * (k0 - 1) / k1, (along - end) * 240).astype(FLOAT32)
    cartilage = np.clip((along - 0.76) * 40, 0, 1).astype(FLOAT32)
    values = canvas.image[row, column]
    for grow, hu in ((0.0, CORTICAL), (1.5, CANCELLOUS)):
        covered = canvas.coverage(distance + np.float32(grow))
        target = hu + cartilage * (CARTILAGE - hu)
        values += covered * (target - values)
    canvas.image[row, column] = values


def grow_tree(root: FloatArray, targets: FloatArray, *, leaf_radius: float) -> Tubes:
    """Connect points to a root by a branching tree whose radii follow Murray's law.

    Args:
        root: where the tree starts, shape (3,), mm.
        targets: the leaves, shape (leaf, 3), mm.
        leaf_radius: where the thinnest twigs start, mm.

    Returns:
        two tubes per leaf, one to a bend and one on to the leaf. A tube's end radius to the power
        of 2.9 is the sum of those of the tubes that start there, and a constant.
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    nodes, parents, depth = [root], [-1], [0.0]
    for target in targets[order]:
        gap = np.linalg.norm(np.array(nodes) - target, axis=1)
        # A little regard for the way back to the root avoids twigs that turn around.
        parent = int(np.argmin(gap + 0.25 * np.array(depth)))
        step = target - nodes[parent]
        # Branches leave along their parent's direction and bend towards the target.
        before = nodes[parent] - nodes[max(parents[parent], 0)]
        heading = before / (float(np.linalg.norm(before)) + 1e-9)
        length = float(np.linalg.norm(step))
        bend = nodes[parent] + 0.5 * step + 0.18 * length * heading
        for point in (bend, target):
            depth.append(depth[parent] + float(np.linalg.norm(point - nodes[parent])))
            nodes.append(point)
            parents.append(parent)
            parent = len(nodes) - 1
    leaves = np.ones(len(nodes))
    for index in range(len(nodes) - 1, 0, -1):
        leaves[parents[index]] += leaves[index]
    radius = leaf_radius * (leaves / 2) ** (1 / 2.9)
    points, up = np.array(nodes), np.array(parents[1:])
    return Tubes(points[up], points[1:], np.minimum(radius[up], radius[1:] * 1.25), radius[1:])


def lung_vessels(seed: int) -> Tubes:
    """The vessels of both lungs: a tree in either, from the hilum to at most 420 points."""
    trees = []
    for side in (-1, 1):
        rng = np.random.default_rng((seed, 1, side + 1))
        points = rng.uniform((20, -100, -100), (130, 100, 130), (2400, 3)) * (side, 1, 1)
        inside = lung_distance(points[:, 0], points[:, 1], points[:, 2]) < -5
        root = np.array([side * 34.0, 6.0, 38.0])
        trees.append(grow_tree(root, points[inside][:420], leaf_radius=0.85))
    return joined(trees)


def liver_vessels(seed: int) -> Tubes:
    """The vessels of the liver: a tree from its gate to at most 70 points."""
    rng = np.random.default_rng((seed, 2))
    points = rng.uniform((-125, -80, -150), (30, 65, -30), (600, 3))
    x, y, z = points.T
    inside = np.maximum(liver_distance(x, y, z), -dome_distance(x, y, z)) < -8
    return grow_tree(np.array([-24.0, 4.0, -88.0]), points[inside][:70], leaf_radius=1.3)


_TRACHEA = ((0, 12, 165, 9.0), (0, 18, 110, 9.0), (2, 22, 62, 8.5))
AORTA = polyline(
    (-6, -34, 18, 14), (-12, -38, 42, 14), (-9, -32, 66, 14), (0, -18, 81, 13.5),
    (10, 2, 86, 13), (18, 20, 78, 12.5), (20, 30, 60, 12), (18, 32, 0, 11.5),
    (10, 30, -70, 10.5), (6, 20, -120, 9.5), (5, 10, -170, 9),
)  # fmt: skip
VENA_CAVA = polyline(
    (-20, 12, -170, 11), (-22, 18, -110, 11), (-24, 4, -50, 12), (-26, -8, 0, 12)
)  # fmt: skip
GREAT_VESSELS = joined((
    polyline((-26, -14, 15, 11), (-28, -22, 60, 9.5), (-26, -26, 105, 9), (-40, -18, 135, 7)),
    polyline((-26, -26, 100, 7), (6, -32, 108, 6.5), (34, -18, 132, 6.5)),
    polyline((14, -46, 22, 13), (18, -36, 42, 13), (22, -16, 50, 11.5), (36, 6, 46, 9)),
    polyline((18, -24, 44, 11), (-6, -10, 38, 10), (-34, 4, 38, 9)),
    polyline((-6, -24, 80, 6), (-16, -8, 112, 5.5), (-22, -6, 160, 5)),
    polyline((4, -10, 88, 4.5), (14, -4, 120, 4.2), (20, -2, 160, 4.2)),
    polyline((13, 8, 90, 5), (24, 16, 118, 5), (44, 6, 142, 5)),
    polyline((12, 8, 22, 6), (-30, 18, 16, 5.5)),
    polyline((12, 8, 22, 6), (44, 20, 18, 5.5)),
))  # fmt: skip
_BRONCHI = (
    ((2, 22, 62, 8), (-20, 18, 46, 7), (-38, 12, 30, 5.5), (-50, 14, 8, 4)),
    ((2, 22, 62, 8), (26, 20, 42, 6), (42, 18, 30, 5), (56, 24, 4, 3.8)),
    ((-22, 18, 45, 5), (-46, 6, 58, 4)),
    ((36, 18, 35, 4.6), (54, -2, 50, 3.6)),
)
AIRWAYS = joined([polyline(*points) for points in (_TRACHEA, *_BRONCHI)])
# Walls of the airways, and the oesophagus.
WALLS = joined((
    Tubes(*AIRWAYS[:2], AIRWAYS.start_radius + 1.6, AIRWAYS.end_radius + 1.6),
    polyline((3, 30, 165, 6), (4, 36, 100, 6), (6, 38, 40, 6.5), (14, 22, -40, 7)),
))  # fmt: skip
BOWEL = joined((
    polyline((86, 10, -175, 17), (98, 0, -120, 16), (104, 12, -92, 15)),
    polyline((90, -46, -122, 15), (30, -66, -138, 16), (-40, -62, -134, 17), (-84, -30, -150, 18)),
    polyline((44, -20, -148, 13), (8, -28, -150, 13), (-14, -30, -146, 12)),
))  # fmt: skip
CLAVICLES = joined([
    polyline((s * 17, -34, 124, 7), (s * 60, -34, 134, 5.5), (s * 118, 14, 142, 6))
    for s in (-1, 1)
])  # fmt: skip
