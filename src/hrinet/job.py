"""What will be done with a source: decided before a pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.plan.gaps import GapLimits
from hrinet.plan.plan import Grid, Plan, Request, make_plan
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.interpolator import Interpolator
from hrinet.synthesize.registry import AUTO, build_interpolator
from hrinet.untilt import Untilted
from hrinet.volume import Provenance, SliceSource

_TILT_TOLERANCE_DEG = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        request: which slices.
        method: one of the registry's names; label maps have their own, so ``auto`` there.
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
class Job:
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


def prepare(source: SliceSource, options: Options, *, needs_uniform: bool = False) -> Job:
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
        if options.method != AUTO:
            raise RequestError(
                f"label maps have a method of their own; leave out --method {options.method}"
            )
        from hrinet.synthesize.labels import Labels

        interpolator: Interpolator = Labels()
    else:
        interpolator = build_interpolator(options.method)
    return Job(
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


def describe(job: Job, *, command: str = "") -> dict[str, Any]:
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
