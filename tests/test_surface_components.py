"""Components and holes against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.surface.body import filled
from hrinet.surface.components import find_components

ndimage = pytest.importorskip("scipy.ndimage")

MASKS = st.tuples(
    st.integers(0, 10_000),
    st.floats(0.0, 0.6),
    st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
)


def mask_of(drawn: tuple[int, float, tuple[int, int, int]]) -> np.ndarray:
    seed, density, shape = drawn
    return np.random.default_rng(seed).random(shape) < density


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_components_are_those_of_scipy(drawn):
    mask = mask_of(drawn)
    weights = np.arange(1.0, len(mask) + 1)
    found = find_components(mask.__getitem__, weights, threads=1)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    theirs = ndimage.sum_labels(
        np.broadcast_to(weights[:, None, None], mask.shape), labels, np.arange(1, count + 1)
    )
    assert found.sizes.tolist() == sorted(np.atleast_1d(theirs).tolist(), reverse=True)[:count]
    for rank in range(count):
        wanted = np.arange(count) == rank
        kept = np.stack([found.kept(index, wanted) for index in range(len(mask))])
        (label,) = np.unique(labels[kept])
        assert np.array_equal(kept, labels == label)


def test_shares_count_voxels_of_another_mask():
    mask = np.zeros((3, 4, 9), bool)
    mask[:, :, :4] = True
    mask[1, 1, 6:8] = True
    other = np.zeros_like(mask)
    other[0] = True
    other[1, 1, 6] = True
    found = find_components(mask.__getitem__, np.ones(3), threads=1)
    assert found.shares(other.__getitem__) == pytest.approx([1 / 3, 1 / 2])
    assert found.wanted(smallest=3).tolist() == [True, False]
    assert found.wanted(largest=1).tolist() == [True, False]


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_holes_are_filled_as_scipy_does(drawn):
    mask = mask_of(drawn)[0]
    # Diagonal neighbours close a hole: the background is connected by edges.
    assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))
