"""Volumes whose surfaces are known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hrinet.geometry import Geometry
from hrinet.volume import Volume

LEVEL_HU = 250.0
SLOPE_HU = 300.0
"""HU per mm across a surface, so that voxels know where between them it lies."""


def geometry_of(
    shape: tuple[int, int, int],
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    gaps: float | np.ndarray = 1.0,
    shear: tuple[float, float] = (0.0, 0.0),
    turned: bool = False,
    left_handed: bool = False,
) -> Geometry:
    """A stack around the origin: uneven, tilted, oblique or left-handed if asked for."""
    row, column = np.eye(3)[:2]
    normal = np.array([0.0, 0.0, 1.0])
    if turned:
        a, b = 0.5, 0.3
        about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        turn = about_z @ about_x
        row, column, normal = turn @ row, turn @ column, turn @ normal
    if left_handed:
        normal = -normal
    positions = np.concatenate([[0.0], np.cumsum(np.broadcast_to(gaps, shape[0] - 1))])
    positions = positions - positions[-1] / 2
    corner = -(shape[2] - 1) / 2 * spacing[1] * row - (shape[1] - 1) / 2 * spacing[0] * column
    slide = shear[0] * row + shear[1] * column
    return Geometry(
        origins=corner + positions[:, None] * (normal + slide),
        row_direction=row,
        column_direction=column,
        pixel_spacing=spacing,
        rows=shape[1],
        columns=shape[2],
    )


def places(geometry: Geometry) -> np.ndarray:
    """LPS of every voxel, shape (slice, row, column, 3)."""
    rows = np.arange(geometry.rows) * geometry.pixel_spacing[0]
    columns = np.arange(geometry.columns) * geometry.pixel_spacing[1]
    return (
        geometry.origins[:, None, None]
        + rows[None, :, None, None] * geometry.column_direction
        + columns[None, None, :, None] * geometry.row_direction
    )


def volume_of(
    geometry: Geometry, depth: Callable[[np.ndarray], np.ndarray], *, is_integer: bool = False
) -> Volume:
    """HU that pass LEVEL_HU where the depth below a surface, mm, is zero."""
    values = LEVEL_HU + SLOPE_HU * depth(places(geometry))
    values = np.clip(values, -1000, 1500)
    array = np.rint(values).astype(np.int16) if is_integer else values.astype(np.float32)
    return Volume(array=array, geometry=geometry)


def ball(radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda at: radius - np.linalg.norm(at, axis=-1)


def cylinder(radius: float, axis: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Endless, through the origin."""

    def depth(at: np.ndarray) -> np.ndarray:
        across = at - (at @ axis)[..., None] * axis
        return radius - np.linalg.norm(across, axis=-1)

    return depth


def patient(*, with_table: bool = True) -> Volume:
    """A chest: body, two lungs, airway, spine, bowel gas, on a table as dense as bone."""
    geometry = geometry_of((24, 160, 160), spacing=(2.0, 2.0), gaps=5.0)
    at = places(geometry)
    x, y, z = at[..., 0], at[..., 1], at[..., 2]
    hu = np.full(x.shape, -1000.0)
    hu[(x / 130) ** 2 + (y / 90) ** 2 < 1] = 40
    upper = z > -20
    for side in (-1, 1):
        hu[(((x - side * 60) / 40) ** 2 + (y / 55) ** 2 < 1) & upper] = -850
    hu[(x**2 + (y + 30) ** 2 < 9**2) & upper] = -1000
    hu[((x - 50) ** 2 + y**2 < 20**2) & (z < -35)] = -1000
    hu[x**2 + (y - 60) ** 2 < 15**2] = 700
    if with_table:
        # Touches the back, as a thin dense shell with a light core.
        hu[(np.abs(y - 93) < 3.5) & (np.abs(x) < 140)] = 400
        hu[(np.abs(y - 115) < 3.5) & (np.abs(x) < 140)] = 400
    return Volume(array=hu.astype(np.int16), geometry=geometry)
