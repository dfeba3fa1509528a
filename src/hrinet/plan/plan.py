"""Which slices the output has: pure arithmetic on positions, no pixels."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, get_args

from hrinet.errors import RequestError
from hrinet.geometry import UNIFORM_TOLERANCE
from hrinet.plan.gaps import GapLimits, inspect_gaps
from hrinet.plan.grid import best_uniform_spacing, nearest_exact_spacing, uniform_positions

Grid = Literal["originals", "uniform"]

MAX_INTERVALS = 256
"""More slices than this in one gap is a typing error, not a wish."""


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """One output slice.

    Attributes:
        position_mm: where it lies along the normal, on the scale of the source's positions, mm.
        left: index of the source slice at or just before it.
        t: 0 for an exact copy of ``left``, otherwise the position in (0, 1) between ``left`` and
            ``left + 1``.
        flag: why a synthetic slice deserves distrust, or an empty string.
    """

    position_mm: float
    left: int
    t: float = 0.0
    flag: str = ""

    @property
    def is_original(self) -> bool:
        """Whether the slice is an exact copy."""
        return self.t == 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for.

    Attributes:
        spacing: ``"iso"``, or the wanted distance between slices, mm; only ``"iso"`` goes with
            ``factor``.
        factor: number of intervals that a gap of median width is divided into, or None.
        grid: ``"originals"`` keeps every source slice, so that uneven gaps give an uneven result;
            ``"uniform"`` is one spacing throughout, on which uneven originals may not lie; None is
            ``"originals"``, except for an explicit spacing, which is always uniform.
        start: first source slice to use.
        stop: one past the last source slice to use, or None for all.
        limits: what gap widths to flag and to refuse.
        strict: refuse what would otherwise be flagged.
    """

    spacing: float | Literal["iso"] = "iso"
    factor: int | None = None
    grid: Grid | None = None
    start: int = 0
    stop: int | None = None
    limits: GapLimits = field(default_factory=GapLimits)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The output, slice by slice.

    Attributes:
        slices: in order of increasing position.
        spacing_mm: the distance between output slices (the median, where they are uneven), mm.
        is_uniform: whether that distance holds throughout. Positions then are those of the grid
            itself; originals lie within ``position_error_mm`` of it.
        position_error_mm: largest distance of an original from where the plan puts it, mm; at most
            1 % of the median gap.
        dropped_originals: source slices in the range that are not part of the output.
        notes: remarks in plain words, one sentence each.
    """

    slices: tuple[PlannedSlice, ...]
    spacing_mm: float
    is_uniform: bool
    position_error_mm: float
    dropped_originals: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def synthetic_count(self) -> int:
        """Number of slices to synthesize."""
        return sum(not planned.is_original for planned in self.slices)


def make_plan(
    positions_mm: Sequence[float],
    request: Request,
    *,
    pixel_spacing_mm: tuple[float, float],
) -> Plan:
    """Decide on the output slices.

    The number of intervals of a gap is the thesis's n = gap / pixel length (section 5.1), rounded
    so that originals stay on the grid.

    Args:
        positions_mm: of the source slices along their normal, strictly increasing, mm.
        request: what the user asks for.
        pixel_spacing_mm: distance between rows and between columns, mm.

    Raises:
        RequestError: if the request contradicts itself or the source, or a gap is too wide.
    """
    check_request(request)
    start, stop = _checked_range(request, len(positions_mm))
    positions = [float(p) for p in positions_mm[start:stop]]
    target = _target_spacing(request, positions, pixel_spacing_mm)
    report = inspect_gaps(positions, request.limits, first_index=start)
    report.refuse(strict=request.strict)

    explicit = request.factor is None and request.spacing != "iso"
    grid: Grid = request.grid or ("uniform" if explicit else "originals")
    tolerance = UNIFORM_TOLERANCE * _median_gap(positions)
    notes = list(report.notes)
    if grid == "originals":
        slices, is_uniform = _originals_grid(positions, target, tolerance)
        if explicit:
            notes.append("every original is kept, so that the spacing is only near the wanted one")
    else:
        slices, remarks = _uniform_grid(positions, target, tolerance, exact=explicit)
        is_uniform = True
        notes += remarks

    kept = {planned.left for planned in slices if planned.is_original}
    steps = [b.position_mm - a.position_mm for a, b in pairwise(slices)]
    return Plan(
        slices=tuple(
            replace(
                s, left=s.left + start, flag="" if s.is_original else report.flags.get(s.left, "")
            )
            for s in slices
        ),
        spacing_mm=_median(steps) if steps else target,
        is_uniform=is_uniform,
        position_error_mm=max(
            (abs(s.position_mm - positions[s.left]) for s in slices if s.is_original), default=0.0
        ),
        dropped_originals=tuple(start + k for k in range(len(positions)) if k not in kept),
        notes=tuple(notes),
    )


def check_request(request: Request) -> None:
    """Refuse what is wrong with a request, whatever the source.

    Raises:
        RequestError: if a value is of the wrong type or out of its range, or two contradict each
            other.
    """
    _check_types(spacing=request.spacing, factor=request.factor, grid=request.grid)
    factor, spacing = request.factor, request.spacing
    if factor is not None:
        if not 1 <= factor <= MAX_INTERVALS:
            raise RequestError(f"factor must be 1 to {MAX_INTERVALS}, got {factor}")
        if spacing != "iso":
            raise RequestError(
                f"factor {factor} and spacing {spacing:.6g} mm contradict each other; give one of "
                "them"
            )
    elif spacing != "iso" and not spacing > 0:
        raise RequestError(f"spacing must be a positive number of mm or 'iso', got {spacing}")


def _check_types(*, spacing: object, factor: object, grid: object) -> None:
    """Refuse what a caller without a type checker may pass: it would fail later, or be rounded."""
    if not _is_finite(spacing) and not (isinstance(spacing, str) and spacing == "iso"):
        raise RequestError(f"spacing must be a positive number of mm or 'iso', got {spacing!r}")
    is_integer = isinstance(factor, numbers.Integral) and not isinstance(factor, bool)
    if factor is not None and not is_integer:
        raise RequestError(f"factor must be an integer, got {factor!r}")
    if grid is not None and grid not in get_args(Grid):
        raise RequestError(f"grid must be one of {', '.join(get_args(Grid))}, got {grid!r}")


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # of an integer beyond any float
        return False


def _checked_range(request: Request, count: int) -> tuple[int, int]:
    stop = count if request.stop is None else request.stop
    if not 0 <= request.start < stop <= count:
        raise RequestError(
            f"range {request.start}:{stop} does not lie in the input's {count} slices "
            f"(0:{count}; the second number is one past the last slice)"
        )
    if count > 1 and stop - request.start == 1:
        raise RequestError(
            f"range {request.start}:{stop} holds a single slice; two are the least between which "
            "anything can be synthesized (the second number is one past the last slice)"
        )
    return request.start, stop


def _target_spacing(
    request: Request, positions: Sequence[float], pixel_spacing_mm: tuple[float, float]
) -> float:
    median_gap = _median_gap(positions)
    if request.factor is not None:
        return median_gap / request.factor
    target = min(pixel_spacing_mm) if request.spacing == "iso" else float(request.spacing)
    if median_gap / target > MAX_INTERVALS:
        raise RequestError(
            f"a spacing of {target:.4g} mm would put {median_gap / target:.0f} slices into every "
            f"{median_gap:.4g} mm gap, the limit is {MAX_INTERVALS}"
        )
    return target


def _median_gap(positions: Sequence[float]) -> float:
    return _median([b - a for a, b in pairwise(positions)]) if len(positions) > 1 else 1.0


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _originals_grid(
    positions: Sequence[float], target: float, tolerance: float
) -> tuple[list[PlannedSlice], bool]:
    slices = []
    for left, (a, b) in enumerate(pairwise(positions)):
        intervals = max(1, round((b - a) / target))
        slices += [
            PlannedSlice(a + (b - a) * j / intervals, left, j / intervals) for j in range(intervals)
        ]
    slices.append(PlannedSlice(positions[-1], len(positions) - 1))
    return _regularized(slices, tolerance)


def _regularized(slices: list[PlannedSlice], tolerance: float) -> tuple[list[PlannedSlice], bool]:
    """Put slices on the uniform grid between first and last if all lie within the tolerance."""
    first, count = slices[0].position_mm, len(slices) - 1
    step = (slices[-1].position_mm - first) / max(count, 1)
    grid = [first + index * step for index in range(count)] + [slices[-1].position_mm]
    if any(abs(s.position_mm - p) > tolerance for s, p in zip(slices, grid, strict=True)):
        return slices, False
    return [replace(s, position_mm=p) for s, p in zip(slices, grid, strict=True)], True


def _uniform_grid(
    positions: Sequence[float], target: float, tolerance: float, *, exact: bool
) -> tuple[list[PlannedSlice], list[str]]:
    if len(positions) == 1:
        return [PlannedSlice(positions[0], 0)], []
    length = positions[-1] - positions[0]
    if exact and target > length + tolerance:
        raise RequestError(
            f"a spacing of {target:.4g} mm is more than the {length:.4g} mm from the first slice "
            "to the last, and would leave a single one; choose a smaller one"
        )
    spacing = target if exact else best_uniform_spacing(positions, target, tolerance_mm=tolerance)
    grid = uniform_positions(positions, spacing, tolerance_mm=tolerance)
    slices = _locate(positions, grid, min(tolerance, spacing / 4))
    kept = {s.left for s in slices if s.is_original}
    filled = {s.left for s in slices if not s.is_original}
    dropped = [k for k in range(len(positions)) if k not in kept]
    notes = []
    if dropped:
        # Nothing of the output lies between their neighbours: nothing stands for them.
        left_out = sum(k not in filled and k - 1 not in filled for k in dropped)
        fates = [f"{left_out} {'is' if left_out == 1 else 'are'} left out"] if left_out else []
        one = len(kept) == 1
        if left_out < len(dropped):
            fates.append("the others are interpolated between")
        note = (
            f"{len(kept)} of {len(positions)} original slices {'lies' if one else 'lie'} on the "
            f"uniform {spacing:.6g} mm grid and {'is' if one else 'are'} kept exactly; "
            f"{', '.join(fates)}"
        )
        nearest = nearest_exact_spacing(positions, target, tolerance_mm=tolerance)
        if nearest is not None:
            note += f"; the nearest spacing that keeps all of them is {nearest:.6g} mm"
        notes.append(note)
    return slices, notes


def _locate(
    positions: Sequence[float], grid: Sequence[float], tolerance: float
) -> list[PlannedSlice]:
    """Express grid positions as (left, t), snapping to originals within the tolerance."""
    slices = []
    left = 0
    last = len(positions) - 1
    for position in grid:
        while left < last and positions[left + 1] <= position:
            left += 1
        if position - positions[left] <= tolerance or left == last:
            slices.append(PlannedSlice(position, left))
        elif positions[left + 1] - position <= tolerance:
            slices.append(PlannedSlice(position, left + 1))
        else:
            width = positions[left + 1] - positions[left]
            slices.append(PlannedSlice(position, left, (position - positions[left]) / width))
    return slices
