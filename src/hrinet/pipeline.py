"""The main job: source -> plan -> synthesize -> output, in memory or from file to file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrinet.errors import RangeExceededError, RequestError, RunError
from hrinet.geometry import Geometry
from hrinet.io.formats import check_writable, open_scan, open_sink, volume_suffix
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import sidecar_path, write_sidecar
from hrinet.io.staging import Staging
from hrinet.plan.gaps import GapLimits
from hrinet.plan.plan import Grid, Plan, PlannedSlice, Request, make_plan
from hrinet.synthesize.engine import default_threads, synthesize
from hrinet.synthesize.interpolator import Interpolator
from hrinet.synthesize.registry import AUTO, build_interpolator
from hrinet.types import SliceArray, VolumeArray
from hrinet.untilt import Untilted
from hrinet.volume import ObservedSource, Provenance, SliceSource, Volume

_TILT_TOLERANCE_DEG = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        request: which slices.
        method: one of the registry's names; ignored for label maps.
        label: the voxels are ids of a segmentation.
        untilt: remove gantry tilt by moving slices in their plane.
        threads: gaps computed at the same time; by default one a core.
    """

    request: Request = field(default_factory=Request)
    method: str = AUTO
    label: bool = False
    untilt: bool = False
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that is decided on but not yet run.

    Attributes:
        source: the slices, straightened if asked for.
        plan: the output slices.
        geometry: of the output.
        interpolator: the method.
        options: what was asked for.
        notes: everything the user should know, in plain words.
    """

    source: SliceSource
    plan: Plan
    geometry: Geometry
    interpolator: Interpolator
    options: Options
    notes: tuple[str, ...]

    @property
    def output_bytes(self) -> int:
        """Size of the output's voxels, uncompressed."""
        return int(np.prod(self.geometry.shape)) * self.source.dtype.itemsize

    def provenance(self) -> tuple[Provenance, ...]:
        """The records of the output slices."""
        moved = isinstance(self.source, Untilted)
        original_flag = "moved in its plane to remove the gantry tilt" if moved else ""
        source_ids = self.source.source_ids
        return tuple(
            Provenance(source=planned.left, source_id=source_ids[planned.left], flag=original_flag)
            if planned.is_original
            else Provenance(
                method=self.interpolator.name,
                neighbours=(planned.left, planned.left + 1),
                t=planned.t,
                flag=planned.flag,
            )
            for planned in self.plan.slices
        )


def prepare(source: SliceSource, options: Options, *, needs_uniform: bool = False) -> Prepared:
    """Decide what will be done, without touching a pixel.

    Args:
        source: the input.
        options: what the user wants.
        needs_uniform: whether the output's format can only hold evenly spaced slices.

    Raises:
        RequestError: if the request cannot be fulfilled.
    """
    if len(source.geometry) < 2:
        raise RequestError(
            f"{source.info.path or 'the input'}: has a single slice; two are the least between "
            "which anything can be synthesized"
        )
    if options.untilt and source.geometry.tilt_deg > _TILT_TOLERANCE_DEG:
        source = Untilted(source, is_label=options.label)
    geometry = source.geometry
    request = options.request

    def plan_for(request: Request) -> Plan:
        return make_plan(
            geometry.positions_mm.tolist(), request, pixel_spacing_mm=geometry.pixel_spacing
        )

    plan = plan_for(request)
    if needs_uniform and not plan.is_uniform:
        if request.grid == "originals":
            raise RequestError(
                "keeping every original of this unevenly spaced scan gives uneven slices, which "
                "the output format cannot hold; use --grid uniform"
            )
        plan = plan_for(replace(request, grid="uniform"))
    if options.label:
        from hrinet.synthesize.labels import Labels

        interpolator: Interpolator = Labels()
    else:
        interpolator = build_interpolator(options.method)
    return Prepared(
        source=source,
        plan=plan,
        geometry=geometry.at_positions([planned.position_mm for planned in plan.slices]),
        interpolator=interpolator,
        options=options,
        notes=(*source.info.notes, *_tilt_notes(source), *plan.notes),
    )


def _tilt_notes(source: SliceSource) -> list[str]:
    """What becomes of a gantry tilt."""
    if isinstance(source, Untilted):
        return ["slices were moved in their plane to straighten the stack, originals included"]
    tilt = source.geometry.tilt_deg
    if tilt <= _TILT_TOLERANCE_DEG:
        return []
    return [
        f"slices keep their tilt of {tilt:.2f} degrees and the affine is sheared accordingly, "
        "which many viewers ignore; --untilt straightens the stack"
    ]


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


def parse_grid(text: str | None) -> Grid | None:
    """One of the names of :data:`hrinet.plan.plan.Grid`, or None.

    Raises:
        RequestError: if there is no such grid.
    """
    if text is None or text == "originals" or text == "uniform":
        return text  # type: ignore[return-value]
    raise RequestError(f"--grid is {text!r}, expected originals or uniform")


def gap_limits(max_gap_mm: float | None) -> GapLimits:
    """The default limits, or no refusal below a width of one's own."""
    if max_gap_mm is None:
        return GapLimits()
    if not max_gap_mm > 0:
        raise RequestError(f"--max-gap must be a positive number of mm, got {max_gap_mm}")
    return GapLimits(refuse_mm=max_gap_mm, refuse_ratio=float("inf"))


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
            import json

            report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _run(
    job: Prepared, *, out: VolumeArray | None = None
) -> Iterator[tuple[PlannedSlice, SliceArray]]:
    return synthesize(
        job.source,
        job.plan.slices,
        job.interpolator,
        threads=job.options.threads,
        masks_padding=not job.options.label,
        out=out,
    )


def _new_preview(job: Prepared) -> Any:
    from hrinet.report.preview import Preview

    geometry = job.geometry
    return Preview(
        geometry=geometry,
        source_geometry=job.source.geometry,
        method=job.interpolator.name,
    )


def _shown_to(picture: Any, job: Prepared) -> Prepared:
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


def describe(job: Prepared, *, command: str = "") -> dict[str, Any]:
    """The job as a JSON object: what goes in, what comes out, how."""
    geometry, source, plan = job.geometry, job.source.geometry, job.plan
    request = job.options.request
    return {
        "command": command,
        "method": job.interpolator.name,
        "engine": "cpu",
        "precision": "f32",
        "threads": job.options.threads or default_threads(),
        "request": {
            "spacing": request.spacing if request.factor is None else None,
            "factor": request.factor,
            "grid": request.grid,
            "range": [request.start, request.stop],
            "untilt": job.options.untilt,
            "label": job.options.label,
        },
        "input": {
            "slices": len(source),
            "spacing_mm": round(source.spacing_mm, 6),
            "pixel_spacing_mm": list(source.pixel_spacing),
            "slice_thickness_mm": source.slice_thickness,
        },
        "plan": {
            "slices": len(plan.slices),
            "original": len(plan.slices) - plan.synthetic_count,
            "synthetic": plan.synthetic_count,
            "flagged": sum(bool(planned.flag) for planned in plan.slices),
            "spacing_mm": round(plan.spacing_mm, 6),
            "is_uniform": plan.is_uniform,
            "position_error_mm": round(plan.position_error_mm, 6),
            "dropped_originals": list(plan.dropped_originals),
            "rows": geometry.rows,
            "columns": geometry.columns,
        },
        "notes": list(job.notes),
        "alternatives": list(job.source.info.alternatives),
    }


__all__ = [
    "Options",
    "Outputs",
    "Prepared",
    "describe",
    "interpolate",
    "interpolate_file",
    "prepare",
    "volume_suffix",
]
