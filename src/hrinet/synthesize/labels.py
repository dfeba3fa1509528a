"""Shape-based interpolation of label maps (segmentations): ids are never mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from hrinet.errors import InputError
from hrinet.synthesize.cubic import cubic_weights
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.signed_distance import (
    Box,
    Distances,
    Mask,
    Pieces,
    alignment,
    continued,
    groups,
    hull,
    label_boxes,
    links,
    offset,
    overlaps,
    padded,
    pieces_of,
    shifted,
    signed_distance,
    window,
)
from hrinet.types import INT16, SliceArray

_LARGEST_ID = 2**24
"""float32 holds every whole number up to here."""

_MOST_LABELS = 1024
"""In one slice. Segmentations of CT have a tenth of it, a slice of a CT itself twice as many
values, of which each would take as long as a label."""

_DEFAULT_END = 0.7
"""Where in the gap a shape ends if nothing tells, as a fraction of the gap.

An end lies anywhere in the gap with equal chance, so a rounded pole of area A fills A * gap / 4 of
it on average and a flat end A * gap / 2. Together with :data:`_POLE_EXPONENT`, this end gives
0.29 A * gap.
"""

_EARLIEST_END = 0.25
"""No shape ends earlier than this, or noise in areas would cut it off at the slice."""

_KEPT_SLICES = 16
"""Distance maps are kept up to this many slices' worth of pixels, then computed anew for each t."""

_POLE_EXPONENT = 0.7
"""How the depth of a pole falls off towards its end: 1/2 is a paraboloid, 1 a cone.

Real ends are anything between. On spheres and ellipsoids of 10 to 30 mm radius every 5 mm, this and
:data:`_CONE` give 1.1 times the true volume beyond the last slice, on cones 0.5 to 0.7 times.
"""

_CONE = 0.5
"""How much a shrinking shape is taken for a cone rather than a paraboloid (geometric mean)."""

_MOVED = np.float32(4096)
"""Added to the distances of shapes that took another place; above any distance in a shape, mm."""

_ALIGNED = np.float32(2048)
"""Added to those of shapes that shift but overlap; they stay within the union of all labels."""

_NOTHING = np.float32(-np.inf)


