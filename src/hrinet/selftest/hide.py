"""Which slices of a scan to hide, and the scan without them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.plan.plan import PlannedSlice
from hrinet.selftest.growth import WIDEST_MM
from hrinet.types import Float64Array, SliceArray
from hrinet.volume import SliceSource, WrappedSource

LEAST_SLICES = 5
"""Two to hide and three to keep."""

_EVEN = 0.1
"""A hidden slice counts as half-way, and its gap as usual, if both are within this share of it."""

_ROUGHLY = 0.25
"""Where no slice is that even, t may lie this far from 1/2."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """A scan without every second slice.

    Attributes:
        kept: indices of the slices that stay, increasing.
        hidden: those of the slices to be synthesized and scored, increasing; each lies between two
            neighbours in ``kept``.
        candidates: number of slices that are gone, scored or not.
        uneven: number of those that are not scored, for they lie at unusual distances.
        gap_mm: median distance between the two neighbours of a hidden slice, mm.
    """

    kept: tuple[int, ...]
    hidden: tuple[int, ...]
    candidates: int
    uneven: int
    gap_mm: float

    def only(self, hidden: Sequence[int]) -> Hiding:
        """The same with fewer slices to score."""
        return replace(self, hidden=tuple(hidden))

    def planned(self, positions_mm: Float64Array) -> list[PlannedSlice]:
        """The hidden slices as the engine wants them, for the scan without them.

        Args:
            positions_mm: of all slices, mm.
        """
        result = []
        for index in self.hidden:
            place = bisect_left(self.kept, index) - 1
            start, stop = (float(positions_mm[n]) for n in self.kept[place : place + 2])
            position = float(positions_mm[index])
            result.append(PlannedSlice(position, place, (position - start) / (stop - start)))
        return result

    @property
    def needed(self) -> tuple[int, ...]:
        """Indices of all slices that are looked at: the hidden ones and four around each."""
        found = set(self.hidden)
        for index in self.hidden:
            right = bisect_left(self.kept, index)
            found.update(self.kept[max(right - 2, 0) : right + 2])
        return tuple(sorted(found))


def hide(positions_mm: Float64Array, *, among: Sequence[int]) -> Hiding | None:
    """Hide every second slice.

    Slices next to a missing one, or where the spacing changes, lie in gaps of another width or not
    half-way: they are left out of the score while there are others.

    Args:
        positions_mm: of all slices, strictly increasing, mm.
        among: indices of the slices to start from, evenly spaced; of them the second, the fourth
            and so on are hidden.

    Returns:
        None if no slice can be hidden.
    """
    kept, candidates = tuple(among[0::2]), list(among[1::2])
    candidates = [index for index in candidates if index < kept[-1]] if kept else []
    if not candidates:
        return None
    step = among[1] - among[0]
    inner = np.array(candidates)
    before = positions_mm[inner] - positions_mm[inner - step]
    after = positions_mm[inner + step] - positions_mm[inner]
    width = before + after
    usual = np.sort(width)[(len(width) - 1) // 2]  # The lower one: missing slices widen gaps.
    is_even = (np.abs(before - after) <= _EVEN * width / 2) & (
        np.abs(width - usual) <= _EVEN * usual
    )
    if not is_even.any():
        is_even = np.abs(before / width - 0.5) <= _ROUGHLY
    if not is_even.any():
        return None
    return Hiding(
        kept=kept,
        hidden=tuple(inner[is_even].tolist()),
        candidates=len(candidates),
        uneven=int((~is_even).sum()),
        gap_mm=float(np.median(width[is_even])),
    )


def spread(indices: Sequence[int], count: int) -> tuple[int, ...]:
    """So many of the indices, evenly spread over them; all if there are no more."""
    if len(indices) <= count:
        return tuple(indices)
    return tuple(indices[(2 * n + 1) * len(indices) // (2 * count)] for n in range(count))


@dataclass(frozen=True, slots=True)
class Trials:
    """What is hidden in the two passes.

    Attributes:
        near: every second slice is hidden, in gaps of twice the width.
        wide: of those, every second one is hidden once more, in gaps of four times the width; None
            where there are too few or the gaps would be wider than any that were looked at.
    """

    near: Hiding
    wide: Hiding | None

    @property
    def own_gap_mm(self) -> float:
        """Usual width of the gaps of the scan itself, mm."""
        return self.near.gap_mm / 2

    @property
    def needed(self) -> tuple[int, ...]:
        """Indices of all slices that are looked at."""
        wide = self.wide.needed if self.wide else ()
        return tuple(sorted({*self.near.needed, *wide}))


def choose_trials(
    geometry: Geometry, *, most_near: int | None, most_wide: int | None, subject: str
) -> Trials:
    """Choose what to hide.

    Args:
        geometry: of the scan.
        most_near: score so many slices in gaps of twice the width at the most; None is all.
        most_wide: the same for gaps of four times the width.
        subject: what to call the scan in messages.

    Raises:
        RequestError: if there is nothing to hide.
    """
    count = len(geometry)
    if count < LEAST_SLICES:
        raise RequestError(
            f"{subject} has {count} slice{'s' if count > 1 else ''}; the self-test hides every "
            f"second one and needs at least {LEAST_SLICES}"
        )
    near = hide(geometry.positions_mm, among=range(count))
    if near is None:
        raise RequestError(
            f"{subject} has no slice about half-way between its neighbours, so that nothing can be "
            "hidden and scored; 'hrinet info' lists the distances"
        )
    wide = hide(geometry.positions_mm, among=range(1, count, 2))
    if wide is not None and wide.gap_mm > WIDEST_MM:
        wide = None
    if wide is not None:
        both = [index for index in wide.hidden if index in set(near.hidden)]
        wide = wide.only(both if most_wide is None else spread(both, most_wide)) if both else None
    if most_near is not None and len(near.hidden) > most_near:
        first = wide.hidden if wide else ()
        others = [index for index in near.hidden if index not in set(first)]
        near = near.only(sorted({*first, *spread(others, max(most_near - len(first), 0))}))
    return Trials(near, wide)


@dataclass(frozen=True, eq=False)
class Thinned(WrappedSource):
    """A source of which only some slices are left.

    Attributes:
        kept: their indices, increasing.
    """

    kept: tuple[int, ...]

    @cached_property
    def geometry(self) -> Geometry:
        """Of the slices that are left."""
        return replace(self.source.geometry, origins=self.source.geometry.origins[list(self.kept)])

    @property
    def source_ids(self) -> Sequence[str]:
        """Of the slices that are left."""
        return [self.source.source_ids[index] for index in self.kept]

    def read_slice(self, index: int) -> SliceArray:
        """A slice of those that are left."""
        return self.source.read_slice(self.kept[index])

    def widened(self) -> SliceSource:
        """The same with float32 slices."""
        return Thinned(self.source.widened(), self.kept)


@dataclass(frozen=True, eq=False)
class Held(WrappedSource):
    """A source of which some slices are held in memory.

    Attributes:
        slices: by index.
    """

    slices: Mapping[int, SliceArray]

    def read_slice(self, index: int) -> SliceArray:
        """A slice, from memory if it is held."""
        found = self.slices.get(index)
        return self.source.read_slice(index) if found is None else found
