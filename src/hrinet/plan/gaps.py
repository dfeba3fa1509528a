"""Looking at the distances between slices: uneven, missing, too wide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hrinet.errors import RequestError
from hrinet.geometry import UNIFORM_TOLERANCE

_MISSING_RATIO = 1.5
_WHOLE_NUMBER_TOLERANCE = 0.1
_MOST_NOTES = 4

ONLY_MAX_GAP = "fill it all the same with --max-gap {wider}"
"""A remedy where no part of the scan can be chosen."""


@dataclass(frozen=True, slots=True)
class GapLimits:
    """Which gaps are filled with a warning, and which are not filled.

    Attributes:
        flag_mm: a gap wider than this is filled, and its slices are flagged.
        flag_ratio: so is one wider than this many times the gaps around it.
        refuse_mm: a gap wider than this is refused.
        refuse_ratio: so is one wider than this many times the gaps around it.
        remedy: what to do about a refused gap; ``{wider}`` is the limit, mm, that lets it pass.
    """

    flag_mm: float = 12.0
    flag_ratio: float = _MISSING_RATIO
    refuse_mm: float = 25.0
    refuse_ratio: float = 5.0
    remedy: str = f"choose a part with --range, or {ONLY_MAX_GAP}"


@dataclass(frozen=True, slots=True)
class GapReport:
    """What the gaps look like.

    Attributes:
        median_mm: median gap, mm.
        is_even: whether all gaps agree with the median to the tolerance of a uniform grid.
        missing: gap index (within the range looked at) -> number of slices that seem missing.
        flags: gap index -> why slices in it deserve distrust.
        refused: one sentence for every gap beyond the limits.
        notes: findings in plain words.
    """

    median_mm: float
    is_even: bool
    missing: Mapping[int, int]
    flags: Mapping[int, str]
    refused: tuple[str, ...]
    notes: tuple[str, ...]

    def refuse(self, *, strict: bool) -> None:
        """Raise if a gap is too wide, or with ``strict`` if any is flagged.

        Raises:
            RequestError: naming the first such gap.
        """
        if self.refused:
            raise RequestError(self.refused[0])
        if strict and self.flags:
            raise RequestError(f"--strict: {next(iter(self.flags.values()))}")


def inspect_gaps(
    positions_mm: Sequence[float], limits: GapLimits, *, first_index: int = 0
) -> GapReport:
    """Classify the gaps between slices.

    Args:
        positions_mm: strictly increasing, mm.
        limits: what to flag and what to refuse.
        first_index: index of the first slice in the whole source, for the messages.
    """
    gaps = [b - a for a, b in pairwise(positions_mm)]
    if not gaps:
        return GapReport(0.0, True, {}, {}, (), ())
    median = _lower_median(gaps)
    missing: dict[int, int] = {}
    flags: dict[int, str] = {}
    refused: list[str] = []
    for index, gap in enumerate(gaps):
        # Series may change their spacing half-way, so a gap is compared with those around it.
        around = _lower_median(gaps[max(index - 2, 0) : index + 3])
        ratio = gap / around
        where = f"between slices {first_index + index} and {first_index + index + 1}"
        if ratio >= _MISSING_RATIO and abs(ratio - round(ratio)) <= _WHOLE_NUMBER_TOLERANCE:
            missing[index] = round(ratio) - 1
            plural = "s seem" if missing[index] > 1 else " seems"
            flags[index] = (
                f"{missing[index]} slice{plural} to be missing {where}: "
                f"the gap is {gap:.4g} mm, those around it {around:.4g} mm"
            )
        elif ratio > limits.flag_ratio:
            flags[index] = f"the gap {where} is {gap:.4g} mm wide, those around it {around:.4g} mm"
        elif gap > limits.flag_mm:
            flags[index] = (
                f"the gap {where} is {gap:.4g} mm wide, more than {limits.flag_mm:.4g} mm"
            )
        if gap > limits.refuse_mm or ratio > limits.refuse_ratio:
            times = limits.refuse_ratio
            or_times = f" and {times:.2g} times" if math.isfinite(times) else ""
            times_those = f" ({ratio:.2g} times those around it)" if ratio >= 1.05 else ""
            refused.append(
                f"the gap {where} is {gap:.4g} mm wide{times_those}, the limit is "
                f"{limits.refuse_mm:.4g} mm{or_times}; " + limits.remedy.format(wider=int(gap) + 1)
            )
    is_even = all(abs(gap - median) <= UNIFORM_TOLERANCE * median for gap in gaps)
    notes = list(flags.values())
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more such gaps, flagged likewise"]
    if not is_even and len(missing) < len(gaps):
        notes.append(f"slices lie at uneven distances: {_histogram(gaps)}")
    return GapReport(median, is_even, missing, flags, tuple(refused), tuple(notes))


def _lower_median(values: Sequence[float]) -> float:
    # The lower one, so that of two gaps the wide one counts as missing slices, not both as odd.
    return sorted(values)[(len(values) - 1) // 2]


def _histogram(gaps: Sequence[float]) -> str:
    counts: dict[str, int] = {}
    for gap in sorted(gaps):
        counts[f"{gap:.3f}"] = counts.get(f"{gap:.3f}", 0) + 1
    parts = [f"{count} x {gap} mm" for gap, count in counts.items()]
    if len(parts) > 6:
        parts = [*parts[:3], "...", *parts[-2:]]
    return ", ".join(parts)
