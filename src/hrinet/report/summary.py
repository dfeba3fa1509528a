"""What is in an input, and what would be done with it; no pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.job import Job, Options, caution_notes, prepare
from hrinet.measured import refuse_synthetic
from hrinet.plan.plan import check_request
from hrinet.report.description import describe_gaps
from hrinet.synthesize.engine import default_threads, gaps_at_once, slices_in_memory
from hrinet.synthesize.registry import WORK, find_method
from hrinet.volume import SliceSource

_BASE_MB = 150.0
"""Interpreter and libraries."""

_READ_SECONDS = 0.01
"""Decoding a compressed 512 x 512 slice, one core."""


def summarize(
    path: str | Path,
    options: Options,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> dict[str, Any]:
    """Describe an input and the job that the options make of it.

    Args:
        path: see :func:`hrinet.io.formats.open_scan`.
        options: of the job.
        series: see :func:`hrinet.io.formats.open_scan`.
        limits: bounds on the input.

    Returns:
        A JSON object with ``volume``, ``others`` and ``would_do``.

    Raises:
        InputError: if there is no volume to describe.
        RequestError: if the options are wrong for any input.
    """
    find_method(options.method, weights=options.weights)
    check_request(options.request)
    source = open_scan(path, series=series, limits=limits)
    try:
        refuse_synthetic(source)
        job = prepare(source, options, needs_uniform=True)
        would_do = _forecast(job)
    except RequestError as error:
        would_do = {"refused": str(error)}
    return {
        "input": str(path),
        "volume": _describe_volume(source),
        "others": list(source.info.alternatives),
        "would_do": would_do,
    }


def _describe_volume(source: SliceSource) -> dict[str, Any]:
    geometry, info = source.geometry, source.info
    return {
        "format": info.format,
        "series_uid": info.series_uid,
        "modality": info.modality,
        "description": info.description,
        "kernel": info.kernel,
        "slices": len(geometry),
        "rows": geometry.rows,
        "columns": geometry.columns,
        "dtype": str(source.dtype),
        "plane": geometry.plane,
        "orientation": geometry.orientation,
        "pixel_spacing_mm": list(geometry.pixel_spacing),
        "gaps_mm": describe_gaps(geometry),
        "slice_thickness_mm": geometry.slice_thickness,
        "tilt_deg": geometry.tilt_deg,
        "origin_lps_mm": geometry.origins[0].tolist(),
        "notes": list(info.notes),
    }


def _forecast(job: Job) -> dict[str, Any]:
    rows, columns = job.geometry.rows, job.geometry.columns
    size = rows * columns / 512**2
    threads = job.options.threads or default_threads()
    gaps = gaps_at_once(job.interpolator, threads)
    method = find_method(job.options.method, weights=job.options.weights)
    a_slice = method.seconds_a_slice * WORK[job.options.quality]
    work = job.plan.synthetic_count * a_slice + len(job.plan.slices) * _READ_SECONDS
    held = slices_in_memory(job.plan.slices, gaps=gaps)
    return {
        "method": job.interpolator.name,
        "slices": len(job.plan.slices),
        "synthetic": job.plan.synthetic_count,
        "spacing_mm": job.plan.spacing_mm,
        "estimated_seconds": work * size / threads,
        "estimated_peak_mb": _BASE_MB
        + held * rows * columns * job.source.dtype.itemsize / 1e6
        + gaps * method.planes_in_memory * rows * columns * 4 / 1e6,
        "output_mb": job.output_bytes / 1e6,
        "notes": [
            *job.plan.notes,
            *caution_notes(job.interpolator, job.plan, job.source.geometry),
        ],
    }
