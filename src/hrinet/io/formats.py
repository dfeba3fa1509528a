"""Which module reads and writes which kind of file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.geometry import Geometry
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.guard import refuse_inputs
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sink import VolumeSink, finishing
from hrinet.io.staging import Staging
from hrinet.volume import Provenance, SliceSource, SourceInfo, Volume

if TYPE_CHECKING:
    from hrinet.io.dicom.derive.series import DerivedSeries

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Volume files that can be written."""

DICOM_SUFFIXES = ("", ".zip")
"""What stands for a derived DICOM series: a folder or a zip."""

_READABLE_SUFFIXES = (*VOLUME_SUFFIXES, ".nhdr", ".mhd")


def volume_suffix(path: Path, *, of: Sequence[str] = _READABLE_SUFFIXES) -> str | None:
    """The suffix (lower case, ``.nii.gz`` whole) if it is one of ``of``, else None."""
    name = path.name.lower()
    return next(
        (suffix for suffix in sorted(of, key=len, reverse=True) if name.endswith(suffix)), None
    )


def is_folder(path: Path) -> bool:
    """Whether an output means a DICOM folder: it is one, or its name has no suffix.

    The last part of a UID is no suffix.
    """
    if volume_suffix(path) is not None and not path.is_dir():
        return False
    return path.is_dir() or re.fullmatch(r"(\.\d*)?", path.suffix) is not None


def is_dicom_output(path: Path) -> bool:
    """Whether an output means a derived DICOM series, a folder or a zip."""
    return is_folder(path) or path.suffix.lower() == ".zip"


