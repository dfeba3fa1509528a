"""Fixtures shared by the tests."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.geometry import Geometry
from hrinet.volume import Volume


def make_geometry(
    positions: list[float] | np.ndarray,
    *,
    rows: int = 12,
    columns: int = 10,
    pixel_spacing: tuple[float, float] = (0.8, 0.7),
    shear: tuple[float, float] = (0.0, 0.0),
    thickness: float | None = 5.0,
) -> Geometry:
    """An axial stack; ``shear`` is the slide along (row, column direction) per mm."""
    positions = np.asarray(positions, dtype=float)
    origins = np.stack(
        [positions * shear[0] - 50.0, positions * shear[1] - 60.0, positions], axis=1
    )
    return Geometry(
        origins=origins,
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing=pixel_spacing,
        rows=rows,
        columns=columns,
        slice_thickness=thickness,
    )


@pytest.fixture
def thick() -> Volume:
    """Seven random slices every 5 mm, int16."""
    geometry = make_geometry([5.0 * k for k in range(7)])
    values = np.random.default_rng(1).integers(-1024, 3071, geometry.shape)
    return Volume(array=values.astype(np.int16), geometry=geometry)