class Labels:
    """Signed-distance interpolation of any number of labels, with 0 as background.

    Every label is blended between the slices as a signed distance map (shape-based interpolation;
    Raya and Udupa, IEEE Trans. Medical Imaging 9, 1990), and every pixel goes to the label with
    the largest value. Whether a pixel is background is decided on the union of all labels, so that
    no gaps open between labels that touch. On top of that, the pieces of a label are paired first:

    - pieces that overlap belong together, also where one becomes several; the slices beyond bend
      their blend (non-uniform Catmull-Rom on the distances), which keeps poles round;
    - a piece without overlap is joined to the nearest one within reach, and moves there (a thin
      vessel that runs obliquely);
    - a piece without partner shrinks towards its medial core (the pole of an organ), and is gone
      where its size on the slice before says, or else at :data:`_DEFAULT_END`.

    Pieces that move or shrink take precedence over the label they lie in, which else would close
    over them. The slices on either side are the limits for t to 0 and 1, and reversing the slices
    reverses the result.
    """

    name = "labels"

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield the label map for every t, of the dtype of the slices.

        Args:
            gap: two to four label maps, shape (row, column), int16, or float32 holding whole
                numbers up to 2**24 in size.
            t: positions in (0, 1).

        Raises:
            InputError: if a slice holds other than whole numbers, or too many labels.
        """
        for plane in gap.slices:
            _check(plane)
        rows, columns = gap.slices[gap.left].shape
        regions = _regions(gap)
        full = all(plane.all() for plane in gap.slices[gap.left : gap.left + 2])
        if len(regions) > 1 and not full:
            # The union differs from the labels only where there are several.
            regions.append(_Region(None, (0, 0, rows, columns)))
        kept: dict[_Region, list[_Shape]] = {}
        room = _KEPT_SLICES * rows * columns
        for position in t:
            score = np.full((rows, columns), _NOTHING)
            result = np.zeros((rows, columns), dtype=gap.slices[gap.left].dtype)
            filled = np.full((rows, columns), full)
            for region in regions:
                shapes = kept.get(region)
                if shapes is None:
                    shapes = _shapes(gap, region)
                    size = sum(shape.size for shape in shapes)
                    if size <= room:
                        room -= size
                        kept[region] = shapes
                for shape in shapes:
                    distances = shape.at(gap, position)
                    if distances is not None:
                        _paint(shape.box, distances, region.label, score, result, filled)
            if len(regions) > 1:
                free = (score > 0) & ((score < _ALIGNED) | (score > _MOVED))
                result[~(filled | free)] = 0
            else:
                result[score <= 0] = 0
            yield result


@dataclass(frozen=True, slots=True)
class _Region:
    """A label, and where it is on either slice.

    Attributes:
        label: its id; None for the union of all labels.
        box: bounding box on all slices together.
    """

    label: float | None
    box: Box

    def mask(self, plane: SliceArray) -> Mask:
        """Its members within its box."""
        view = plane[window(self.box)]
        return np.asarray(view != 0 if self.label is None else view == self.label)


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """Something that changes from one slice to the other.

    Attributes:
        box: all that it may cover on the slice.
        maps: signed distances on either slice, shape (row, column) of the box, mm; None where it
            does not exist.
        beyond: signed distances on the slices before and after these two, None where it is not
            found there.
        shift: how far it moves from the first slice to the second, (rows, columns), pixels.
        end: fraction of the gap that it reaches into, where it exists on one side only.
        precedence: added to distances inside it where it moves or ends.
    """

    box: Box
    maps: tuple[Distances | None, Distances | None]
    beyond: tuple[Distances | None, Distances | None] = (None, None)
    shift: tuple[float, float] = (0.0, 0.0)
    end: float = 1.0
    precedence: np.float32 = _MOVED

    @property
    def size(self) -> int:
        """Pixels kept."""
        return sum(one.size for one in (*self.maps, *self.beyond) if one is not None)

    def at(self, gap: Gap, t: float) -> Distances | None:
        """Its signed distances at ``t``, raised where it takes precedence; None if it is gone."""
        first, second = self.maps
        if first is not None and second is not None:
            if self.shift == (0.0, 0.0):
                return self._curve(gap, first, second, t)
            first = shifted(first, t * self.shift[0], t * self.shift[1])
            second = shifted(second, (t - 1) * self.shift[0], (t - 1) * self.shift[1])
            return _raised(first * _weight(1 - t) + second * _weight(t), self.precedence)
        only, way = (first, t) if first is not None else (second, 1 - t)
        if only is None or way >= self.end:
            return None
        remains = (1 - way / self.end) ** _POLE_EXPONENT
        return _raised(only - only.max() * _weight(1 - remains), self.precedence)

    def _curve(self, gap: Gap, first: Distances, second: Distances, t: float) -> Distances:
        """Blend along z, bent by the slices beyond where the shape goes on there."""
        start = gap.left - (self.beyond[0] is not None)
        stop = gap.left + 2 + (self.beyond[1] is not None)
        inner = gap.left - start
        weights = cubic_weights(gap.positions_mm[start:stop], inner, t)
        # The order of additions is the same in both directions.
        blend: Distances = first * _weight(weights[inner]) + second * _weight(weights[inner + 1])
        ends = [
            distances * _weight(weight)
            for distances, weight in zip(self.beyond, (weights[0], weights[-1]), strict=True)
            if distances is not None
        ]
        return blend + sum(ends) if ends else blend


def _weight(value: float) -> np.float32:
    """A weight rounded so that reversing the slices cannot round it differently."""
    return np.float32(round(value * 2**20) / 2**20)


def _raised(distances: Distances, precedence: np.float32) -> Distances:
    return np.where(distances > 0, distances + precedence, distances)


def _paint(
    box: Box,
    distances: Distances,
    label: float | None,
    score: Distances,
    result: SliceArray,
    filled: Mask,
) -> None:
    """Give a shape the pixels where it scores highest so far, or fill, if it is of the union."""
    part = window(box)
    if label is None:
        filled[part] |= distances > 0
        return
    wins = distances > score[part]
    np.copyto(score[part], distances, where=wins)
    np.copyto(result[part], result.dtype.type(label), where=wins)


def _check(plane: SliceArray) -> None:
    if plane.dtype == INT16:
        return
    # NaN and infinity fail both comparisons.
    with np.errstate(invalid="ignore"):
        whole = (np.abs(plane) <= _LARGEST_ID) & (plane == np.rint(plane))
    if not whole.all():
        value = float(plane[~whole].flat[0])
        raise InputError(
            f"a label map holds whole numbers from -{_LARGEST_ID} to {_LARGEST_ID}, got {value:g}; "
            "use another method for images that are not label maps"
        )


def _regions(gap: Gap) -> list[_Region]:
    """The labels of the two slices with their boxes on all slices, by increasing id."""
    found = [label_boxes(plane) for plane in gap.slices]
    most = max(map(len, found))
    if most > _MOST_LABELS:
        raise InputError(
            f"a slice holds {most} different values, a label map up to {_MOST_LABELS} labels: this "
            "seems to be an image; leave out --label (in Python label=True)"
        )
    return [
        _Region(label, hull([boxes[label] for boxes in found if label in boxes]))
        for label in sorted(set(found[gap.left]) | set(found[gap.left + 1]))
    ]


def _shapes(gap: Gap, region: _Region) -> list[_Shape]:
    """Pair the pieces of a region on the two slices."""
    # One pixel around, so that outlines are seen; at the edge of the slice there is none.
    limits = (0, 0, *gap.slices[gap.left].shape)
    region = _Region(region.label, padded(region.box, limits))
    inside = range(max(gap.left - 1, 0), min(gap.left + 3, len(gap.slices)))
    sides = {index: pieces_of(region.mask(gap.slices[index])) for index in inside}
    first, second = sides[gap.left], sides[gap.left + 1]
    before, after = sides.get(gap.left - 1), sides.get(gap.left + 2)
    pairing = _Pairing(
        gap,
        region.box,
        (first, second),
        (before, after),
        (
            overlaps(before, first) if before is not None else set(),
            overlaps(after, second) if after is not None else set(),
        ),
    )
    shapes = []
    lonely: tuple[list[int], list[int]] = ([], [])
    for a, b in groups(first, second):
        if a and b:
            shapes.append(pairing.group(a, b))
        else:
            lonely[0].extend(a)
            lonely[1].extend(b)
    found = links(first, second, lonely, gap.pixel_spacing_mm, gap.width_mm)
    shapes += [pairing.moving(a, b) for a, b in sorted(found)]
    shapes += [pairing.pole(0, a) for a in lonely[0] if all(a != link[0] for link in found)]
    shapes += [pairing.pole(1, b) for b in lonely[1] if all(b != link[1] for link in found)]
    return shapes


@dataclass(frozen=True, slots=True, eq=False)
class _Pairing:
    """Makes shapes of the pieces of one region.

    Attributes:
        gap: the slices.
        box: the region's.
        sides: its pieces just before and just after the gap.
        outer: its pieces on the slices beyond, None where there is no such slice.
        pairs: which pieces beyond overlap which piece before and after the gap.
    """

    gap: Gap
    box: Box
    sides: tuple[Pieces, Pieces]
    outer: tuple[Pieces | None, Pieces | None]
    pairs: tuple[set[tuple[int, int]], set[tuple[int, int]]]

    def group(self, a: Sequence[int], b: Sequence[int]) -> _Shape:
        """Pieces that overlap."""
        shift = (0.0, 0.0)
        if len(a) == 1 and len(b) == 1:
            shift = alignment(self.sides[0], a[0], self.sides[1], b[0])
        return self._pair(a, b, shift, _ALIGNED)

    def moving(self, a: int, b: int) -> _Shape:
        """Pieces that do not overlap but are one."""
        return self._pair([a], [b], offset(self.sides[0], a, self.sides[1], b), _MOVED)

    def _pair(
        self, a: Sequence[int], b: Sequence[int], shift: tuple[float, float], precedence: np.float32
    ) -> _Shape:
        first, second = self.sides
        box = self._around(hull([first.box(a), second.box(b)]))
        maps = self._map(first, a, box), self._map(second, b, box)
        if shift != (0.0, 0.0):
            return _Shape(self._placed(box), maps, shift=shift, precedence=precedence)
        beyond: list[Distances | None] = []
        for outer, pairs, pieces in zip(self.outer, self.pairs, (a, b), strict=True):
            found = continued(pairs, pieces)
            beyond.append(self._map(outer, found, box) if outer is not None and found else None)
        return _Shape(self._placed(box), maps, beyond=(beyond[0], beyond[1]))

    def pole(self, number: int, piece: int) -> _Shape:
        """A piece that exists on the first (0) or second (1) slice only."""
        side, outer = self.sides[number], self.outer[number]
        box = self._around(side.boxes[piece])
        distances = self._map(side, [piece], box)
        end = _DEFAULT_END
        if outer is not None:
            area = sum(outer.areas[other] for other in continued(self.pairs[number], [piece]))
            if area > side.areas[piece]:
                index = self.gap.left + number
                positions = self.gap.positions_mm
                step = abs(positions[index + (1 if number else -1)] - positions[index])
                # From there to its end, area falls off evenly in a paraboloid, radius in a cone.
                ratio = area / side.areas[piece]
                end = step / self.gap.width_mm * (ratio - 1) ** (_CONE - 1)
                end *= (sqrt(ratio) - 1) ** -_CONE
                end = min(max(end, _EARLIEST_END), 1.0)
        maps = (None, distances) if number else (distances, None)
        return _Shape(self._placed(box), maps, end=end)

    def _map(self, side: Pieces, pieces: Sequence[int], box: Box) -> Distances:
        """Signed distances within a box, of pieces that may reach beyond it."""
        whole = self._around(hull([side.box(pieces), box]))
        distances = signed_distance(side.mask(pieces, whole), self.gap.pixel_spacing_mm)
        top, left = whole[:2]
        part = (box[0] - top, box[1] - left, box[2] - top, box[3] - left)
        return np.ascontiguousarray(distances[window(part)])

    def _around(self, box: Box) -> Box:
        rows, columns = self.sides[0].numbers.shape
        return padded(box, (0, 0, rows, columns))

    def _placed(self, box: Box) -> Box:
        """A box of the region, in the slice."""
        top, left = self.box[:2]
        return box[0] + top, box[1] + left, box[2] + top, box[3] + left
