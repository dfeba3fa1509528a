"""Connected components of a mask in three dimensions, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypedDict

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
        ranks: of every label its component, counted from 0, the largest; -1 if it is in none.
        areas: of every label, pixels.
        label_sizes: of every label, in the unit of the weights.
        counts: of every label its pixels that lie in each of the other masks, shape (other, label).
        links: pairs of labels of neighbouring slices that touch, the lower slice first, in the
            order of slices, shape (pair, 2).
    """

    mask_of: Callable[[int], Mask]
    sizes: NDArray[np.float64]
    starts: Ints
    ranks: Ints
    areas: Ints
    label_sizes: NDArray[np.float64]
    counts: Ints
    links: Ints

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

    def shares(self) -> NDArray[np.float64]:
        """Of every component's pixels the fraction in each other mask, shape (other, component)."""
        within = self.ranks >= 0
        ranks = self.ranks[within]
        totals = np.stack(
            [
                np.bincount(ranks, pixels[within], len(self.sizes))
                for pixels in (*self.counts, self.areas)
            ]
        )
        return np.asarray(totals[:-1] / np.maximum(totals[-1], 1))

    def reached(self, seeds: Mask, *, steps: NDArray[np.float64], reach: float) -> Mask:
        """Which labels lie near others, where the way leads from slice to slice.

        Args:
            seeds: of every label whether ways begin there.
            steps: lengths of the ways between neighbouring slices, shape (slice - 1,).
            reach: length of the longest way that counts.

        Returns:
            Of every label whether one of the seeds is within reach; seeds themselves are.
        """
        distance = np.where(seeds, 0.0, np.inf)
        slices = np.searchsorted(self.starts, self.links[:, 1], side="right") - 1
        ends = np.searchsorted(slices, np.arange(len(self.starts) + 1))
        parts = [self.links[ends[index] : ends[index + 1]].T for index in range(len(self.starts))]
        while True:
            before = distance.copy()
            for upwards in (True, False):
                order = range(1, len(parts)) if upwards else range(len(parts) - 1, 0, -1)
                for index in order:
                    below, above = parts[index]
                    here, there = (above, below) if upwards else (below, above)
                    np.minimum.at(distance, here, distance[there] + steps[index - 1])
            distance[distance > reach] = np.inf
            if np.array_equal(distance, before):
                return np.isfinite(distance)

    def of_labels(self, chosen: Mask) -> Components:
        """The components that some of the labels make, the others left out.

        Args:
            chosen: of every label whether it takes part.
        """
        links = self.links[chosen[self.links].all(axis=1)]
        return replace(self, **_united(self.label_sizes, links, chosen=chosen))

    def kept(self, index: int, wanted: Mask) -> Mask:
        """The mask of slice ``index`` without the components that are not wanted.

        Args:
            index: of the slice.
            wanted: for every component whether to keep it, by rank.
        """
        labels, count = _labelled(self.mask_of(index))
        first = int(self.starts[index])
        table = np.zeros(count + 1, bool)
        ranks = self.ranks[first : first + count]
        table[1:] = np.append(wanted, False)[ranks]  # the last one is of labels in no component
        kept: Mask = table[labels]
        return kept


def find_components(
    mask_of: Callable[[int], Mask],
    weights: NDArray[np.float64],
    *,
    others: Sequence[Callable[[int], Mask]] = (),
    threads: int | None = None,
) -> Components:
    """Find the components of a mask that is given slice by slice.

    Every slice is labelled by OpenCV; labels of neighbouring slices that touch are joined.

    Args:
        mask_of: gives the mask of a slice, shape (row, column), always the same; called from
            several threads.
        weights: what a voxel of every slice counts, shape (slice,), such as its volume in mm^3.
        others: each gives another mask of a slice, for :meth:`Components.shares`.
        threads: by default all cores.
    """

    def examine(index: int) -> tuple[Ints, Ints]:
        labels, count = _labelled(mask_of(index))
        pixels = [labels.ravel()] + [labels[other_of(index)] for other_of in others]
        counts = np.stack([np.bincount(each, minlength=count + 1)[1:] for each in pixels])
        if index == 0 or not count:
            return counts, np.empty((0, 2), np.int64)
        below, below_count = _labelled(mask_of(index - 1))
        return counts, _touching(below, labels) if below_count else np.empty((0, 2), np.int64)

    with ThreadPoolExecutor(threads or default_threads(), "hrinet-label") as pool:
        found = list(pool.map(examine, range(len(weights))))
    numbers = np.array([counts.shape[1] for counts, _ in found], np.int64)
    starts = np.concatenate([[0], np.cumsum(numbers)])
    pairs = [
        joined + np.array([starts[index - 1] - 1, starts[index] - 1])
        for index, (_, joined) in enumerate(found)
        if len(joined)
    ]
    links = np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
    counts = np.concatenate([counts for counts, _ in found], axis=1).astype(np.int64)
    label_sizes = counts[0] * np.repeat(weights, numbers)
    return Components(
        mask_of=mask_of,
        starts=starts[:-1],
        areas=counts[0],
        label_sizes=label_sizes,
        counts=counts[1:],
        links=links,
        **_united(label_sizes, links, chosen=np.ones(len(label_sizes), bool)),
    )


class _United(TypedDict):
    sizes: NDArray[np.float64]
    ranks: Ints


def _united(label_sizes: NDArray[np.float64], links: Ints, *, chosen: Mask) -> _United:
    """Sizes of the components of chosen labels, and which one each label belongs to."""
    roots = _roots(len(label_sizes), links)
    sizes = np.bincount(roots[chosen], label_sizes[chosen], minlength=len(roots))
    heads = np.unique(roots[chosen])
    order = heads[np.argsort(-sizes[heads], kind="stable")]
    rank_of = np.full(len(roots), -1, np.int64)
    rank_of[order] = np.arange(len(order))
    return _United(
        sizes=np.asarray(sizes[order], np.float64), ranks=np.where(chosen, rank_of[roots], -1)
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
