"""From the slices of a scan to voxels at even distances: what lies in the gaps of a projection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hrinet.errors import RangeExceededError
from hrinet.geometry import Geometry
from hrinet.io.limits import DEFAULT_LIMITS
from hrinet.job import Job, Options, gap_limits, prepare
from hrinet.measured import measured
from hrinet.plan.gaps import ONLY_MAX_GAP
from hrinet.plan.plan import Request
from hrinet.project.shear import AIR_HU
from hrinet.synthesize.engine import synthesize
from hrinet.synthesize.registry import AUTO
from hrinet.types import VolumeArray
from hrinet.untilt import Untilted
from hrinet.volume import SliceSource, Volume

NONE = "none"
"""Not a method: gaps stay empty."""

_STRAIGHT = 0.1  # Slides of less than this fraction of a pixel are rounding.

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Filled:
    """A volume that can be projected.

    Attributes:
        volume: slices at even distances along one line.
        method: what filled the gaps, by the registry's name; ``none`` where they are empty, and an
            empty string where there were none to fill.
        originals: how many of its slices were measured.
        notes: what the user should know.
    """

    volume: Volume
    method: str
    originals: int
    notes: tuple[str, ...]

    @property
    def is_blank(self) -> bool:
        """Whether there are empty slices."""
        return self.method == NONE


def fill_gaps(
    source: SliceSource,
    fill: str = AUTO,
    *,
    max_gap_mm: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Make voxels that are nearly cubes, on a uniform grid.

    A tilted stack stays tilted, since projections follow any affine. One whose slices slide by
    different amounts from gap to gap is straightened first (:class:`hrinet.untilt.Untilted`), since
    no affine describes it.

    Args:
        source: the scan.
        fill: a method of the registry, ``auto``, or ``none``, which leaves gaps empty (air) and
            puts every original slice at the place of the grid that is nearest.
        max_gap_mm: see :func:`hrinet.pipeline.interpolate`.
        threads: cores to use; by default all.
        progress: called after every slice.

    Raises:
        RequestError: if the gaps cannot be filled so.
        InputError: if the input is damaged.
        LimitError: if the result would not fit into memory.
    """
    try:
        return _fill(source, fill, max_gap_mm, threads, progress)
    except RangeExceededError:
        return _fill(source.widened(), fill, max_gap_mm, threads, progress)


def _fill(
    source: SliceSource,
    fill: str,
    max_gap_mm: float | None,
    threads: int | None,
    progress: Progress | None,
) -> Filled:
    job = _prepared(source, fill, max_gap_mm, threads)
    DEFAULT_LIMITS.check_memory(source.info.path or "the volume", job.output_bytes)
    array = np.empty(job.geometry.shape, source.dtype)
    slices = job.plan.slices
    has_gaps = job.plan.synthetic_count > 0
    known = measured(source)
    originals = sum(known[planned.left] for planned in slices if planned.is_original)
    if fill == NONE and has_gaps:
        originals = _leave_blank(job, array, known, progress)
    else:
        made = synthesize(job.source, slices, job.interpolator, threads=threads, out=array)
        for index, _ in enumerate(made):
            if progress is not None:
                progress(index + 1, len(slices))
    name = NONE if fill == NONE else job.interpolator.name
    return Filled(
        volume=Volume(
            array=array,
            geometry=job.geometry,
            padding_hu=source.padding_hu,
            info=replace(source.info, notes=job.notes),
        ),
        method=name if has_gaps else "",
        originals=originals,
        notes=tuple(note for note in job.notes if "--untilt" not in note),
    )


def _prepared(source: SliceSource, fill: str, max_gap_mm: float | None, threads: int | None) -> Job:
    limits = replace(gap_limits(max_gap_mm), remedy=ONLY_MAX_GAP)
    options = Options(
        request=Request(spacing="iso", limits=limits),
        method="repeat" if fill == NONE else fill,
        threads=threads,
    )
    job = prepare(source, options, needs_uniform=True)
    if job.geometry.grid_error_mm > _STRAIGHT * min(job.geometry.pixel_spacing):
        job = prepare(Untilted(source), options, needs_uniform=True)
    return replace(job, geometry=_straight(job.geometry))


def _straight(geometry: Geometry) -> Geometry:
    """The same slices on the line between the first and the last, without what was rounded."""
    fraction = np.linspace(0.0, 1.0, len(geometry))[:, None]
    ends = geometry.origins[[0, -1]]
    return replace(geometry, origins=ends[0] * (1 - fraction) + ends[1] * fraction)


def _leave_blank(
    job: Job, array: VolumeArray, known: Sequence[bool], progress: Progress | None
) -> int:
    """Put slices at the nearest places; return at how many places there is a measured one."""
    array.fill(AIR_HU)
    # The source may have been straightened; its positions along the normal stay.
    positions, wanted = job.geometry.positions_mm, job.source.geometry.positions_mm
    places = np.abs(positions[:, None] - wanted).argmin(axis=0)
    for index, place in enumerate(places):
        array[place] = job.source.read_slice(index)
        if progress is not None:
            progress(index + 1, len(places))
    return len({int(place) for index, place in enumerate(places) if known[index]})
