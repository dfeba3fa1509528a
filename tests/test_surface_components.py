"""Components and holes against SciPy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.surface.body import filled
from hrinet.surface.components import find_components

ndimage = pytest.importorskip("scipy.ndimage")
sparse = pytest.importorskip("scipy.sparse")
csgraph = pytest.importorskip("scipy.sparse.csgraph")

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
    others = (other.__getitem__, mask.__getitem__)
    found = find_components(mask.__getitem__, np.ones(3), others=others, threads=1)
    assert found.shares() == pytest.approx(np.array([[1 / 3, 1 / 2], [1, 1]]))
    assert found.wanted(smallest=3).tolist() == [True, False]
    assert found.wanted(largest=1).tolist() == [True, False]


@settings(max_examples=150, deadline=None)
@given(MASKS, st.floats(0.2, 1.0))
def test_some_labels_make_the_components_that_scipy_finds_without_the_others(drawn, share):
    mask = mask_of(drawn)
    found = find_components(mask.__getitem__, np.ones(len(mask)), threads=1)
    random = np.random.default_rng(drawn[0])
    chosen = random.random(len(found.areas)) < share
    left = np.zeros_like(mask)
    for index, slice_mask in enumerate(mask):
        labels, count = ndimage.label(slice_mask, np.ones((3, 3)))
        # OpenCV may number them otherwise; a label is told by its pixels.
        for number in range(1, count + 1):
            only = labels == number
            own = found.starts[index] + labels_of_opencv(slice_mask)[only][0] - 1
            left[index] |= only & chosen[own]
    some = found.of_labels(chosen)
    labels, count = ndimage.label(left, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(np.ones(left.shape), labels, np.arange(1, count + 1))
    assert some.sizes.tolist() == sorted(np.atleast_1d(sizes).tolist(), reverse=True)[:count]
    every = np.ones(len(some.sizes), bool)
    assert all(np.array_equal(some.kept(i, every), left[i]) for i in range(len(mask)))


def labels_of_opencv(mask: np.ndarray) -> np.ndarray:
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]


@settings(max_examples=150, deadline=None)
@given(MASKS, st.floats(0.0, 8.0))
def test_reach_is_that_of_scipys_shortest_ways(drawn, reach):
    mask = mask_of(drawn)
    found = find_components(mask.__getitem__, np.ones(len(mask)), threads=1)
    random = np.random.default_rng(drawn[0])
    number = len(found.areas)
    seeds = random.random(number) < 0.2
    steps = random.uniform(0.5, 3.0, len(mask) - 1)
    slices = np.repeat(np.arange(len(mask)), np.diff([*found.starts, number]))
    lengths = steps[slices[found.links[:, 0]]] if len(found.links) else []
    graph = sparse.coo_matrix((lengths, found.links.T), shape=(number, number)).tocsr()
    near = seeds.copy()
    if seeds.any():
        ways = csgraph.dijkstra(graph, directed=False, indices=np.flatnonzero(seeds))
        near |= (ways <= reach).any(axis=0)
    assert np.array_equal(found.reached(seeds, steps=steps, reach=reach), near)


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_holes_are_filled_as_scipy_does(drawn):
    mask = mask_of(drawn)[0]
    # Diagonal neighbours close a hole: the background is connected by edges.
    assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))
