"""What will be done with a source: decided before a pixel is touched."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.plan.gaps import GapLimits
from hrinet.plan.plan import Grid, Plan, Request, make_plan
from hrinet.synthesize.interpolator import Cautious, Estimating, Interpolator
from hrinet.synthesize.registry import (
    AUTO,
    Choices,
    Device,
    Precision,
    Quality,
    build_interpolator,
    second_best,
)
from hrinet.synthesize.synthesized import SliceError
from hrinet.thickness import Restated
from hrinet.untilt import Untilted
from hrinet.volume import Provenance, SliceSource

_TILT_TOLERANCE_DEG = 0.05

_SAME_THICKNESS = 0.01
"""Relative difference that is nothing but rounding."""

_ESTIMATING_METHOD = "hrinet-flow"
"""What to choose for an estimate of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        request: which slices.
        method: one of the registry's names; label maps have their own, so ``auto`` there.
        weights: of a generator that one trained oneself, in place of a method that is installed.
        label: the voxels are ids of a segmentation.
        untilt: remove gantry tilt by moving slices in their plane.
        threads: cores to use; by default all.
        precision: of a network's arithmetic; the other methods have one only.
        quality: how much work a slice is worth, where the method leaves a choice.
        device: what runs a network; the other methods know the CPU only.
        thickness_mm: of the slices, where the input does not say it or is wrong.
    """

    request: Request = field(default_factory=Request)
    method: str = AUTO
    weights: Path | None = None
    label: bool = False
    untilt: bool = False
    threads: int | None = None
    precision: Precision = "auto"
    quality: Quality = "standard"
    device: Device = "cpu"
    thickness_mm: float | None = None


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

    @property
    def used(self) -> range:
        """Indices of the source slices that were asked for."""
        request, count = self.options.request, len(self.source.geometry)
        return range(request.start, count if request.stop is None else request.stop)

    def provenance(self, errors: Sequence[SliceError | None] = ()) -> tuple[Provenance, ...]:
        """The records of the output slices.

        Args:
            errors: the estimated error of every slice, where the method gives one.
        """
        moved = isinstance(self.source, Untilted)
        original_flag = "moved in its plane to remove the gantry tilt" if moved else ""
        source_ids = self.source.source_ids
        records = (
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
        if not errors:
            return tuple(records)
        return tuple(
            replace(
                record,
                expected_error_hu=error.expected_hu if error else None,
                half_width_90_hu=error.half_width_90_hu if error else None,
            )
            for record, error in zip(records, errors, strict=True)
        )


def prepare(
    source: SliceSource,
    options: Options,
    *,
    needs_uniform: bool = False,
    needs_estimate: bool = False,
) -> Job:
    """Decide what will be done, without touching a pixel.

    Args:
        source: the input.
        options: what the user wants.
        needs_uniform: whether the output's format can only hold evenly spaced slices.
        needs_estimate: whether the method must estimate its error voxel by voxel.

    Raises:
        RequestError: if the request cannot be fulfilled.
        InputError: if weights are damaged.
    """
    if len(source.geometry) < 2:
        raise RequestError(
            f"{source.info.path or 'the input'}: has a single slice; two are the least between "
            "which anything can be synthesized"
        )
    stated = source.geometry.slice_thickness
    if options.thickness_mm is not None:
        source = Restated(source, thickness_mm=options.thickness_mm)
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
    interpolator = _interpolator(options, needs_estimate=needs_estimate)
    if needs_estimate and not isinstance(interpolator, Estimating):
        raise RequestError(
            f"method {interpolator.name!r} gives no estimate of its error, which --uncertainty "
            f"needs; choose --method {_ESTIMATING_METHOD}"
        )
    return Job(
        source=source,
        plan=plan,
        geometry=geometry.at_positions([planned.position_mm for planned in plan.slices]),
        interpolator=interpolator,
        options=options,
        notes=(
            *source.info.notes,
            *_thickness_notes(stated, options.thickness_mm),
            *_tilt_notes(source),
            *plan.notes,
            *_fallback_notes(options),
            *caution_notes(interpolator, plan, geometry),
        ),
    )


def _interpolator(options: Options, *, needs_estimate: bool) -> Interpolator:
    """The method that the options name.

    Raises:
        RequestError: if they contradict each other, or there is no such method.
        InputError: if weights are damaged.
    """
    if not options.label:
        return build_interpolator(
            options.method,
            weights=options.weights,
            choices=Choices(
                precision=options.precision, quality=options.quality, device=options.device
            ),
        )
    if options.method != AUTO:
        raise RequestError(
            f"label maps have a method of their own; leave out --method {options.method}"
        )
    if options.weights is not None:
        raise RequestError("label maps have a method of their own; leave out --weights")
    if options.precision == "bf16":
        raise RequestError("label maps have a method of their own; leave out --precision bf16")
    if options.quality != "standard":
        raise RequestError("label maps have a method of their own; leave out --quality")
    if options.device != "cpu":
        raise RequestError("label maps have a method of their own; leave out --device")
    if needs_estimate:
        raise RequestError(
            "label maps have a method of their own, which gives no estimate of its error; leave "
            "out --uncertainty"
        )
    from hrinet.synthesize.labels import Labels

    return Labels()


def caution_notes(interpolator: Interpolator, plan: Plan, geometry: Geometry) -> list[str]:
    """What the method itself warns of, if anything.

    Args:
        interpolator: the method.
        plan: of the output slices.
        geometry: of the source.
    """
    if not isinstance(interpolator, Cautious):
        return []
    filled = sorted({planned.left for planned in plan.slices if not planned.is_original})
    gaps = geometry.gaps_mm
    sentence = interpolator.caution([float(gaps[left]) for left in filled]) if filled else None
    return [sentence] if sentence else []


def _fallback_notes(options: Options) -> list[str]:
    """What ``auto`` had to do without."""
    sentence = None if options.label or options.weights else second_best(options.method)
    return [sentence] if sentence else []


def _thickness_notes(stated: float | None, told: float | None) -> list[str]:
    """Where two things are said of the slices."""
    if stated is None or told is None or abs(stated - told) <= _SAME_THICKNESS * stated:
        return []
    return [f"the slices are taken to be {told:g} mm thick, as asked; the input says {stated:g} mm"]


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


def parse_precision(text: str) -> Precision:
    """One of the names of :data:`hrinet.synthesize.registry.Precision`.

    Raises:
        RequestError: if there is no such precision.
    """
    if text in get_args(Precision):
        return text  # type: ignore[return-value]
    raise RequestError(f"--precision is {text!r}, expected auto, f32 or bf16")


def parse_quality(text: str) -> Quality:
    """One of the names of :data:`hrinet.synthesize.registry.Quality`.

    Raises:
        RequestError: if there is no such quality.
    """
    if text in get_args(Quality):
        return text  # type: ignore[return-value]
    raise RequestError(f"--quality is {text!r}, expected {', '.join(get_args(Quality))}")


def parse_device(text: str) -> Device:
    """One of the names of :data:`hrinet.synthesize.registry.Device`.

    Raises:
        RequestError: if there is no such device.
    """
    if text in get_args(Device):
        return text  # type: ignore[return-value]
    raise RequestError(f"--device is {text!r}, expected cpu, cuda or mps")


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
    if not (_is_number(max_gap_mm) and max_gap_mm > 0):
        raise RequestError(f"--max-gap must be a positive number of mm, got {max_gap_mm!r}")
    return GapLimits(refuse_mm=max_gap_mm, refuse_ratio=float("inf"))


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
