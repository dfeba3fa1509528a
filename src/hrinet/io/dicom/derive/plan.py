"""The derived series that a job makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrinet.errors import RequestError
from hrinet.io.dicom.derive.series import (
    DerivedSeries,
    Quantity,
    Recipe,
    dicom_scan,
    plan_series,
)
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.dicom_options import DicomOptions
from hrinet.job import Job, Options
from hrinet.synthesize.interpolator import Interpolator, Trained
from hrinet.untilt import Untilted
from hrinet.volume import SliceSource, Volume


def plan_job(job: Job, options: DicomOptions, *, quantity: Quantity = "image") -> DerivedSeries:
    """Plan the series that a job makes.

    Args:
        job: decided on, not yet run.
        options: how to write.
        quantity: what the voxels of this series are.

    Raises:
        RequestError: if nothing can be derived from the source, or the options contradict it.
        InputError: if the series of ``options.like`` cannot be read.
    """
    return plan_series(
        job.source,
        geometry=job.geometry,
        provenance=job.provenance(),
        recipe=recipe_of(job.interpolator, job.options, is_moved=isinstance(job.source, Untilted)),
        options=options,
        quantity=quantity,
        like=open_like(job.source, options.like),
    )


def plan_volume(volume: Volume, options: DicomOptions) -> DerivedSeries:
    """Plan the series that a volume in memory makes.

    Args:
        volume: read from DICOM, and perhaps filled; its source has to be where it was. Or of any
            other origin.
        options: how to write.

    Raises:
        RequestError: if the volume does not fit its source.
        InputError: if the source cannot be read.
    """
    from hrinet.io.formats import open_scan

    info = volume.info
    methods = sorted({one.method for one in volume.provenance if one.method})
    recipe = Recipe(method=", ".join(methods) or "none")
    if info.format != "DICOM":
        return plan_series(
            volume,
            geometry=volume.geometry,
            # The source is not at hand: slices are known by their place in this volume alone.
            provenance=[
                replace(one, neighbours=None) if one.is_synthetic else replace(one, source=k)
                for k, one in enumerate(volume.provenance)
            ],
            origins=volume.geometry.origins,
            recipe=recipe,
            options=options,
            like=open_like(volume, options.like),
        )
    if not Path(info.location).exists():
        raise RequestError(
            f"{info.path}: is where the volume was read from and is not there any more, and a "
            "derived DICOM series needs its headers; put it back, or write .nii.gz or .nrrd"
        )
    scan = open_scan(info.location, series=info.series_uid or None)
    ids = list(scan.source_ids)
    for index, one in enumerate(volume.provenance):
        used = (one.source,) if one.source is not None else one.neighbours or ()
        is_known = all(0 <= k < len(ids) for k in used)
        if not is_known or (one.source is not None and one.source_id != ids[one.source]):
            raise RequestError(
                f"slice {index} comes from no slice of {info.path} as it is now; read the scan "
                "again, or write .nii.gz or .nrrd"
            )
    return plan_series(
        scan,
        geometry=volume.geometry,
        provenance=volume.provenance,
        recipe=recipe,
        options=options,
        like=open_like(scan, options.like),
    )


def recipe_of(interpolator: Interpolator, options: Options, *, is_moved: bool) -> Recipe:
    """What the synthetic slices of a job are computed with."""
    weights = interpolator.weights if isinstance(interpolator, Trained) else None
    return Recipe(
        method=interpolator.name,
        weights=weights.name if weights else "",
        sha256=weights.sha256 if weights else "",
        settings=(options.precision, options.quality, options.device),
        is_moved=is_moved,
    )


def open_like(source: SliceSource, like: Path | None) -> DicomScan | None:
    """The series of ``--like``, for a source that needs one.

    Raises:
        RequestError: if the source has a patient of its own, or the other one is no DICOM series.
        InputError: if it cannot be read.
    """
    if like is None:
        return None
    if dicom_scan(source) is not None:
        raise RequestError(
            f"{source.info.path}: is DICOM and has a patient and a study of its own; leave out "
            "--like"
        )
    from hrinet.io.formats import open_scan

    found = open_scan(like)
    if not isinstance(found, DicomScan):
        raise RequestError(f"{like}: is no DICOM series, which --like needs")
    return found
