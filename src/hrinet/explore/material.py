"""The slices that the figures show, from a scan or from the cache of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrinet.errors import InputError, RangeExceededError, RequestError
from hrinet.io.formats import open_scan
from hrinet.measured import refuse_synthetic
from hrinet.plan.gaps import GapLimits, inspect_gaps
from hrinet.train import UnitArray, Window, prepare_slice
from hrinet.train.cache import Cache, CachedVolume

RUN_LENGTH = 7
"""Slices of a strip, the two given ones included (thesis 3.3.2.4)."""

REFERENCES = 64
"""Slices that stand for the distribution of encodings, at most."""

_CORNERS = (1, 3, 5, 7)
"""Eighths of the way through a scan."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """Consecutive slices of one scan.

    Attributes:
        images: shape (n, size, size), [0, 1].
        positions_mm: along the normal, shape (n,), mm.
        before: the slice as far before the run as the run is long, or None.
        after: the slice as far behind it, or None.
        before_mm: position of ``before``, mm.
        after_mm: position of ``after``, mm.
        pixel_spacing_mm: of the images, mm.
        label: which slices these are.
    """

    images: UnitArray
    positions_mm: tuple[float, ...]
    before: UnitArray | None
    after: UnitArray | None
    before_mm: float
    after_mm: float
    pixel_spacing_mm: tuple[float, float]
    label: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """Everything that the figures of one input need.

    Attributes:
        corners: four slices that have nothing to do with each other, shape (4, size, size),
            [0, 1]; fewer if the input has fewer.
        corner_labels: which slices these are.
        reference: slices spread over the input, shape (n, size, size), [0, 1].
        subject: the slice whose feature maps are shown, shape (size, size), [0, 1].
        subject_label: which slice it is.
        run: consecutive slices around it, or None if the scan has no three in a row.
        window: HU that became 0 and 1.
    """

    corners: UnitArray
    corner_labels: tuple[str, ...]
    reference: UnitArray
    subject: UnitArray
    subject_label: str
    run: Run | None
    window: Window


def open_material(path: Path, *, size: int, window: Window, at: int | None = None) -> Material:
    """Read what the figures need, and no more, from a scan or a cache.

    Args:
        path: of a scan (see :func:`hrinet.io.formats.open_scan`) or a folder with a cache, whose
            validation scans are taken if it has any.
        size: side of the images made of a scan, pixels; a cache keeps its own.
        window: HU that become 0 and 1.
        at: index of the slice to show in the (first) scan; the middle one if None.

    Raises:
        InputError: if the input cannot be read.
        RequestError: if there is no slice ``at``, the cache has another window, or the scan holds
            synthetic slices.
    """
    if (path / "index.json").is_file():
        return _of_cache(Cache.open(path), window=window, at=at)
    source = open_scan(path)
    refuse_synthetic(source)  # a strip would show what a network made as what a scanner measured
    positions = tuple(float(position) for position in source.geometry.positions_mm)
    places = _places(len(positions), frozenset(inspect_gaps(positions, GapLimits()).flags), at=at)

    def read() -> dict[int, UnitArray]:
        # In rising order, for a compressed stream cannot be read backwards.
        return {
            index: prepare_slice(
                source.read_slice(index), size=size, window=window, padding_hu=source.padding_hu
            )
            for index in places.all_of_them()
        }

    try:
        images = read()
    except RangeExceededError:
        source = source.widened()
        images = read()
    rows, columns = source.geometry.rows, source.geometry.columns
    factor = max(rows, columns) / size
    row_mm, column_mm = source.geometry.pixel_spacing
    return Material(
        corners=np.stack([images[index] for index in places.corners]),
        corner_labels=tuple(f"slice {index}" for index in places.corners),
        reference=np.stack([images[index] for index in places.reference]),
        subject=images[places.subject],
        subject_label=f"slice {places.subject}",
        run=_run_of(images, places, positions, (row_mm * factor, column_mm * factor)),
        window=window,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Indices into one scan."""

    corners: tuple[int, ...]
    reference: tuple[int, ...]
    subject: int
    run: range
    before: int | None
    after: int | None

    def all_of_them(self) -> list[int]:
        extra = (self.subject, self.before, self.after)
        wanted = {*self.corners, *self.reference, *self.run, *extra}
        return sorted(index for index in wanted if index is not None)


