"""From sums at fractions of a voxel to even cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.project.cells import CELLS, to_cells


def borders(first: float, step: float, count: int) -> np.ndarray:
    """Of cells along one axis, in voxels."""
    return first + (np.arange(count + 1) - 0.5) * step


@pytest.mark.parametrize("fraction", [0, 1, 7, 15])
def test_cells_hold_what_a_spline_through_the_running_integral_says(fraction: int) -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    row = np.random.default_rng(0).normal(size=20)
    sums = np.zeros((1, 16, 1, 20), np.float32)
    sums[0, fraction, 0] = row
    cells, (_, first), (_, step) = to_cells(sums, slides=(False, True), smooth=True)
    # Borders of voxels, with as many empty ones around as make the ends of the spline matter not.
    knots = np.arange(-30, 51) - 0.5 + fraction / 16
    integral = np.r_[np.zeros(30), np.cumsum(np.r_[0, row]), np.full(30, row.sum())]
    spline = interpolate.CubicSpline(knots, integral)
    expected = np.diff(spline(borders(first, step, cells.shape[1]))) / step
    np.testing.assert_allclose(cells[0], expected, atol=3e-4)


@pytest.mark.parametrize("fraction", [0, 1, 3])
def test_boxes_are_shared_out_by_overlap(fraction: int) -> None:
    sums = np.zeros((4, 1, 3, 5), np.float32)
    sums[fraction, 0, 1] = np.arange(5) + 1
    cells, (first, left), (step, across) = to_cells(sums, slides=(True, False), smooth=False)
    assert (left, across) == (0.0, 1.0)
    ends = borders(first, step, cells.shape[0])
    low, high = 0.5 + fraction / 4, 1.5 + fraction / 4
    share = np.clip(np.minimum(ends[1:], high) - np.maximum(ends[:-1], low), 0, None) / step
    np.testing.assert_allclose(cells, share[:, None] * (np.arange(5) + 1), atol=1e-6)


def test_two_cells_are_the_voxel_again_where_nothing_slides_by_a_fraction() -> None:
    values = np.random.default_rng(1).normal(size=(6, 9)).astype(np.float32)
    sums = np.zeros((4, 4, 6, 9), np.float32)
    sums[0, 0] = values
    cells, starts, steps = to_cells(sums, slides=(True, True), smooth=True)
    assert steps == (0.5, 0.5)
    top, left = (round(CELLS * (-0.25 - start)) for start in starts)
    inner = cells[top : top + 12, left : left + 18].reshape(6, 2, 9, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(inner, values, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 100))
def test_sums_and_middles_are_kept(down: bool, right: bool, smooth: bool, seed: int) -> None:
    counts = (4, 4) if down and right else (16 if down else 1, 16 if right else 1)
    sums = np.random.default_rng(seed).uniform(0, 1, (*counts, 5, 7)).astype(np.float32)
    cells, starts, steps = to_cells(sums, slides=(down, right), smooth=smooth)
    assert cells.dtype == np.float32
    total = float(sums.sum(dtype=np.float64))
    area = steps[0] * steps[1]
    assert float(cells.sum(dtype=np.float64)) * area == pytest.approx(total, rel=1e-6)
    s, t, i, j = np.indices(sums.shape)
    for axis, places in enumerate((i + s / counts[0], j + t / counts[1])):
        middle = float((sums * places).sum()) / total
        found = starts[axis] + steps[axis] * np.indices(cells.shape)[axis]
        assert float((cells * found).sum()) * area / total == pytest.approx(middle, abs=1e-4)
