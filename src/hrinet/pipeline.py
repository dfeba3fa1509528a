"""The main job: source -> plan -> synthesize -> output, in memory or from file to file."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hrinet.errors import RangeExceededError, RunError
from hrinet.io.formats import check_writable, open_scan, open_sink
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import sidecar_path, write_sidecar
from hrinet.io.staging import Staging
from hrinet.job import Job, Options, describe, gap_limits, prepare
from hrinet.plan.plan import Grid, PlannedSlice, Request
from hrinet.synthesize.engine import synthesize
from hrinet.synthesize.registry import AUTO
from hrinet.types import SliceArray, VolumeArray
from hrinet.volume import ObservedSource, SliceSource, Volume

if TYPE_CHECKING:
    from hrinet.report.preview import Preview


def interpolate(
    volume: Volume,
    *,
    spacing: float | Literal["iso"] = "iso",
    factor: int | None = None,
    method: str = AUTO,
    grid: Grid | None = None,
    label: bool = False,
    untilt: bool = False,
    max_gap_mm: float | None = None,
    threads: int | None = None,
) -> Volume:
    """Fill the gaps of a volume.

    Args:
        volume: the input; its slices are kept bit for bit.
        spacing: ``"iso"`` for the pixel spacing, rounded so that originals stay on the grid, or
            the exact distance between output slices, mm.
        factor: divide every gap of usual width into this many intervals instead.
        method: ``"auto"`` or one of :func:`hrinet.synthesize.registry.method_names`.
        grid: ``"originals"`` keeps every original even where that makes the result uneven,
            ``"uniform"`` makes the result even; by default the former, except for a spacing in mm.
        label: the voxels are ids of a segmentation.
        untilt: remove gantry tilt by moving slices in their plane.
        max_gap_mm: fill gaps up to this width; by default up to 25 mm and 5 times the usual one.
        threads: gaps computed at the same time; by default one a core.

    Returns:
        The filled volume, with the provenance of every slice.

    Raises:
        RequestError: if the request cannot be fulfilled.
    """
    request = Request(spacing=spacing, factor=factor, grid=grid, limits=gap_limits(max_gap_mm))
    options = Options(request=request, method=method, label=label, untilt=untilt, threads=threads)
    job = prepare(volume, options)
    array = np.empty(job.geometry.shape, volume.dtype)
    for _ in _run(job, out=array):
        pass
    return Volume(
        array=array,
        geometry=job.geometry,
        provenance=job.provenance(),
        padding_hu=volume.padding_hu,
        info=replace(volume.info, notes=job.notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write.

    Attributes:
        volume: the filled volume.
        preview: a PNG, or None.
        report: a JSON report, or None.
        overwrite: whether existing files may be replaced.
    """

    volume: Path
    preview: Path | None = None
    report: Path | None = None
    overwrite: bool = False


Progress = Callable[[int, int], None]
"""Called after every output slice with (slices done, slices in all)."""


def interpolate_file(
    input_path: str | Path,
    outputs: Outputs,
    options: Options,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Fill the gaps of a scan on disk, streaming.

    Args:
        input_path: see :func:`hrinet.io.formats.open_scan`.
        outputs: the files to write; all of them appear, or none.
        options: what the user wants.
        series: see :func:`hrinet.io.formats.open_scan`.
        limits: bounds on the input.
        progress: called after every slice.
        command: the command line, for the sidecar.

    Returns:
        The report as a JSON object: request, plan, method, notes, timings.

    Raises:
        InputError: if the input is damaged.
        RequestError: if the request cannot be fulfilled.
        RunError: if writing fails.
    """
    check_writable(outputs.volume)
    source = open_scan(input_path, series=series, limits=limits)
    try:
        return _interpolate_scan(source, outputs, options, progress, command)
    except RangeExceededError:
        # Rare: the header promised whole numbers, and one of them does not fit int16.
        return _interpolate_scan(source.widened(), outputs, options, progress, command)


def _interpolate_scan(
    source: SliceSource,
    outputs: Outputs,
    options: Options,
    progress: Progress | None,
    command: str,
) -> dict[str, Any]:
    started = time.perf_counter()
    job = prepare(source, options, needs_uniform=True)
    suffix = check_writable(outputs.volume, job.geometry)
    _check_space(outputs.volume, job.output_bytes, compressed=suffix == ".nii.gz")
    run = describe(job, command=command)
    provenance = job.provenance()
    with Staging(overwrite=outputs.overwrite) as staging:
        sidecar = staging.path(sidecar_path(outputs.volume))
        preview = staging.path(outputs.preview) if outputs.preview else None
        report = staging.path(outputs.report) if outputs.report else None
        sink = open_sink(
            staging.path(outputs.volume),
            suffix=suffix,
            geometry=job.geometry,
            dtype=source.dtype,
            info=source.info,
        )
        picture = _new_preview(job) if preview else None
        try:
            for index, (planned, values) in enumerate(_run(_shown_to(picture, job))):
                sink.write(values)
                if picture is not None:
                    picture.add(
                        values,
                        position_mm=planned.position_mm,
                        is_synthetic=not planned.is_original,
                        flagged=bool(planned.flag),
                    )
                if progress is not None:
                    progress(index + 1, len(provenance))
            sink.close()
        except BaseException:
            sink.abort()
            raise
        if picture is not None and preview is not None:
            picture.save(preview)
        write_sidecar(
            sidecar,
            output=outputs.volume,
            geometry=job.geometry,
            provenance=provenance,
            info=source.info,
            run=run,
        )
        result = {
            **run,
            "output": str(outputs.volume),
            "sidecar": str(sidecar_path(outputs.volume)),
            "preview": str(outputs.preview) if outputs.preview else None,
            "seconds": round(time.perf_counter() - started, 3),
        }
        if report is not None:
            report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _run(job: Job, *, out: VolumeArray | None = None) -> Iterator[tuple[PlannedSlice, SliceArray]]:
    return synthesize(
        job.source,
        job.plan.slices,
        job.interpolator,
        threads=job.options.threads,
        masks_padding=not job.options.label,
        out=out,
    )


def _new_preview(job: Job) -> Preview:
    from hrinet.report.preview import Preview

    geometry = job.geometry
    return Preview(
        geometry=geometry,
        source_geometry=job.source.geometry,
        method=job.interpolator.name,
    )


def _shown_to(picture: Preview | None, job: Job) -> Job:
    """The same job, with the preview looking at every source slice."""
    if picture is None:
        return job
    positions = job.source.geometry.positions_mm

    def show(index: int, values: SliceArray) -> None:
        picture.add_source(values, position_mm=float(positions[index]))

    return replace(job, source=ObservedSource(job.source, show))


def _check_space(output: Path, byte_count: int, *, compressed: bool) -> None:
    """Refuse before the work if the disk cannot hold the result; compressed CT is about half."""
    needed = byte_count // 2 if compressed else byte_count
    try:
        free = shutil.disk_usage(output.parent if output.parent.is_dir() else ".").free
    except OSError:
        return
    if needed > free:
        raise RunError(
            f"{output}: needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on its disk"
        )
