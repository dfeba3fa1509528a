"""Streaming synthesis: source slices in, planned slices out, a gap at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

from hrinet.plan.plan import PlannedSlice
from hrinet.rounding import store
from hrinet.synthesize.interpolator import Gap, Interpolator
from hrinet.types import SliceArray, VolumeArray
from hrinet.volume import SliceSource

_AIR_HU = -1024.0
_CONTEXT = 1
"""Slices beyond each side of the gap that an interpolator sees."""


def default_threads() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Job:
    """Consecutive output slices at or after one source slice."""

    left: int
    first: int
    planned: tuple[PlannedSlice, ...]

    def needs(self, count: int) -> range:
        if all(planned.is_original for planned in self.planned):
            return range(self.left, self.left + 1)
        return range(max(self.left - _CONTEXT, 0), min(self.left + 1 + _CONTEXT, count - 1) + 1)


def synthesize(
    source: SliceSource,
    planned: Sequence[PlannedSlice],
    interpolator: Interpolator,
    *,
    threads: int | None = None,
    masks_padding: bool = True,
    out: VolumeArray | None = None,
) -> Iterator[tuple[PlannedSlice, SliceArray]]:
    """Yield the planned slices in order.

    Originals are handed through untouched. Gaps are computed in parallel, ``threads + 1`` ahead at
    the most, so that memory holds about ``(threads + 1) * (slices a gap + 1) + 4`` slices however
    many there are in all.

    Args:
        source: where the original slices come from.
        planned: the output slices, in order.
        interpolator: the method.
        threads: gaps computed at the same time; by default one a core.
        masks_padding: keep voxels outside the field of view (``source.padding_hu``) from bleeding
            into their surroundings; off for label maps.
        out: where to put the slices, shape (planned slice, row, column), of ``source.dtype``; by
            default every slice gets memory of its own.

    Yields:
        The planned slice and its values, shape (row, column), of ``source.dtype``.

    Raises:
        InputError: if a source slice cannot be decoded.
        RangeExceededError: if a source slice does not fit ``source.dtype``.
    """
    threads = threads or default_threads()
    jobs = _jobs(planned)
    padding = source.padding_hu if masks_padding else None
    readers = ThreadPoolExecutor(1 if source.is_sequential else threads, "hrinet-read")
    workers = ThreadPoolExecutor(threads, "hrinet-synthesize")
    slices: dict[int, Future[SliceArray]] = {}
    running: deque[tuple[_Job, Future[Sequence[SliceArray]]]] = deque()
    todo = deque(jobs)
    with _single_threaded_opencv():
        try:
            while todo or running:
                while todo and len(running) <= threads:
                    job = todo.popleft()
                    indices = job.needs(len(source.geometry))
                    for index in indices:
                        if index not in slices:
                            slices[index] = readers.submit(source.read_slice, index)
                    inputs = {index: slices[index] for index in indices}
                    places = None if out is None else out[job.first : job.first + len(job.planned)]
                    future = workers.submit(
                        _compute, job, inputs, source, interpolator, padding, places
                    )
                    running.append((job, future))
                    _forget(slices, todo, len(source.geometry))
                job, future = running.popleft()
                yield from zip(job.planned, future.result(), strict=True)
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
            workers.shutdown(wait=True, cancel_futures=True)


def _jobs(planned: Sequence[PlannedSlice]) -> list[_Job]:
    jobs: list[_Job] = []
    first = 0
    for left, group in groupby(planned, key=lambda entry: entry.left):
        members = tuple(group)
        jobs.append(_Job(left, first, members))
        first += len(members)
    return jobs


def slices_in_memory(planned: Sequence[PlannedSlice], *, threads: int) -> int:
    """Most slices that :func:`synthesize` holds at a time: a bound for estimates."""
    largest = max((len(list(group)) for _, group in groupby(planned, lambda s: s.left)), default=0)
    return (threads + 1) * (largest + 1) + 2 * _CONTEXT + 2


def _forget(slices: dict[int, Future[SliceArray]], todo: deque[_Job], count: int) -> None:
    """Drop slices that no job to come needs; running jobs keep their own references."""
    first_needed = todo[0].needs(count).start - _CONTEXT if todo else count
    for index in [index for index in slices if index < first_needed]:
        del slices[index]


def _compute(
    job: _Job,
    inputs: dict[int, Future[SliceArray]],
    source: SliceSource,
    interpolator: Interpolator,
    padding: float | None,
    places: VolumeArray | None,
) -> Sequence[SliceArray]:
    """Fill ``places`` (or new arrays) with the slices of one job."""
    arrays = {index: future.result() for index, future in inputs.items()}
    if places is None and all(planned.is_original for planned in job.planned):
        return [arrays[job.left]] * len(job.planned)
    outputs = (
        list(places)
        if places is not None
        else [np.empty(arrays[job.left].shape, source.dtype) for _ in job.planned]
    )
    seen = arrays
    masks = {}
    if padding is not None:
        masks = {index: arrays[index] == padding for index in inputs}
        seen = {index: _without_padding(values, padding) for index, values in arrays.items()}
    geometry = source.geometry
    synthetic = [planned.t for planned in job.planned if not planned.is_original]
    gap = Gap(
        slices=tuple(seen.values()),
        positions_mm=tuple(float(geometry.positions_mm[index]) for index in arrays),
        left=job.left - next(iter(arrays)),
        pixel_spacing_mm=geometry.pixel_spacing,
        slice_thickness_mm=geometry.slice_thickness,
    )
    results = interpolator.synthesize(gap, synthetic) if synthetic else iter(())
    for planned, output in zip(job.planned, outputs, strict=True):
        if planned.is_original:
            output[...] = arrays[job.left]
            continue
        store(next(results), output)
        if masks:
            # Outside the field of view on the nearer side means outside here.
            nearer = job.left if planned.t <= 0.5 else job.left + 1
            output[masks[nearer]] = padding
    return outputs


def _without_padding(values: SliceArray, padding: float) -> SliceArray:
    mask = values == padding
    if not mask.any():
        return values
    return np.where(mask, values.dtype.type(_AIR_HU), values)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keep OpenCV from starting a second set of threads under the gap-parallel ones."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
