from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from hrinet.synthesize.fallback import blend, outside_window, touched

WINDOW = (-1200.0, 3200.0)
SHAPE = (40, 44)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_lower_end_of_the_window_is_inside_the_upper_one_outside(dtype):
    values = np.array([[-3024, -1201, -1200, 0, 3199, 3200, 20000]], dtype)
    expected = [[True, True, False, False, False, True, True]]
    assert outside_window(values, WINDOW).tolist() == expected


def test_what_is_no_finite_number_is_outside():
    values = np.array([[np.nan, np.inf, -np.inf, 5.0]], np.float32)
    assert outside_window(values, WINDOW).tolist() == [[True, True, True, False]]


def test_with_nothing_outside_nothing_is_done():
    network = np.zeros(SHAPE, np.float32)
    assert blend(network, network + 1, np.zeros(SHAPE, bool)) is network


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.3))
def test_the_ramp_keeps_both_sides_and_rises_between(seed, share):
    rng = np.random.default_rng(seed)
    outside = rng.random(SHAPE) < share
    network, classical = np.full(SHAPE, 100.0, np.float32), np.full(SHAPE, 500.0, np.float32)
    result = blend(network, classical, outside)
    assert np.all(network == 100)
    assert np.all(result[outside] == 500)
    assert np.all((result >= 100 - 1e-3) & (result <= 500 + 1e-3))
    if outside.any():
        far = distance_transform_edt(~outside) > 8 * np.sqrt(2)
        assert np.all(result[far] == 100)
        assert np.array_equal(result > 100, touched(outside))
        assert max(np.abs(np.diff(result, axis=a)).max() for a in (0, 1)) < 400 * 0.25


def test_a_ramp_is_as_wide_as_it_says():
    outside = np.zeros(SHAPE, bool)
    outside[:, 20] = True
    network, classical = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    ramp = blend(network, classical, outside)[17, 20:33]
    np.testing.assert_allclose(ramp, [1, *(np.arange(8, 0, -1) / 9), 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_the_classical_result_is_no_number_the_mask_decides(value):
    outside = np.zeros(SHAPE, bool)
    outside[10, 10] = True
    classical = np.full(SHAPE, 9.0, np.float32)
    classical[10, 10] = classical[10, 12] = classical[30, 30] = value
    result = blend(np.zeros(SHAPE, np.float32), classical, outside)
    assert not np.isfinite(result[10, 10])
    assert np.isfinite(result).sum() == result.size - 1
    assert result[10, 12] == 0
    assert 0 < result[10, 13] < 9
