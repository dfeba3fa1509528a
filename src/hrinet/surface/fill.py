"""Filling the gaps of a scan before its surface is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hrinet.job import Options, gap_limits, prepare
from hrinet.plan.gaps import ONLY_MAX_GAP
from hrinet.plan.plan import Request
from hrinet.synthesize.engine import synthesize
from hrinet.volume import Volume

Progress = Callable[[int, int], None]
"""Called after every slice with (slices done, slices in all)."""


def filled_to_isotropic(
    volume: Volume,
    *,
    method: str,
    max_gap_mm: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Volume, str, tuple[str, ...]]:
    """Fill the gaps of a volume so that its voxels are nearly cubes.

    Args:
        volume: the scan; every slice is kept, uneven gaps stay where they are.
        method: a method's name, or ``auto``.
        max_gap_mm: see :func:`hrinet.pipeline.interpolate`.
        threads: by default all cores.
        progress: called after every slice.

    Returns:
        The filled volume, the method's name, and what the user should know, one sentence each.

    Raises:
        RequestError: if a gap is too wide to be filled, or there is no such method.
    """
    limits = replace(gap_limits(max_gap_mm), remedy=ONLY_MAX_GAP)
    request = Request(grid="originals", limits=limits)
    job = prepare(volume, Options(request=request, method=method, threads=threads))
    array = np.empty(job.geometry.shape, volume.dtype)
    slices = synthesize(job.source, job.plan.slices, job.interpolator, threads=threads, out=array)
    for index, _ in enumerate(slices):
        if progress is not None:
            progress(index + 1, len(array))
    filled = Volume(
        array=array,
        geometry=job.geometry,
        provenance=job.provenance(),
        padding_hu=volume.padding_hu,
        info=volume.info,
    )
    # A mesh has no axes that could be sheared, and there is no such option.
    notes = tuple(note for note in job.notes if "--untilt" not in note)
    return filled, job.interpolator.name, notes
