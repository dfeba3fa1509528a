"""Shapes in one slice: signed distances in mm, and the connected pieces that masks consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.types import Float64Array, SliceArray

Mask = NDArray[np.bool_]
"""Membership of pixels, shape (row, column)."""

Distances = NDArray[np.float32]
"""Distances of pixel centres, shape (row, column), mm."""

Box = tuple[int, int, int, int]
"""First row, first column, end row, end column (exclusive), pixels."""

_SQUARE_TOLERANCE = 1e-6

_ALIGN_BELOW = 0.9
"""Overlapping shapes are aligned if that raises their Dice overlap from below this fraction."""

_STEEPEST = 2.0
"""Shapes that do not overlap are one if they moved at most this many mm per mm of gap (63 deg)."""

_FARTHEST_RADII = 4.0
"""... and at most this many times the sum of their radii."""

_LARGEST_RATIO = 2.5
"""... and if their radii differ by at most this factor."""

_MOST_PIECES = 128
"""A label in more pieces than this is speckle, whose pieces have no partners to look for."""


def signed_distance(mask: Mask, spacing_mm: tuple[float, float]) -> Distances:
    """Signed distance of every pixel centre from the outline of a mask, positive inside.

    The outline runs half-way between the centres of member and non-member pixels, so half a pixel
    is taken off the distance to the nearest pixel of the other kind: without that, distances would
    jump by two pixels across an outline, and blends of two maps would be biased. The edge of the
    array is no outline, since the shape may go on beyond it, unless the mask fills the array.

    Args:
        mask: at least one member, shape (row, column).
        spacing_mm: distance between rows and between columns, mm.

    Returns:
        Shape (row, column), float32, mm; never zero.
    """
    if mask.all():
        padded = np.pad(mask, 1)
        return _to_outline(padded, spacing_mm)[1:-1, 1:-1]
    return _to_outline(mask, spacing_mm) - _to_outline(~mask, spacing_mm)


def _to_outline(mask: Mask, spacing_mm: tuple[float, float]) -> Distances:
    """Distance of members from the outline, mm; zero for the others."""
    height, width = spacing_mm
    if abs(height - width) <= _SQUARE_TOLERANCE * height:
        pixels = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        result = np.maximum(pixels - np.float32(0.5), np.float32(0)) * np.float32(height)
        return np.asarray(result, dtype=np.float32)
    down, across = offsets_to_outside(mask, spacing_mm)
    distance = np.hypot(down, across)
    # Half the extent of a pixel in the direction of the nearest pixel of the other kind.
    half = np.hypot(down * height, across * width) / (2 * np.maximum(distance, 1e-30))
    return np.where(mask, distance - half, 0).astype(np.float32)


def offsets_to_outside(
    mask: Mask, spacing_mm: tuple[float, float]
) -> tuple[Float64Array, Float64Array]:
    """Distances along column and row direction to the nearest pixel that is not in the mask.

    The squared Euclidean distance separates: first along each column, then the smallest sum along
    each row (Saito and Toriwaki, Pattern Recognition 27, 1994). The search along rows stops where
    no farther column can be nearer.

    Args:
        mask: at least one pixel is not a member, shape (row, column).
        spacing_mm: distance between rows and between columns, mm.

    Returns:
        Two arrays of absolute distances, shape (row, column), mm.
    """
    rows, columns = mask.shape
    index = np.arange(rows, dtype=np.float64)[:, None]
    above = np.maximum.accumulate(np.where(mask, -np.inf, index), axis=0)
    below = np.minimum.accumulate(np.where(mask, np.inf, index)[::-1], axis=0)[::-1]
    vertical = np.minimum(index - above, below - index) * spacing_mm[0]
    squared = vertical * vertical
    best, down = squared.copy(), vertical.copy()
    across = np.zeros_like(best)
    for step in range(1, columns):
        reach = step * spacing_mm[1]
        if reach * reach >= best.max():
            break
        for here, there in (
            (np.s_[:, step:], np.s_[:, :-step]),
            (np.s_[:, :-step], np.s_[:, step:]),
        ):
            candidate = squared[there] + reach * reach
            nearer = candidate < best[here]
            best[here][nearer] = candidate[nearer]
            down[here][nearer] = vertical[there][nearer]
            across[here][nearer] = reach
    return down, across


def shifted(distances: Distances, rows: float, columns: float) -> Distances:
    """Move a map by a fraction of pixels, bilinearly; what enters repeats the edge.

    Args:
        distances: shape (row, column), mm.
        rows: towards larger row index, pixels.
        columns: towards larger column index, pixels.
    """
    result = distances
    for axis, offset in ((0, rows), (1, columns)):
        # A thousandth of a pixel is far below what shows, and makes the shift independent of
        # the rounding of t, which differs when the slices are reversed.
        offset = round(offset * 1024) / 1024
        if offset == 0:
            continue
        source = np.arange(result.shape[axis]) - offset
        lower = np.floor(source).astype(np.intp)
        weight = np.float32(source[0] - lower[0])
        last = result.shape[axis] - 1
        near = result.take(np.clip(lower, 0, last), axis=axis)
        far = result.take(np.clip(lower + 1, 0, last), axis=axis)
        result = near * (np.float32(1) - weight) + far * weight
    return result


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around at least one box."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def window(box: Box) -> tuple[slice, slice]:
    """The index of a box in an array."""
    return slice(box[0], box[2]), slice(box[1], box[3])


def padded(box: Box, limits: Box) -> Box:
    """A box with one pixel around it, within limits."""
    return (
        max(box[0] - 1, limits[0]),
        max(box[1] - 1, limits[1]),
        min(box[2] + 1, limits[2]),
        min(box[3] + 1, limits[3]),
    )


def label_boxes(plane: SliceArray) -> dict[float, Box]:
    """Bounding boxes of all ids but 0 on a slice, shape (row, column), in one pass for all ids."""
    rows, columns = np.nonzero(plane)
    if rows.size == 0:
        return {}
    ids = plane[rows, columns]
    order = np.argsort(ids, kind="stable")
    ids, rows, columns = ids[order], rows[order], columns[order]
    starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    boxes = zip(
        np.minimum.reduceat(rows, starts).tolist(),
        np.minimum.reduceat(columns, starts).tolist(),
        (np.maximum.reduceat(rows, starts) + 1).tolist(),
        (np.maximum.reduceat(columns, starts) + 1).tolist(),
        strict=True,
    )
    return dict(zip(ids[starts].tolist(), boxes, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The connected components (8-connected) of a mask.

    Attributes:
        numbers: 0 outside, else the number of the piece, shape (row, column) of the mask.
        boxes: bounding box of each piece, in pixels of the mask.
        areas: of each piece, pixels.
        centroids: of each piece, (row, column), pixels.
    """

    numbers: NDArray[np.int32]
    boxes: list[Box]
    areas: list[int]
    centroids: list[tuple[float, float]]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.boxes)

    def box(self, pieces: Sequence[int]) -> Box:
        """The bounding box of some of them."""
        return hull([self.boxes[piece] for piece in pieces])

    def mask(self, pieces: Sequence[int], box: Box) -> Mask:
        """Where the pieces are within a box."""
        table = np.zeros(self.count + 1, dtype=np.bool_)
        table[[piece + 1 for piece in pieces]] = True
        return np.asarray(table[self.numbers[window(box)]])


