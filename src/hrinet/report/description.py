"""A job as a JSON object, for reports and sidecars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hrinet.geometry import Geometry
from hrinet.job import Job
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.interpolator import Described, Interpolator, Trained
from hrinet.synthesize.trial import SelfChecking
from hrinet.volume import Provenance


def describe(job: Job, *, command: str = "") -> dict[str, Any]:
    """The job as a JSON object: what goes in, what comes out, how."""
    geometry, source, plan = job.geometry, job.source.geometry, job.plan
    request = job.options.request
    return {
        "command": command,
        "method": job.interpolator.name,
        **_weights(job.interpolator),
        **_computed_with(job.interpolator),
        "quality": job.options.quality,
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
            "used": len(job.used),
            "gaps_mm": describe_gaps(source.subset(job.used)),
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


def describe_gaps(geometry: Geometry) -> dict[str, Any]:
    """The distances between slices as a JSON object, mm; None where there is a single slice."""
    gaps = geometry.gaps_mm
    return {
        "median": geometry.spacing_mm,
        "smallest": float(gaps.min()) if len(gaps) else None,
        "largest": float(gaps.max()) if len(gaps) else None,
        "even": geometry.is_uniform,
    }


def _weights(interpolator: Interpolator) -> dict[str, Any]:
    """Which weights computed, where a network did."""
    return {"weights": asdict(interpolator.weights)} if isinstance(interpolator, Trained) else {}


def _computed_with(interpolator: Interpolator) -> dict[str, Any]:
    """What computed, and with what numbers."""
    checked: dict[str, Any] = {}
    if isinstance(interpolator, SelfChecking) and interpolator.self_check is not None:
        checked = {"self_check": asdict(interpolator.self_check)}
    if isinstance(interpolator, Described):
        return {"engine": interpolator.engine, "precision": interpolator.precision, **checked}
    return {"engine": "cpu", "precision": "f32", **checked}


def describe_errors(provenance: Sequence[Provenance]) -> dict[str, Any]:
    """The estimated error over all synthetic slices, as a JSON object.

    Returns:
        Means over the slices, and the worst of them; empty if there is no estimate or no synthetic
        slice.
    """
    errors = {
        index: (entry.expected_error_hu, entry.half_width_90_hu)
        for index, entry in enumerate(provenance)
        if entry.is_synthetic
        and entry.expected_error_hu is not None
        and entry.half_width_90_hu is not None
    }
    if not errors:
        return {}
    expected, half_width = np.mean(list(errors.values()), axis=0)
    worst = max(errors, key=lambda index: errors[index][0])
    return {
        "expected_error_hu": round(float(expected), 3),
        "half_width_90_hu": round(float(half_width), 3),
        "worst_slice": worst,
        "worst_expected_error_hu": round(errors[worst][0], 3),
    }
