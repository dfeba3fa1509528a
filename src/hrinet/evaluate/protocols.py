"""Which slices of a scan are hidden, and where each of them lies between those that are kept.

Planning only: positions in, indices out, no pixels. Every protocol is a frozen dataclass with a
``key`` that names it in files and a ``plan`` method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

from hrinet.errors import RequestError
from hrinet.plan.plan import PlannedSlice

ProtocolName: TypeAlias = Literal[
    "large-gap", "factors", "gaps-mm", "adjacent", "reconstruction", "receptive-field", "ablation"
]
"""What ``--protocol`` accepts, besides ``all``."""

PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

DOUBLED_SHARE = 0.05
"""A slice nearer to the one before it than this share of the usual gap is a doubled one."""


@dataclass(frozen=True, slots=True)
class Target:
    """One slice to synthesize.

    Attributes:
        left: index, among the kept slices, of the one before it.
        t: where it lies in the gap, in (0, 1).
        truth: index of the hidden slice in the scan, or None where there is no ground truth.
        gap_mm: width of the gap between the kept slices around it, mm.
        position_mm: along the normal, on the scale of the scan's positions, mm.
    """

    left: int
    t: float
    truth: int | None
    gap_mm: float
    position_mm: float

    @property
    def distance_mm(self) -> float:
        """To the nearer of the two kept slices, mm."""
        return min(self.t, 1 - self.t) * self.gap_mm


@dataclass(frozen=True, slots=True)
class Hiding:
    """A plan for one scan.

    Attributes:
        kept: indices of the slices that the methods see, in order.
        targets: what they have to make, in order.
    """

    kept: tuple[int, ...]
    targets: tuple[Target, ...]

    @property
    def planned(self) -> tuple[PlannedSlice, ...]:
        """The targets as the engine wants them; the kept slices are its source."""
        return tuple(PlannedSlice(g.position_mm, g.left, g.t) for g in self.targets)

    @property
    def truths(self) -> list[int]:
        """Indices of the hidden slices; empty where there is no ground truth."""
        return [target.truth for target in self.targets if target.truth is not None]

    @property
    def gap_mm(self) -> float:
        """Median width of the gaps to fill, mm."""
        return median([target.gap_mm for target in self.targets])


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Every r-th slice is kept, the others are hidden.

    Attributes:
        factor: r, 2 or more.
        size: side of the square that slices are resampled to first, pixels; None for as they are.
    """

    factor: int
    size: int | None = None

    @property
    def key(self) -> str:
        """Name in files."""
        return f"x{self.factor}" + (f"-{self.size}" if self.size else "")

    def plan(self, positions_mm: Sequence[float]) -> Hiding:
        """See :func:`hide`."""
        return hide(positions_mm, self.factor)


