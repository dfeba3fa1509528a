from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from hrinet.synthesize.cubic import Cubic, cubic_weights
from hrinet.synthesize.interpolator import Gap

positions4 = st.lists(st.floats(0.5, 10.0), min_size=3, max_size=3).map(
    lambda gaps: np.cumsum([-3.0, *gaps]).tolist()
)


def test_even_spacing_is_catmull_rom():
    assert cubic_weights([0, 1, 2, 3], 1, 0.5) == pytest.approx((-1 / 16, 9 / 16, 9 / 16, -1 / 16))
    t = 0.3
    expected = (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
    assert cubic_weights([0, 2, 4, 6], 1, t) == pytest.approx(expected)


@given(positions4, st.floats(0, 1))
def test_agrees_with_scipys_hermite_spline(positions, t):
    values = np.random.default_rng(0).normal(size=4)
    slopes = np.gradient(values, positions)  # Second order at uneven distances, as ours.
    spline = CubicHermiteSpline(positions[1:3], values[1:3], slopes[1:3])
    x = positions[1] + t * (positions[2] - positions[1])
    assert np.dot(cubic_weights(positions, 1, t), values) == pytest.approx(float(spline(x)))


@given(positions4, st.floats(0, 1), st.integers(0, 2))
def test_quadratics_are_exact_anywhere(positions, t, left):
    def parabola(x):
        return 3 * x**2 - 2 * x + 7

    x = positions[left] + t * (positions[left + 1] - positions[left])
    for points, at in ((positions, left), (positions[:3], min(left, 1))):
        x = points[at] + t * (points[at + 1] - points[at])
        value = np.dot(cubic_weights(points, at, t), [parabola(p) for p in points])
        assert value == pytest.approx(parabola(x), rel=1e-6, abs=1e-6)


def test_two_slices_are_blended_linearly():
    assert cubic_weights([0, 4], 0, 0.25) == pytest.approx((0.75, 0.25))


@given(positions4, st.floats(0, 1))
def test_weights_sum_to_one_and_hit_the_slices(positions, t):
    assert sum(cubic_weights(positions, 1, t)) == pytest.approx(1)
    assert cubic_weights(positions, 1, 0.0) == pytest.approx((0, 1, 0, 0), abs=1e-9)
    assert cubic_weights(positions, 1, 1.0) == pytest.approx((0, 0, 1, 0), abs=1e-9)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_slices_are_the_weighted_sums(count, dtype):
    slices = np.random.default_rng(2).integers(-1024, 3000, (count, 9, 7)).astype(dtype)
    positions = (0.0, 4.0, 9.0, 11.0)[:count]
    gap = Gap(tuple(slices), positions, min(1, count - 2), (1, 1))
    ts = [0.2, 0.7]
    for t, result in zip(ts, Cubic().synthesize(gap, ts), strict=True):
        expected = np.tensordot(cubic_weights(positions, gap.left, t), slices.astype(float), 1)
        assert result.dtype == np.float32
        assert np.abs(result - expected).max() < 1e-2
