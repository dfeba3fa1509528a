from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.metrics.histogram import histogram, histogram_intersection

RANGE = (-1000.0, 1000.0)


def test_agrees_with_numpy():
    values = np.random.default_rng(0).integers(-1000, 1000, (64, 64)).astype(np.int16)
    expected, _ = np.histogram(values, bins=200, range=RANGE)
    assert histogram(values, bins=200, value_range=RANGE) == pytest.approx(expected / values.size)


def test_closed_forms():
    zeros = np.zeros((4, 4))
    half = zeros.copy()
    half[:2] = 500
    assert histogram_intersection(zeros, zeros, bins=10, value_range=RANGE) == 1
    assert histogram_intersection(zeros, zeros + 500, bins=10, value_range=RANGE) == 0
    assert histogram_intersection(half, zeros, bins=10, value_range=RANGE) == 0.5
    # Of other numbers of pixels, and beyond the range.
    assert histogram_intersection(half, np.zeros(7), bins=10, value_range=RANGE) == 0.5
    assert histogram_intersection(zeros + 5000, zeros + 999, bins=10, value_range=RANGE) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_symmetric_and_bounded(seed, bins):
    a, b = np.random.default_rng(seed).normal(0, 700, (2, 200))
    forth = histogram_intersection(a, b, bins=bins, value_range=RANGE)
    assert 0 <= forth <= 1 + 1e-12
    assert forth == histogram_intersection(b, a, bins=bins, value_range=RANGE)
    shuffled = np.random.default_rng(0).permutation(a)
    assert histogram_intersection(a, shuffled, bins=bins, value_range=RANGE) == pytest.approx(1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="0 bins"):
        histogram([1.0], bins=0, value_range=RANGE)
    with pytest.raises(ValueError, match="0 values"):
        histogram([], bins=3, value_range=RANGE)
    with pytest.raises(ValueError, match="finite"):
        histogram([np.nan], bins=3, value_range=RANGE)