def large_gap(slices: int = 7, *, size: int | None = None) -> Factor:
    """The thesis's large gap (section 4.1): of n consecutive slices the ends are kept.

    Runs of n slices follow one another through the scan and share their ends, so that this is the
    factor n - 1.

    Args:
        slices: n, 3 or more.
        size: see :class:`Factor`.
    """
    if slices < 3:
        raise RequestError(f"a large gap of {slices} slices hides nothing; give 3 or more")
    return Factor(factor=slices - 1, size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapMm:
    """Slices are hidden so that the gaps come near a given width.

    Attributes:
        gap_mm: wanted width, mm.
    """

    gap_mm: float

    @property
    def key(self) -> str:
        """Name in files."""
        return f"gap-{self.gap_mm:g}mm"

    def factor_for(self, positions_mm: Sequence[float]) -> int:
        """The factor whose gaps come nearest on this scan.

        Raises:
            RequestError: if the slices lie so far apart that none has to be hidden for it.
        """
        spacing = median([b - a for a, b in pairwise(positions_mm)])
        factor = nearest_factor(self.gap_mm, spacing)
        if factor < 2:
            raise RequestError(
                f"a gap of {self.gap_mm:g} mm cannot be made by hiding slices that lie "
                f"{spacing:.4g} mm apart; the narrowest possible is {2 * spacing:.4g} mm"
            )
        return factor

    def plan(self, positions_mm: Sequence[float]) -> Hiding:
        """See :func:`hide`."""
        return hide(positions_mm, self.factor_for(positions_mm))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjacent:
    """New slices between neighbours of the scan itself (section 4.2); there is no ground truth.

    Attributes:
        inner: new slices in a gap, at equal distances.
        gaps: number of gaps, spread over the scan.
        size: see :class:`Factor`.
    """

    inner: int = 5
    gaps: int = 6
    size: int | None = None

    @property
    def key(self) -> str:
        """Name in files."""
        return "adjacent" + (f"-{self.size}" if self.size else "")

    def plan(self, positions_mm: Sequence[float]) -> Hiding:
        """All slices are kept.

        Raises:
            RequestError: if there are fewer than two slices.
        """
        count = len(positions_mm)
        if count < 2:
            raise RequestError(f"the scan has {count} slice; two are needed for a gap")
        targets = []
        for left in spread(count - 1, self.gaps):
            start, stop = positions_mm[left], positions_mm[left + 1]
            for number in range(1, self.inner + 1):
                t = number / (self.inner + 1)
                position = start + t * (stop - start)
                targets.append(Target(left, t, None, stop - start, position))
        return Hiding(tuple(range(count)), tuple(targets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Real slices, encoded and decoded by a generator (section 4.3): a = 1.

    Attributes:
        slices: number of slices, spread over the scan.
        size: see :class:`Factor`; the thesis has 256.
    """

    slices: int = 24
    size: int | None = 256

    @property
    def key(self) -> str:
        """Name in files."""
        return "reconstruction" + (f"-{self.size}" if self.size else "")

    def plan(self, positions_mm: Sequence[float]) -> Hiding:
        """The slices to reconstruct are both kept and target; ``t`` is 0."""
        chosen = spread(len(positions_mm), self.slices)
        return Hiding(
            chosen,
            tuple(
                Target(k, 0.0, index, 0.0, positions_mm[index]) for k, index in enumerate(chosen)
            ),
        )


AnyProtocol: TypeAlias = Factor | GapMm | Adjacent | Reconstruction


def hide(positions_mm: Sequence[float], factor: int) -> Hiding:
    """Keep every factor-th slice, the first one included, and hide those between.

    Slices after the last kept one take no part. Positions may be uneven: ``t`` is that of the true
    position.

    Args:
        positions_mm: of the slices, strictly increasing, mm.
        factor: 2 or more.

    Raises:
        RequestError: if fewer than two slices would be kept.
    """
    count = len(positions_mm)
    if factor < 2:
        raise RequestError(f"a factor of {factor} hides no slice; give 2 or more")
    kept = tuple(range(0, count, factor))
    if len(kept) < 2:
        raise RequestError(
            f"the scan has {count} slices that differ in position; keeping one in {factor} needs "
            f"{factor + 1} or more"
        )
    targets = []
    for left, (first, last) in enumerate(pairwise(kept)):
        width = positions_mm[last] - positions_mm[first]
        for index in range(first + 1, last):
            t = (positions_mm[index] - positions_mm[first]) / width
            targets.append(Target(left, t, index, width, positions_mm[index]))
    return Hiding(kept, tuple(targets))


def nearest_factor(gap_mm: float, spacing_mm: float) -> int:
    """The whole number of spacings nearest to a gap, the smaller one of two as near."""
    return max(1, math.ceil(gap_mm / spacing_mm - 0.5 - 1e-9))


def distinct(positions_mm: Sequence[float]) -> tuple[int, ...]:
    """Indices of the slices without doubled ones.

    Of slices that lie nearer together than :data:`DOUBLED_SHARE` of the usual gap (the upper
    quartile) the first is taken: hiding one of them and keeping the other would score a copy.

    Args:
        positions_mm: strictly increasing, mm.
    """
    if len(positions_mm) < 3:
        return tuple(range(len(positions_mm)))
    # Of a wholly doubled scan every second gap is a tiny one, so not the median; and a missing part
    # makes the widest gap say nothing.
    gaps = sorted(b - a for a, b in pairwise(positions_mm))
    least = DOUBLED_SHARE * gaps[3 * len(gaps) // 4]
    chosen = [0]
    for index in range(1, len(positions_mm)):
        if positions_mm[index] - positions_mm[chosen[-1]] >= least:
            chosen.append(index)
    return tuple(chosen)


def spread(count: int, most: int) -> tuple[int, ...]:
    """Up to ``most`` of ``count`` indices, evenly spread and away from the ends."""
    number = min(count, most)
    return tuple((2 * k + 1) * count // (2 * number) for k in range(number))


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def parse_protocols(text: str) -> tuple[ProtocolName, ...]:
    """Names with commas between them, or ``all``.

    Raises:
        RequestError: naming the first that does not exist.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return PROTOCOLS
    for word in words:
        if word not in PROTOCOLS:
            raise RequestError(
                f"--protocol: there is no {word!r}; choose from {', '.join(PROTOCOLS)}, all"
            )
    if not words:
        raise RequestError(f"--protocol is empty; choose from {', '.join(PROTOCOLS)}, all")
    return tuple(name for name in PROTOCOLS if name in words)
