"""The main job: source -> plan -> synthesize -> output, in memory or from file to file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hrinet.errors import RangeExceededError
from hrinet.io.formats import (
    check_writable,
    is_dicom_output,
    is_folder,
    open_scan,
    open_sink,
    stage,
)
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import sidecar_path, write_sidecar
from hrinet.io.sink import VolumeSink, finishing
from hrinet.io.staging import Staging
from hrinet.job import (
    Job,
    Options,
    gap_limits,
    prepare,
)
from hrinet.measured import refuse_synthetic
from hrinet.outputs import Outputs, check_outputs, check_space
from hrinet.plan.plan import Grid, Request
from hrinet.report.description import describe, describe_errors
from hrinet.synthesize.engine import synthesize
from hrinet.synthesize.registry import AUTO, Device, Precision, Quality
from hrinet.synthesize.synthesized import SliceError, Synthesized
from hrinet.types import FLOAT32, SliceArray, VolumeArray
from hrinet.volume import ObservedSource, Provenance, SliceSource, Uncertainty, Volume

if TYPE_CHECKING:
    from hrinet.io.dicom.derive.series import DerivedSeries, Quantity
    from hrinet.report.preview import Preview


def interpolate(
    volume: Volume,
    *,
    spacing: float | Literal["iso"] = "iso",
    factor: int | None = None,
    method: str = AUTO,
    weights: Path | None = None,
    grid: Grid | None = None,
    label: bool = False,
    untilt: bool = False,
    max_gap_mm: float | None = None,
    uncertainty: bool = False,
    precision: Precision = "auto",
    quality: Quality = "standard",
    device: Device = "cpu",
    threads: int | None = None,
    thickness_mm: float | None = None,
) -> Volume:
    """Fill the gaps of a volume.

    Args:
        volume: the input; its slices are kept bit for bit.
        spacing: ``"iso"`` for the pixel spacing, rounded so that originals stay on the grid, or
            the exact distance between output slices, mm.
        factor: divide every gap of usual width into this many intervals instead.
        method: ``"auto"`` or one of :func:`hrinet.synthesize.registry.method_names`.
        weights: ``weights.safetensors`` of a generator that one trained oneself, in place of a
            method that is installed; the JSON that came with it lies beside it.
        grid: ``"originals"`` keeps every original even where that makes the result uneven,
            ``"uniform"`` makes the result even; by default the former, except for a spacing in mm.
        label: the voxels are ids of a segmentation.
        untilt: remove gantry tilt by moving slices in their plane.
        max_gap_mm: fill gaps up to this width; by default up to 25 mm and 5 times the usual one.
        uncertainty: estimate how far each voxel can be trusted, for :attr:`Volume.uncertainty`;
            needs a method that estimates its error, and memory for two float32 volumes more.
        precision: of a network's arithmetic.
        quality: how much work a slice is worth; ``"best"`` takes 3 to 8 times as long and errs
            a little less.
        device: what runs a network; other than the CPU needs PyTorch.
        threads: cores to use; by default all.
        thickness_mm: of the slices, where the volume does not tell it or is wrong, mm.

    Returns:
        The filled volume, with the provenance of every slice.

    Raises:
        RequestError: if the request cannot be fulfilled, or the volume holds synthetic slices.
        InputError: if weights are damaged.
    """
    request = Request(spacing=spacing, factor=factor, grid=grid, limits=gap_limits(max_gap_mm))
    options = Options(
        request=request,
        method=method,
        weights=weights,
        label=label,
        untilt=untilt,
        threads=threads,
        precision=precision,
        quality=quality,
        device=device,
        thickness_mm=thickness_mm,
    )
    refuse_synthetic(volume)
    job = prepare(volume, options, needs_estimate=uncertainty)
    array = np.empty(job.geometry.shape, volume.dtype)
    maps = tuple(np.empty(array.shape, np.float32) for _ in range(2)) if uncertainty else ()
    errors = []
    for index, made in enumerate(_run(job, wants_maps=uncertainty, out=array)):
        errors.append(made.error)
        for stack, one in zip(maps, made.maps or (), strict=True):
            stack[index] = one
    return Volume(
        array=array,
        geometry=job.geometry,
        provenance=job.provenance(errors),
        padding_hu=volume.padding_hu,
        info=replace(volume.info, notes=job.notes),
        uncertainty=Uncertainty(*maps) if uncertainty else None,
    )


__all__ = ["Outputs", "Progress", "interpolate", "interpolate_file"]

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
        RequestError: if the request cannot be fulfilled, an output would replace an input, or the
            input holds synthetic slices.
        RunError: if writing fails.
    """
    check_outputs(Path(input_path), outputs, options)
    source = open_scan(input_path, series=series, limits=limits)
    refuse_synthetic(source)
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
    job = prepare(
        source,
        options,
        needs_uniform=not all(map(is_dicom_output, (outputs.volume, *outputs.maps))),
        needs_estimate=outputs.uncertainty is not None,
    )
    check_space(outputs, job)
    series = _plan_dicom(job, outputs)
    with Staging(overwrite=outputs.overwrite) as staging:
        if not is_folder(outputs.volume):
            # It is published last, but a refusal should name what the user named.
            staging.check(outputs.volume)
        sidecar = staging.path(sidecar_path(outputs.volume))
        preview = staging.path(outputs.preview) if outputs.preview else None
        report = staging.path(outputs.report) if outputs.report else None
        staged = {path: stage(staging, path) for path in (*outputs.maps, outputs.volume)}
        picture = _new_preview(job) if preview else None
        errors, remarks = _write_volumes(job, outputs, series, staged, picture, progress)
        if picture is not None and preview is not None:
            picture.save(preview)
        provenance = job.provenance(errors)
        run = describe(job, command=command) | _uncertainty_of(provenance, outputs)
        run["notes"] += remarks
        if outputs.volume in series:
            run["plan"]["position_error_mm"] = 0.0  # Every image has a place of its own.
        write_sidecar(
            sidecar,
            output=outputs.volume,
            geometry=job.geometry,
            provenance=provenance,
            info=source.info,
            run=run,
            series=series.get(outputs.volume),
        )
        expected, half_width = outputs.maps or (None, None)
        result = {
            **run,
            "output": str(outputs.volume),
            "sidecar": str(sidecar_path(outputs.volume)),
            "preview": str(outputs.preview) if outputs.preview else None,
            "expected_error": str(expected) if expected else None,
            "half_width_90": str(half_width) if half_width else None,
            "seconds": round(time.perf_counter() - started, 3),
        }
        if report is not None:
            report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _write_volumes(
    job: Job,
    outputs: Outputs,
    series: Mapping[Path, DerivedSeries],
    staged: Mapping[Path, Path],
    picture: Preview | None,
    progress: Progress | None,
) -> tuple[list[SliceError | None], list[str]]:
    """Run the job into its volume files.

    Returns:
        The estimated error of every slice, and what the user should know about the writing.
    """
    sinks = []

    def opened(path: Path, dtype: np.dtype[Any]) -> VolumeSink:
        sink = open_sink(
            staged[path],
            suffix=check_writable(path, job.geometry),
            geometry=job.geometry,
            dtype=dtype,
            info=job.source.info,
            series=series.get(path),
            name=path.stem,
            subject=str(path),
        )
        sinks.append(sink)
        return stack.enter_context(finishing(sink))

    errors = []
    with ExitStack() as stack:
        volume = opened(outputs.volume, job.source.dtype)
        map_sinks = [opened(path, FLOAT32) for path in outputs.maps]
        results = _run(_shown_to(picture, job), wants_maps=bool(map_sinks))
        for index, made in enumerate(results):
            volume.write(made.values)
            for sink, one in zip(map_sinks, made.maps or (), strict=True):
                sink.write(one)
            errors.append(made.error)
            if picture is not None:
                picture.add(
                    made.values,
                    position_mm=made.planned.position_mm,
                    is_synthetic=not made.planned.is_original,
                    flagged=bool(made.planned.flag),
                )
            if progress is not None:
                progress(index + 1, len(job.plan.slices))
    notes = (note for sink in sinks for note in getattr(sink, "notes", ()))
    return errors, list(dict.fromkeys(notes))


