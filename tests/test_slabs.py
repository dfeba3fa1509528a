from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.metrics.slabs import slab_consistency, slab_weights


def body(z):
    """Quadratic along z, different at every pixel."""
    z = np.asarray(z, np.float64)[:, None, None]
    a, b, c = np.random.default_rng(0).normal(0, [[[50]], [[8]], [[0.4]]], (3, 6, 7))
    return a + b * z + c * z * z


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.3, 3.0), min_size=3, max_size=12),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_weights_average_a_piecewise_linear_function(steps, a, b):
    positions = np.concatenate([[0.0], np.cumsum(steps)])
    low, high = sorted((a * positions[-1], b * positions[-1]))
    weights = slab_weights(positions, low, high)
    values = np.random.default_rng(0).normal(0, 100, len(positions))
    fine = np.linspace(low, high, 20001)
    sampled = np.interp(fine, positions, values)
    expected = np.trapezoid(sampled, fine) / (high - low) if high - low > 1e-4 else sampled.mean()
    assert weights.sum() == pytest.approx(1)
    assert weights @ values == pytest.approx(expected, abs=0.1)


def test_slabs_of_a_straight_body_are_kept():
    fine = np.arange(0, 40.5, 0.5)
    centres = np.arange(2.5, 40, 5.0)
    flat = body([0.0]) + 3 * fine[:, None, None]
    slabs = body([0.0]) + 3 * centres[:, None, None]
    found = slab_consistency(
        flat, slabs, positions_mm=fine, original_positions_mm=centres, thickness_mm=5
    )
    assert found.slabs == len(centres)
    assert found.rmse_hu == pytest.approx(0, abs=1e-3)


def test_passing_slab_averages_through_is_inconsistent_where_the_body_curves():
    fine = np.arange(0, 40.5, 0.5)
    centres = np.arange(2.5, 40, 5.0)
    thin = body(fine)
    curvature = (thin[2] - 2 * thin[1] + thin[0]) / 0.25
    averages = body(centres) + curvature * 25 / 24
    kept = slab_consistency(
        thin, averages, positions_mm=fine, original_positions_mm=centres, thickness_mm=5
    )
    linear = np.stack(
        [
            averages[max(0, k - 1)] * (1 - t) + averages[k] * t
            for z in fine
            for k in [int(np.clip(np.ceil((z - 2.5) / 5), 1, len(centres) - 1))]
            for t in [np.clip((z - centres[k - 1]) / 5, 0, 1)]
        ]
    )
    passed = slab_consistency(
        linear, averages, positions_mm=fine, original_positions_mm=centres, thickness_mm=5
    )
    assert kept.rmse_hu < 0.1
    assert passed.rmse_hu > 10 * kept.rmse_hu


def test_bias_and_slabs_beyond_the_ends():
    fine = np.arange(10.0)
    volume = np.full((10, 4, 4), 20.0)
    found = slab_consistency(
        volume,
        np.full((3, 4, 4), 15.0),
        positions_mm=fine,
        original_positions_mm=[0, 5, 9],
        thickness_mm=4,
    )
    assert found.slabs == 1
    assert found.bias_hu == pytest.approx(5)
    assert found.rmse_hu == pytest.approx(5)
    none = slab_consistency(
        volume, volume[:1], positions_mm=fine, original_positions_mm=[0], thickness_mm=4
    )
    assert none.slabs == 0
    assert np.isnan(none.rmse_hu)


def test_bad_arguments():
    volume = np.zeros((3, 4, 4))
    with pytest.raises(ValueError, match="increase"):
        slab_consistency(
            volume, volume, positions_mm=[0, 2, 1], original_positions_mm=[0, 1, 2], thickness_mm=1
        )
    with pytest.raises(ValueError, match="one position"):
        slab_consistency(
            volume, volume, positions_mm=[0, 1], original_positions_mm=[0, 1, 2], thickness_mm=1
        )
    with pytest.raises(ValueError, match="shape"):
        slab_consistency(
            volume,
            np.zeros((3, 5, 4)),
            positions_mm=[0, 1, 2],
            original_positions_mm=[0, 1, 2],
            thickness_mm=1,
        )
    with pytest.raises(ValueError, match="reversed"):
        slab_weights(np.arange(3.0), 2, 1)
