from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gamma

from hrinet.metrics.aggd import SHAPES, fit_aggd, moment_ratio, shape_of_ratio


def asymmetric(shape, left, right, count, seed=0):
    """Values of the distribution itself: powers of gamma variates on two sides."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(1 / shape, size=count) ** (1 / shape)
    is_left = rng.random(count) < left / (left + right)
    return np.where(is_left, -left * size, right * size)


@settings(max_examples=50, deadline=None)
@given(st.floats(*SHAPES))
def test_moment_ratio(shape):
    expected = gamma(2 / shape) ** 2 / (gamma(1 / shape) * gamma(3 / shape))
    assert moment_ratio(shape) == pytest.approx(expected, rel=1e-9)
    found = shape_of_ratio(np.array([expected]))[0]
    assert found == pytest.approx(shape, rel=1e-4)


@pytest.mark.parametrize("parameters", [(0.6, 1.0, 2.0), (1.0, 3.0, 3.0), (2.0, 5.0, 1.0)])
def test_finds_the_parameters_that_made_the_values(parameters):
    shape, left, right = parameters
    values = asymmetric(*parameters, count=400_000)
    found = fit_aggd(values[None])
    assert found.shape[0] == pytest.approx(shape, rel=0.03)
    assert found.left[0] == pytest.approx(left, rel=0.04)
    assert found.right[0] == pytest.approx(right, rel=0.04)
    assert found.mean[0] == pytest.approx(values.mean(), abs=0.03 * (left + right))


def test_rows_are_fitted_apart():
    rows = np.stack([asymmetric(1.0, 1.0, 2.0, 5000, seed) for seed in (1, 2)])
    both = fit_aggd(rows)
    for index, row in enumerate(rows):
        alone = fit_aggd(row[None])
        assert both.shape[index] == alone.shape[0]
        assert both.left[index] == alone.left[0]


def test_one_sided_rows_cannot_be_fitted():
    rows = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [-1.0, -2.0, -3.0], [-1.0, 1.0, 2.0]])
    found = fit_aggd(rows)
    assert np.isnan(found.shape[:3]).all()
    assert np.isnan(found.mean[:3]).all()
    assert np.isfinite(found.shape[3])
