"""Stacks of any shape and bodies in them whose projections are known by formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hrinet.geometry import Geometry
from hrinet.volume import Volume

Points = NDArray[np.float64]
X, Y, Z = np.eye(3)


def stack(
    shape: tuple[int, int, int],
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turn: NDArray[np.float64] | None = None,
    shear: tuple[float, float] = (0.0, 0.0),
    positions: NDArray[np.float64] | None = None,
    slides: NDArray[np.float64] | None = None,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """Slices about a centre, turned, sheared (in-plane mm a mm) or at given positions."""
    turn = np.eye(3) if turn is None else turn
    row, column, normal = turn @ X, turn @ Y, turn @ Z
    if positions is None:
        positions = (np.arange(shape[0]) - (shape[0] - 1) / 2) * spacing[0]
    step = normal + shear[0] * column + shear[1] * row
    corner = -(shape[1] - 1) / 2 * spacing[1] * column - (shape[2] - 1) / 2 * spacing[2] * row
    origins = np.array(centre) + corner + positions[:, None] * step
    if slides is not None:
        origins = origins + slides[:, None] * column
    return Geometry(
        origins=origins,
        row_direction=row,
        column_direction=column,
        pixel_spacing=(spacing[1], spacing[2]),
        rows=shape[1],
        columns=shape[2],
    )


def rasterized(
    geometry: Geometry,
    inside: Callable[[Points], NDArray[np.bool_]],
    *,
    fine: int = 3,
    hu: float = 0.0,
    slab: float | None = None,
) -> Volume:
    """Means over voxels of a body of ``hu`` in air; slices are ``slab`` mm thick."""
    slab = geometry.spacing_mm if slab is None else slab
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    rows, columns = np.mgrid[: geometry.rows, : geometry.columns]
    array = np.zeros(geometry.shape, np.float32)
    tilt = geometry.step / (geometry.step @ geometry.normal)
    for index, origin in enumerate(geometry.origins):
        for s in offsets * slab:
            for r in offsets:
                for c in offsets:
                    points = (
                        origin
                        + s * tilt
                        + ((rows + r) * geometry.pixel_spacing[0])[..., None]
                        * geometry.column_direction
                        + ((columns + c) * geometry.pixel_spacing[1])[..., None]
                        * geometry.row_direction
                    )
                    array[index] += inside(points)
    return Volume((array / fine**3 * (hu + 1000) - 1000).astype(np.float32), geometry)


def ball(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)):  # type: ignore[no-untyped-def]
    """A ball, as a function of points."""
    return lambda points: ((points - np.array(centre)) ** 2).sum(axis=-1) <= radius**2