def pieces_of(mask: Mask) -> Pieces:
    """Find the pieces of a mask, shape (row, column); all as one if they are speckle."""
    count, numbers, stats, centroids = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=8
    )
    if count - 1 > _MOST_PIECES:
        y, x = np.nonzero(mask)
        whole = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
        return Pieces(
            mask.astype(np.int32), [whole], [y.size], [(float(y.mean()), float(x.mean()))]
        )
    boxes = [(y, x, y + h, x + w) for x, y, w, h, _ in stats[1:].tolist()]
    return Pieces(
        np.asarray(numbers, dtype=np.int32),
        boxes,
        [int(area) for area in stats[1:, cv2.CC_STAT_AREA]],
        [(y, x) for x, y in centroids[1:].tolist()],
    )


def overlaps(first: Pieces, second: Pieces) -> set[tuple[int, int]]:
    """Pairs of pieces that overlap."""
    both = (first.numbers > 0) & (second.numbers > 0)
    codes = (first.numbers[both] - 1) * np.int64(second.count) + (second.numbers[both] - 1)
    # Pieces are few, so counting all pairs is faster than sorting the pixels.
    return {divmod(code, second.count) for code in np.flatnonzero(np.bincount(codes)).tolist()}


def groups(first: Pieces, second: Pieces) -> list[tuple[list[int], list[int]]]:
    """Pieces of both sides that hang together through overlaps."""
    parent = list(range(first.count + second.count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in overlaps(first, second):
        parent[root(a)] = root(first.count + b)
    members: dict[int, tuple[list[int], list[int]]] = {}
    for node in range(len(parent)):
        group = members.setdefault(root(node), ([], []))
        if node < first.count:
            group[0].append(node)
        else:
            group[1].append(node - first.count)
    return list(members.values())


def offset(first: Pieces, a: int, second: Pieces, b: int) -> tuple[float, float]:
    """From the centroid of one piece to that of another, (rows, columns), pixels."""
    start, stop = first.centroids[a], second.centroids[b]
    return stop[0] - start[0], stop[1] - start[1]


def alignment(first: Pieces, a: int, second: Pieces, b: int) -> tuple[float, float]:
    """The offset of two overlapping pieces if it explains their difference, else zero."""
    plain, aligned = _common(first, a, second, b)
    return offset(first, a, second, b) if plain < _ALIGN_BELOW * aligned else (0.0, 0.0)


def _alike_when_aligned(first: Pieces, a: int, second: Pieces, b: int) -> bool:
    """Whether at least half of the smaller piece lies in the other once centroids coincide."""
    _, aligned = _common(first, a, second, b)
    return 2 * aligned >= min(first.areas[a], second.areas[b])


def _common(first: Pieces, a: int, second: Pieces, b: int) -> tuple[int, int]:
    """Pixels in common as the pieces lie, and with centroids aligned to the nearest pixel."""
    rows, columns = (round(value) for value in offset(first, a, second, b))
    box = hull([first.boxes[a], second.boxes[b]])
    margin = ((abs(rows), abs(rows)), (abs(columns), abs(columns)))
    one, other = np.pad(first.mask([a], box), margin), np.pad(second.mask([b], box), margin)
    plain = int(np.count_nonzero(one & other))
    if rows == 0 and columns == 0:
        return plain, plain
    return plain, int(np.count_nonzero(np.roll(one, (rows, columns), axis=(0, 1)) & other))


def links(
    first: Pieces,
    second: Pieces,
    lonely: tuple[list[int], list[int]],
    spacing_mm: tuple[float, float],
    width_mm: float,
) -> set[tuple[int, int]]:
    """Pairs of pieces that do not overlap, but lie near enough to be one that moved.

    Every lonely piece chooses the nearest lonely piece of the other side or, failing that, the
    nearest of all: a branch that leaves a vessel. Laid on each other they have to overlap. All
    that are equally near are chosen, so that the outcome does not depend on the order.

    Args:
        first: all pieces on one slice.
        second: all pieces on the other.
        lonely: those of either without overlap.
        spacing_mm: distance between rows and between columns, mm.
        width_mm: distance between the slices, mm.
    """
    found: set[tuple[int, int]] = set()
    height, width = spacing_mm
    for flipped, (here, there) in enumerate(((first, second), (second, first))):
        if there.count == 0:
            continue
        centres = np.array(there.centroids)
        radii = np.sqrt(np.array(there.areas) * height * width / pi)
        alone = np.zeros(there.count, dtype=np.bool_)
        alone[lonely[1 - flipped]] = True
        for piece in lonely[flipped]:
            y, x = here.centroids[piece]
            radius = sqrt(here.areas[piece] * height * width / pi)
            distances = np.hypot((centres[:, 0] - y) * height, (centres[:, 1] - x) * width)
            reach = np.minimum(_STEEPEST * width_mm, _FARTHEST_RADII * (radius + radii))
            alike = np.maximum(radius, radii) <= _LARGEST_RATIO * np.minimum(radius, radii)
            near = (distances <= reach) & alike
            near = near & alone if (near & alone).any() else near
            if near.any():
                limit = distances[near].min() * (1 + 1e-6)
                for other in np.flatnonzero(near & (distances <= limit)).tolist():
                    if not _alike_when_aligned(here, piece, there, other):
                        continue
                    found.add((other, piece) if flipped else (piece, other))
    return found


def continued(pairs: set[tuple[int, int]], pieces: Sequence[int]) -> list[int]:
    """The pieces on the slice beyond that go on as these; none if they go on as others too.

    Args:
        pairs: all (piece beyond, piece on this side) that overlap.
        pieces: on this side.
    """
    found = {outer for outer, piece in pairs if piece in pieces}
    shared = any(outer in found and piece not in pieces for outer, piece in pairs)
    return [] if shared else sorted(found)