def open_scan(
    path: str | Path,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> SliceSource:
    """Open any supported input without decoding its pixels.

    Args:
        path: a DICOM file, folder or zip (any nesting), or a ``.nii``, ``.nii.gz``, ``.nrrd``,
            ``.nhdr``, ``.mha`` or ``.mhd`` file.
        series: Series Instance UID of the DICOM volume to take (as ``hrinet info`` lists it);
            by default the one with the most slices.
        limits: bounds on what the input may declare.

    Returns:
        The source: geometry and slices on demand.

    Raises:
        InputError: if the input does not exist, is no CT volume, or is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    suffix = None if path.is_dir() else volume_suffix(path)
    if suffix is not None and series is not None:
        raise RequestError(f"{path}: --series selects a DICOM series, a {suffix} file has none")
    if suffix is not None:
        return _open_file(path, suffix, limits)
    from hrinet.io.dicom import open_dicom

    return open_dicom(path, series=series, limits=limits)


def _open_file(path: Path, suffix: str, limits: Limits) -> SliceSource:
    if suffix in (".nii", ".nii.gz"):
        from hrinet.io.nifti import open_nifti as open_file
    elif suffix in (".nrrd", ".nhdr"):
        from hrinet.io.nrrd import open_nrrd as open_file
    else:
        from hrinet.io.metaimage import open_metaimage as open_file
    source = open_file(path, limits=limits)
    if source.geometry.slice_thickness is None:
        from hrinet.io.thickness import thickness_beside

        source.geometry = replace(source.geometry, slice_thickness=thickness_beside(path))
    return source


def read(
    path: str | Path,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Volume:
    """Read a whole CT volume into memory.

    Args:
        path: see :func:`open_scan`.
        series: see :func:`open_scan`.
        limits: bounds on what the input may declare.

    Returns:
        The volume, int16 where that is lossless, else float32; HU. Synthetic slices that this
        program wrote are known as such, by the sidecar beside a volume file or the marks of a DICOM
        series. The ``source`` of an original is its place in this input.

    Raises:
        InputError: if the input does not exist, is no CT volume, or is damaged.
        LimitError: if it would not fit ``limits.max_memory_bytes``.
    """
    from hrinet.io.loading import load
    from hrinet.measured import told_provenance

    source = open_scan(path, series=series, limits=limits)
    volume = load(source, limits=limits)
    known = told_provenance(source)
    return volume if known is None else replace(volume, provenance=known)


def check_writable(path: Path, geometry: Geometry | None = None) -> str:
    """Refuse an output that cannot be written, before any work is done.

    Args:
        path: the output.
        geometry: of what will be written, if known.

    Returns:
        The suffix; empty for a DICOM folder.

    Raises:
        RequestError: if the suffix is not one that can be written, or the format cannot hold the
            geometry.
    """
    if is_dicom_output(path):
        if path.name in ("", ".."):
            raise RequestError(f"{path}: give the folder of the derived series a name of its own")
        return "" if is_folder(path) else ".zip"
    suffix = volume_suffix(path, of=VOLUME_SUFFIXES)
    if suffix is None:
        raise RequestError(
            f"{path}: cannot write {path.suffix!r}; choose one of {', '.join(VOLUME_SUFFIXES)}, or "
            "a name without suffix or with .zip for a DICOM series"
        )
    if geometry is None:
        return suffix
    if not geometry.is_uniform:
        raise RequestError(
            f"{path}: the slices lie at uneven distances ({geometry.gaps_mm.min():.4g} to "
            f"{geometry.gaps_mm.max():.4g} mm), which {suffix} cannot hold; use a uniform grid"
        )
    if suffix == ".mha" and geometry.tilt_deg > 0.05:
        raise RequestError(
            f"{path}: the slices are sheared by {geometry.tilt_deg:.2f} degrees (gantry tilt), "
            "which MetaImage cannot hold; write .nii, .nii.gz or .nrrd, or pass --untilt"
        )
    return suffix


def open_sink(
    temporary: Path,
    *,
    suffix: str,
    geometry: Geometry,
    dtype: np.dtype[Any],
    info: SourceInfo,
    series: DerivedSeries | None = None,
    name: str = "",
    subject: str = "",
    checks_originals: bool = False,
) -> VolumeSink:
    """Start writing a volume file or a DICOM series.

    Args:
        temporary: path to write to (its own suffix does not matter).
        suffix: one of :data:`VOLUME_SUFFIXES` or :data:`DICOM_SUFFIXES`.
        geometry: of all slices that will be written; uniform but for DICOM.
        dtype: int16 or float32.
        info: of the source, for the order of the axes in the file.
        series: what a DICOM series says, for those.
        name: of the folder in a zip.
        subject: what messages call the file; by default its temporary path.
        checks_originals: whether to compare originals with the source of a DICOM series first.
    """
    if series is not None:
        from hrinet.io.dicom.derive.sink import open_dicom_sink

        return open_dicom_sink(
            temporary,
            series,
            is_zip=suffix == ".zip",
            name=name,
            checks_originals=checks_originals,
        )
    if suffix in (".nii", ".nii.gz"):
        from hrinet.io import nifti

        return nifti.NiftiSink(
            temporary,
            geometry=geometry,
            dtype=dtype,
            info=info,
            compress=suffix == ".nii.gz",
            subject=subject,
        )
    if suffix == ".nrrd":
        from hrinet.io import nrrd

        return nrrd.NrrdSink(temporary, geometry=geometry, dtype=dtype, info=info, subject=subject)
    from hrinet.io import metaimage

    return metaimage.MetaImageSink(
        temporary, geometry=geometry, dtype=dtype, info=info, subject=subject
    )


def stage(staging: Staging, path: Path) -> Path:
    """The temporary path for an output, a folder if it is one; see :class:`Staging`."""
    if is_folder(path):
        from hrinet.io.dicom.derive.made import is_made_file

        return staging.folder(path, replaces=is_made_file)
    return staging.path(path)


def write(
    volume: Volume,
    path: str | Path,
    *,
    overwrite: bool = False,
    dicom: DicomOptions | None = None,
) -> None:
    """Write a volume and its sidecar ``.json``.

    Args:
        volume: uniform in its slice positions, but for DICOM.
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``; or a folder or ``.zip`` for a derived
            DICOM series, whose headers come from the scan that the volume was read from.
        overwrite: whether existing files may be replaced; those that the volume was read from
            never are, whatever the current folder is by now.
        dicom: how a DICOM series is written.

    Raises:
        RequestError: if the format cannot hold the volume, or a file exists, or would be replaced
            that the volume was read from.
        InputError: if the scan that a DICOM series needs cannot be read.
    """
    from hrinet.io.sidecar import own_sidecar, write_sidecar

    path = Path(path)
    suffix = check_writable(path, volume.geometry)
    beside = own_sidecar(path)
    folders = (path,) if is_folder(path) else ()
    refuse_inputs(
        (beside,) if folders else (path, beside),
        (volume.info.location, dicom.like if dicom else None),
        folders=folders,
    )
    series = None
    if is_dicom_output(path):
        from hrinet.io.dicom.derive.plan import plan_volume

        series = plan_volume(volume, dicom or DicomOptions())
    elif dicom is not None and (chosen := dicom.chosen):
        raise RequestError(f"{path}: is no DICOM output, for which {chosen} is")
    with Staging(overwrite=overwrite) as staging:
        if not folders:
            # It is published last, but a refusal should name what the user named.
            staging.check(path)
        sidecar = staging.path(beside)
        sink = open_sink(
            stage(staging, path),
            suffix=suffix,
            geometry=volume.geometry,
            dtype=volume.dtype,
            info=volume.info,
            series=series,
            name=path.stem,
            subject=str(path),
            checks_originals=True,
        )
        with finishing(sink):
            for values in volume.array:
                sink.write(values)
        write_sidecar(
            sidecar,
            output=path,
            geometry=volume.geometry,
            provenance=volume.provenance,
            info=volume.info,
            series=series,
        )


__all__ = [
    "VOLUME_SUFFIXES",
    "Provenance",
    "check_writable",
    "open_scan",
    "open_sink",
    "read",
    "write",
]
