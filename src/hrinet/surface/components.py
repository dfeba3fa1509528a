"""Connected components of a mask in three dimensions, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.synthesize.engine import default_threads

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

_OFFSETS = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)


@dataclass(frozen=True, eq=False)
class Components:
    """The components of a mask whose voxels may touch by a corner (26 neighbours).

    No cube of eight neighbouring voxels holds two components, so leaving one out moves no vertex
    of a surface around another. Labels are computed again when a slice is asked for; only their
    counts are kept, since a label of every voxel takes as much memory as the volume.

    Attributes:
        mask_of: gives the mask of a slice, shape (row, column); called from several threads.
        sizes: size of every component, largest first, in the unit of the weights.
        starts: number of the first label of every slice.
        ranks: of every label its component, counted from 0, the largest.
    """

    mask_of: Callable[[int], Mask]
    sizes: NDArray[np.float64]
    starts: Ints
    ranks: Ints

    def wanted(self, *, smallest: float = 0.0, largest: int | None = None) -> Mask:
        """For every component, by rank, whether it is large enough.

        Args:
            smallest: size of the smallest one to keep.
            largest: keep at most so many; by default all.
        """
        wanted = self.sizes >= smallest
        if largest is not None:
            wanted[largest:] = False
        return wanted

    def shares(
        self, other_of: Callable[[int], Mask], *, threads: int | None = None
    ) -> NDArray[np.float64]:
        """For every component, by rank, the fraction of its voxels that lie in another mask.

        Args:
            other_of: gives the other mask of a slice; called from several threads.
            threads: by default all cores.
        """

        def count(index: int) -> NDArray[np.float64]:
            labels, total = _labelled(self.mask_of(index))
            inside = np.bincount(labels[other_of(index)], minlength=total + 1)[1:]
            areas = np.bincount(labels.ravel(), minlength=total + 1)[1:]
            first = int(self.starts[index])
            ranks = self.ranks[first : first + total]
            return np.stack([np.bincount(ranks, n, len(self.sizes)) for n in (inside, areas)])

        with ThreadPoolExecutor(threads or default_threads(), "hrinet-share") as pool:
            totals = np.zeros((2, len(self.sizes)))
            for found in pool.map(count, range(len(self.starts))):
                totals += found
        return np.asarray(totals[0] / np.maximum(totals[1], 1))

    def kept(self, index: int, wanted: Mask) -> Mask:
        """The mask of slice ``index`` without the components that are not wanted.

        Args:
            index: of the slice.
            wanted: for every component whether to keep it, by rank.
        """
        labels, count = _labelled(self.mask_of(index))
        first = int(self.starts[index])
        table = np.zeros(count + 1, bool)
        table[1:] = wanted[self.ranks[first : first + count]]
        kept: Mask = table[labels]
        return kept


def find_components(
    mask_of: Callable[[int], Mask], weights: NDArray[np.float64], *, threads: int | None = None
) -> Components:
    """Find the components of a mask that is given slice by slice.

    Every slice is labelled by OpenCV; labels of neighbouring slices that touch are joined.

    Args:
        mask_of: gives the mask of a slice, shape (row, column), always the same; called from
            several threads.
        weights: what a voxel of every slice counts, shape (slice,), such as its volume in mm^3.
        threads: by default all cores.
    """

    def examine(index: int) -> tuple[Ints, Ints]:
        labels, count = _labelled(mask_of(index))
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.int64)
        if index == 0 or not count:
            return areas, np.empty((0, 2), np.int64)
        below, below_count = _labelled(mask_of(index - 1))
        return areas, _touching(below, labels) if below_count else np.empty((0, 2), np.int64)

    with ThreadPoolExecutor(threads or default_threads(), "hrinet-label") as pool:
        found = list(pool.map(examine, range(len(weights))))
    counts = np.array([len(areas) for areas, _ in found], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    pairs = [
        joined + np.array([starts[index - 1] - 1, starts[index] - 1])
        for index, (_, joined) in enumerate(found)
        if len(joined)
    ]
    total = int(starts[-1])
    roots = _roots(total, np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64))
    label_sizes = np.concatenate(
        [areas * weight for (areas, _), weight in zip(found, weights, strict=True)]
    )
    sizes = np.bincount(roots, weights=label_sizes, minlength=1) if total else np.zeros(0)
    heads = np.unique(roots)
    order = heads[np.argsort(-sizes[heads], kind="stable")]
    rank_of = np.zeros(max(total, 1), np.int64)
    rank_of[order] = np.arange(len(order))
    return Components(
        mask_of=mask_of,
        sizes=np.asarray(sizes[order], np.float64),
        starts=starts[:-1],
        ranks=rank_of[roots],
    )


def _labelled(mask: Mask) -> tuple[NDArray[np.int32], int]:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), count - 1


def _touching(below: NDArray[np.int32], above: NDArray[np.int32]) -> Ints:
    """Pairs of labels of two slices that touch, shape (pair, 2)."""
    width = below.shape[1] + 2
    framed = np.pad(below, 1).ravel()
    # Along a run of pixels with the same two labels one of them is enough.
    begins = np.ones(above.shape, bool)
    begins[:, 1:] = (above[:, 1:] != above[:, :-1]) | (below[:, 1:] != below[:, :-1])
    begins |= below == 0
    begins &= above > 0
    rows, columns = np.nonzero(begins)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    places = (rows + 1) * width + columns + 1
    upper = above[rows, columns].astype(np.int64)
    factor = int(upper.max()) + 1
    lower = framed[places].astype(np.int64)
    covered = lower > 0
    keys = [lower[covered] * factor + upper[covered]]
    # A covered pixel's neighbours below carry the label that it has met already.
    places, upper = places[~covered], upper[~covered]
    for row, column in _OFFSETS:
        lower = framed[places + row * width + column].astype(np.int64)
        met = lower > 0
        keys.append(lower[met] * factor + upper[met])
    unique = np.unique(np.concatenate(keys))
    return np.stack([unique // factor, unique % factor], axis=1)


def _roots(total: int, pairs: Ints) -> Ints:
    """Of every label the smallest of its component: union by path halving."""
    parent = list(range(total))
    for first, second in pairs.tolist():
        while parent[first] != first:
            parent[first] = parent[parent[first]]
            first = parent[first]
        while parent[second] != second:
            parent[second] = parent[parent[second]]
            second = parent[second]
        if first < second:
            parent[second] = first
        else:
            parent[first] = second
    roots: Ints = np.array(parent, np.int64)
    while total:
        above: Ints = np.take(roots, roots)
        if np.array_equal(above, roots):
            break
        roots = above
    return roots
