"""From sheared planes to square pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.project.resample import Between, Grid, resample


def test_coinciding_grids_give_back_the_values() -> None:
    values = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    grid = Grid(7, 9, 0.5, (2.0, 1.5))
    modes: tuple[Between, ...] = ("smooth", "area", "value")
    for between in modes:
        same = resample(
            values, start=(0, 0), step_i=(0, 0.5), step_j=(0.5, 0), grid=grid, between=between
        )
        np.testing.assert_allclose(same, values, atol=1e-5)
        mirrored = resample(
            values[:, ::-1],
            start=(4, 0),
            step_i=(0, 0.5),
            step_j=(-0.5, 0),
            grid=grid,
            between=between,
        )
        np.testing.assert_allclose(mirrored, values, atol=1e-5)
        rolled = resample(
            values.T, start=(0, 0), step_i=(0.5, 0), step_j=(0, 0.5), grid=grid, between=between
        )
        np.testing.assert_allclose(rolled, values, atol=1e-5)


def test_halves_and_doubles_are_means() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6) ** 2
    grid = Grid(2, 3, 2.0, (2.5, 1.5))
    halved = resample(values, start=(0, 0), step_i=(0, 1), step_j=(1, 0), grid=grid, between="area")
    np.testing.assert_allclose(halved, values.reshape(2, 2, 3, 2).mean(axis=(1, 3)))
    grid = Grid(8, 12, 0.5, (2.5, 1.5))
    doubled = resample(
        values, start=(0, 0), step_i=(0, 1), step_j=(1, 0), grid=grid, between="area"
    )
    np.testing.assert_allclose(doubled, np.kron(values, np.ones((2, 2))))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 360), st.floats(-0.6, 0.6), st.floats(0.4, 2), st.floats(0.4, 2), st.booleans())
def test_the_integral_is_kept(
    roll: float, shear: float, one: float, two: float, smooth: bool
) -> None:
    values = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32) + 3
    angle = np.radians(roll)
    j = one * np.array([np.cos(angle), np.sin(angle)])
    i = two * np.array([-np.sin(angle), np.cos(angle)]) + shear * j
    start = -4 * i - 3.5 * j
    picture = resample(
        values,
        start=(float(start[0]), float(start[1])),
        step_i=(float(i[0]), float(i[1])),
        step_j=(float(j[0]), float(j[1])),
        grid=Grid(80, 80, 0.7, (0.0, 0.0)),
        between="smooth" if smooth else "area",
    )
    expected = float(values.sum(dtype=np.float64)) * one * two
    assert float(picture.sum(dtype=np.float64)) * 0.49 == pytest.approx(expected, rel=1e-5)


def test_a_slope_stays_a_slope_at_any_pitch() -> None:
    # Nearly equal pitches beat where lines are taken as steps; not here.
    values = np.tile(np.linspace(0, 100, 101, dtype=np.float32), (20, 1))
    grid = Grid(18, 90, 0.97, (50.0, 9.5))
    picture = resample(
        values, start=(0, 0), step_i=(0, 1), step_j=(1, 0), grid=grid, between="smooth"
    )
    np.testing.assert_allclose(np.diff(picture[9, 4:-4]), 0.97, rtol=1e-3)
