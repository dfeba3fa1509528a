"""Streaming synthesis: source slices in, planned slices out, a gap at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

from hrinet.plan.plan import PlannedSlice
from hrinet.rounding import store
from hrinet.synthesize.interpolator import Estimating, Gap, Interpolator, Multithreaded
from hrinet.synthesize.padding import seen_by_neighbours
from hrinet.synthesize.synthesized import NO_ERROR, ErrorMaps, Synthesized, mean_error
from hrinet.synthesize.trial import prove
from hrinet.types import SliceArray, VolumeArray
from hrinet.volume import SliceSource

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
    wants_maps: bool = False,
    out: VolumeArray | None = None,
) -> Iterator[Synthesized]:
    """Yield the planned slices in order.

    Originals are handed through untouched. With G gaps computed in parallel, one a core unless the
    interpolator wishes otherwise, G + 1 are ahead at the most, so that memory holds about
    ``(G + 1) * (slices a gap + 1) + 4`` slices however many there are in all. Error maps, if
    wanted, are held in addition: two float32 planes for every synthetic slice among them.

    Args:
        source: where the original slices come from.
        planned: the output slices, in order.
        interpolator: the method.
        threads: cores to use; by default all.
        masks_padding: keep voxels outside the field of view (``source.padding_hu``) from bleeding
            into their surroundings; off for label maps.
        wants_maps: hand the error over voxel by voxel if the interpolator estimates it; by default
            only its mean over each slice.
        out: where to put the slices, shape (planned slice, row, column), of ``source.dtype``; by
            default every slice gets memory of its own.

    Yields:
        The planned slice, its values and their estimated error, which is zero in originals and
        where padding was put back.

    Raises:
        InputError: if a source slice cannot be decoded.
        RangeExceededError: if a source slice does not fit ``source.dtype``.
    """
    threads = threads or default_threads()
    jobs = _jobs(planned)
    to_fill = sum(any(not entry.is_original for entry in job.planned) for job in jobs)
    gaps = min(gaps_at_once(interpolator, threads), max(1, to_fill))
    padding = source.padding_hu if masks_padding else None
    readers = ThreadPoolExecutor(1 if source.is_sequential else threads, "hrinet-read")
    workers = ThreadPoolExecutor(gaps, "hrinet-synthesize")
    slices: dict[int, Future[SliceArray]] = {}
    running: deque[Future[Sequence[Synthesized]]] = deque()
    todo = deque(jobs)
    with _single_threaded_opencv(), _ready(interpolator, gaps, threads) as ready:
        try:
            if any(not entry.is_original for entry in planned):
                prove(ready, source, padding=padding)
            while todo or running:
                while todo and len(running) <= gaps:
                    job = todo.popleft()
                    indices = job.needs(len(source.geometry))
                    for index in indices:
                        if index not in slices:
                            slices[index] = readers.submit(source.read_slice, index)
                    inputs = {index: slices[index] for index in indices}
                    places = None if out is None else out[job.first : job.first + len(job.planned)]
                    task = _Task(job, inputs, source, ready, padding, places, wants_maps)
                    running.append(workers.submit(task.run))
                    _forget(slices, todo, len(source.geometry))
                yield from running.popleft().result()
        finally:
            readers.shutdown(wait=True, cancel_futures=True)
            workers.shutdown(wait=True, cancel_futures=True)


def gaps_at_once(interpolator: Interpolator, threads: int) -> int:
    """Number of gaps that :func:`synthesize` computes at the same time with so many cores."""
    if isinstance(interpolator, Multithreaded):
        return min(max(1, interpolator.gaps_at_once(threads)), threads)
    return threads


def _ready(
    interpolator: Interpolator, gaps: int, threads: int
) -> AbstractContextManager[Interpolator]:
    """The interpolator, prepared for one job of so many gaps at a time on so many cores in all."""
    if isinstance(interpolator, Multithreaded):
        return interpolator.using(gaps=gaps, threads=max(1, threads // gaps))
    return nullcontext(interpolator)


def _jobs(planned: Sequence[PlannedSlice]) -> list[_Job]:
    jobs: list[_Job] = []
    first = 0
    for left, group in groupby(planned, key=lambda entry: entry.left):
        members = tuple(group)
        jobs.append(_Job(left, first, members))
        first += len(members)
    return jobs


def slices_in_memory(planned: Sequence[PlannedSlice], *, gaps: int) -> int:
    """Most slices that :func:`synthesize` holds at a time: a bound for estimates.

    Args:
        planned: the output slices.
        gaps: computed at the same time; see :func:`gaps_at_once`.
    """
    largest = max((len(list(group)) for _, group in groupby(planned, lambda s: s.left)), default=0)
    return (gaps + 1) * (largest + 1) + 2 * _CONTEXT + 2


def _forget(slices: dict[int, Future[SliceArray]], todo: deque[_Job], count: int) -> None:
    """Drop slices that no job to come needs; running jobs keep their own references."""
    first_needed = todo[0].needs(count).start - _CONTEXT if todo else count
    for index in [index for index in slices if index < first_needed]:
        del slices[index]


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One job with all that it takes."""

    job: _Job
    inputs: dict[int, Future[SliceArray]]
    source: SliceSource
    interpolator: Interpolator
    padding: float | None
    places: VolumeArray | None
    wants_maps: bool

    def run(self) -> Sequence[Synthesized]:
        """Fill ``places`` (or new arrays) with the slices."""
        job, padding = self.job, self.padding
        arrays = {index: future.result() for index, future in self.inputs.items()}
        original = arrays[job.left]
        if self.places is None and all(planned.is_original for planned in job.planned):
            return [self._original(planned, original) for planned in job.planned]
        outputs = (
            list(self.places)
            if self.places is not None
            else [np.empty(original.shape, self.source.dtype) for _ in job.planned]
        )
        masks = {}
        if padding is not None:
            inner = [index for index in (job.left, job.left + 1) if index in arrays]
            masks = {index: arrays[index] == padding for index in inner}
        results = self._results(arrays)
        made = []
        for planned, output in zip(job.planned, outputs, strict=True):
            if planned.is_original:
                output[...] = original
                made.append(self._original(planned, output))
                continue
            values, maps = next(results)
            store(values, output)
            if masks:
                # Outside the field of view on the nearer side means outside here.
                outside = masks[job.left if planned.t <= 0.5 else job.left + 1]
                output[outside] = padding
                for one in maps or ():
                    one[outside] = 0.0
            made.append(self._synthetic(planned, output, maps))
        return made

    def _results(
        self, arrays: dict[int, SliceArray]
    ) -> Iterator[tuple[SliceArray, ErrorMaps | None]]:
        """What the interpolator makes of the slices, with error maps of one's own."""
        job, geometry = self.job, self.source.geometry
        t = [planned.t for planned in job.planned if not planned.is_original]
        if not t:
            return
        left = job.left - next(iter(arrays))
        gap = Gap(
            slices=tuple(seen_by_neighbours(list(arrays.values()), left, self.padding)),
            positions_mm=tuple(float(geometry.positions_mm[index]) for index in arrays),
            left=left,
            pixel_spacing_mm=geometry.pixel_spacing,
            slice_thickness_mm=geometry.slice_thickness,
        )
        if isinstance(self.interpolator, Estimating):
            for values, *maps in self.interpolator.synthesize_with_error(gap, t):
                yield values, ErrorMaps(*(np.array(one, np.float32) for one in maps))
        else:
            for values in self.interpolator.synthesize(gap, t):
                yield values, None

    def _original(self, planned: PlannedSlice, values: SliceArray) -> Synthesized:
        if not isinstance(self.interpolator, Estimating):
            return Synthesized(planned, values)
        nothing = np.broadcast_to(np.float32(0), values.shape)  # Takes no memory.
        maps = ErrorMaps(nothing, nothing) if self.wants_maps else None
        return Synthesized(planned, values, NO_ERROR, maps)

    def _synthetic(
        self, planned: PlannedSlice, values: SliceArray, maps: ErrorMaps | None
    ) -> Synthesized:
        if maps is None:
            return Synthesized(planned, values)
        error = mean_error(values, maps)
        return Synthesized(planned, values, error, maps if self.wants_maps else None)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keep OpenCV from starting a second set of threads under the gap-parallel ones."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
