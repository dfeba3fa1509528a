from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrinet.plan.grid import best_uniform_spacing, nearest_exact_spacing, uniform_positions

TILTED = np.cumsum([0.0, *[4.0019] * 13, 1.0811, *[6.9986] * 13]).tolist()


@given(
    st.lists(st.floats(0.3, 12.0), min_size=1, max_size=40),
    st.floats(0.2, 4.0),
    st.floats(-500, 500),
)
def test_grids_are_even_and_lie_inside(gaps, spacing, start):
    positions = np.cumsum([start, *gaps]).tolist()
    grid = uniform_positions(positions, spacing, tolerance_mm=0.01)
    assert np.allclose(np.diff(grid), spacing)
    assert grid[0] >= positions[0] - 0.011
    assert grid[-1] <= positions[-1] + 0.011
    # Nothing that fits is left out at either end.
    assert grid[0] - spacing < positions[0]
    assert grid[-1] + spacing > positions[-1]


def test_the_anchor_hits_most_originals():
    positions = [0.0, 1.3, 3.3, 5.3, 7.3, 9.3]
    grid = uniform_positions(positions, 1.0, tolerance_mm=0.02)
    assert np.min(np.abs(np.subtract.outer(grid, positions[1:])), axis=0).max() < 1e-9


def test_regular_slices_keep_their_own_spacing():
    positions = [5.0 * k for k in range(30)]
    assert best_uniform_spacing(positions, 0.86, tolerance_mm=0.05) == pytest.approx(5 / 6)


def test_uneven_slices_get_a_spacing_that_hits_many():
    spacing = best_uniform_spacing(TILTED, 0.4883, tolerance_mm=0.04)
    assert spacing == pytest.approx(0.5, abs=0.001)


def test_nearest_exact_spacing():
    positions = [5.0 * k for k in range(30)]
    assert nearest_exact_spacing(positions, 1.2, tolerance_mm=0.05) == pytest.approx(1.25)
    assert nearest_exact_spacing([0, 5, 15, 20], 2.4, tolerance_mm=0.05) == pytest.approx(2.5)
    assert nearest_exact_spacing(TILTED, 1.0, tolerance_mm=0.0001) is None