def _places(count: int, flagged: frozenset[int], *, at: int | None) -> _Places:
    if at is not None and not 0 <= at < count:
        raise RequestError(f"--slice is {at}; the scan has slices 0 to {count - 1}")
    subject = count // 2 if at is None else at
    run = _run_around(subject, count, flagged)
    step = len(run) - 1
    before, after = run.start - step, run.stop - 1 + step
    return _Places(
        corners=tuple(dict.fromkeys(count * eighth // 8 for eighth in _CORNERS)),
        reference=_spread(count, REFERENCES),
        subject=subject,
        run=run,
        before=before if step > 0 and before >= 0 else None,
        after=after if step > 0 and after < count else None,
    )


def _run_around(subject: int, count: int, flagged: frozenset[int]) -> range:
    """The run nearest to a slice that has no flagged gap; empty if there is none of three."""
    for length in range(min(RUN_LENGTH, count), 2, -1):
        starts = range(count - length + 1)
        whole = [s for s in starts if not flagged & set(range(s, s + length - 1))]
        if whole:
            start = min(whole, key=lambda s: abs(s + length // 2 - subject))
            return range(start, start + length)
    return range(0)


def _spread(count: int, most: int) -> tuple[int, ...]:
    number = min(count, most)
    return tuple((2 * k + 1) * count // (2 * number) for k in range(number))


def _run_of(
    images: dict[int, UnitArray],
    places: _Places,
    positions: Sequence[float],
    pixel_spacing_mm: tuple[float, float],
    *,
    name: str = "",
) -> Run | None:
    run = places.run
    if not run:
        return None
    before, after = places.before, places.after
    return Run(
        images=np.stack([images[index] for index in run]),
        positions_mm=tuple(positions[index] for index in run),
        before=None if before is None else images[before],
        after=None if after is None else images[after],
        before_mm=0.0 if before is None else positions[before],
        after_mm=0.0 if after is None else positions[after],
        pixel_spacing_mm=pixel_spacing_mm,
        label=f"{name}slices {run.start} to {run.stop - 1}",
    )


def _of_cache(cache: Cache, *, window: Window, at: int | None) -> Material:
    if cache.window != window:
        raise RequestError(
            f"{cache.folder}: was made with the window {cache.window} HU, but the weights were "
            f"trained with {window}; give a scan, or a cache with the same window"
        )
    volumes = cache.of_split("validation") or cache.volumes
    if not volumes:
        raise InputError(f"{cache.folder}: holds no scan")
    first = volumes[0]
    places = _places(first.slices, frozenset(first.flagged_gaps), at=at)
    indices = places.all_of_them()
    images = dict(zip(indices, cache.slices(first, indices), strict=True))
    corners, labels = [], []
    # Of as many scans as there are, and from another height of each.
    for number, eighth in enumerate(_CORNERS):
        volume = volumes[number % len(volumes)]
        index = volume.slices * eighth // 8
        label = f"{_name(volume)} slice {index}"
        if label not in labels:
            corners.append(cache.slices(volume, [index])[0])
            labels.append(label)
    share = -(-REFERENCES // len(volumes))
    reference = [cache.slices(v, _spread(v.slices, share)) for v in volumes[:REFERENCES]]
    factor = max(first.rows, first.columns) / cache.size
    row_mm, column_mm = first.pixel_spacing_mm
    spacing = (row_mm * factor, column_mm * factor)
    name = f"{_name(first)} "
    return Material(
        corners=np.stack(corners),
        corner_labels=tuple(labels),
        reference=np.concatenate(reference),
        subject=images[places.subject],
        subject_label=f"{name}slice {places.subject}",
        run=_run_of(images, places, first.positions_mm, spacing, name=name),
        window=window,
    )


def _name(volume: CachedVolume) -> str:
    return Path(volume.path).name