def _plan_dicom(job: Job, outputs: Outputs) -> dict[Path, DerivedSeries]:
    """The derived series by the path that it goes to, for those outputs that are DICOM."""
    from hrinet.io.dicom.derive.plan import plan_job

    quantities: dict[Path, Quantity] = {outputs.volume: "image"}
    quantities |= zip(outputs.maps, ("expected_error", "half_width_90"), strict=False)
    return {
        path: plan_job(job, outputs.dicom, quantity=quantity)
        for path, quantity in quantities.items()
        if is_dicom_output(path)
    }


def _uncertainty_of(provenance: tuple[Provenance, ...], outputs: Outputs) -> dict[str, Any]:
    """The part of the description that is known only after the run."""
    described = describe_errors(provenance)
    if described and outputs.maps:
        expected, half_width = outputs.maps
        described |= {"expected_error_file": expected.name, "half_width_90_file": half_width.name}
    return {"uncertainty": described} if described else {}


def _run(
    job: Job, *, wants_maps: bool = False, out: VolumeArray | None = None
) -> Iterator[Synthesized]:
    return synthesize(
        job.source,
        job.plan.slices,
        job.interpolator,
        threads=job.options.threads,
        masks_padding=not job.options.label,
        wants_maps=wants_maps,
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
    """The same job, with the preview looking at every source slice of the range."""
    if picture is None:
        return job
    positions = job.source.geometry.positions_mm
    used = job.used

    def show(index: int, values: SliceArray) -> None:
        if index in used:  # Its neighbours are read for what they show of the slices beside them.
            picture.add_source(values, position_mm=float(positions[index]))

    return replace(job, source=ObservedSource(job.source, show))
