"""Which module reads and writes which kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.geometry import Geometry
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sink import VolumeSink
from hrinet.io.staging import Staging
from hrinet.volume import Provenance, SliceSource, SourceInfo, Volume

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
"""What can be written."""

_READABLE_SUFFIXES = (*VOLUME_SUFFIXES, ".nhdr", ".mhd")


def volume_suffix(path: Path, *, of: Sequence[str] = _READABLE_SUFFIXES) -> str | None:
    """The suffix (lower case, ``.nii.gz`` whole) if it is one of ``of``, else None."""
    name = path.name.lower()
    return next(
        (suffix for suffix in sorted(of, key=len, reverse=True) if name.endswith(suffix)), None
    )


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
    if suffix in (".nii", ".nii.gz"):
        from hrinet.io import nifti

        return nifti.open_nifti(path, limits=limits)
    if suffix in (".nrrd", ".nhdr"):
        from hrinet.io import nrrd

        return nrrd.open_nrrd(path, limits=limits)
    if suffix in (".mha", ".mhd"):
        from hrinet.io import metaimage

        return metaimage.open_metaimage(path, limits=limits)
    from hrinet.io.dicom import open_dicom

    return open_dicom(path, series=series, limits=limits)


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
        The volume, int16 where that is lossless, else float32; HU.

    Raises:
        InputError: if the input does not exist, is no CT volume, or is damaged.
        LimitError: if it would not fit ``limits.max_memory_bytes``.
    """
    from hrinet.io.loading import load

    return load(open_scan(path, series=series, limits=limits), limits=limits)


def check_writable(path: Path, geometry: Geometry | None = None) -> str:
    """Refuse an output that cannot be written, before any work is done.

    Args:
        path: the output.
        geometry: of what will be written, if known.

    Returns:
        The suffix.

    Raises:
        RequestError: if the suffix is not one that can be written, or the format cannot hold the
            geometry.
    """
    suffix = volume_suffix(path, of=VOLUME_SUFFIXES)
    if suffix is None:
        if path.suffix == "" or path.suffix.lower() == ".zip" or path.is_dir():
            raise RequestError(
                f"{path}: writing a derived DICOM series (a folder or .zip) is not available yet; "
                f"choose a file name that ends in one of {', '.join(VOLUME_SUFFIXES)}"
            )
        raise RequestError(
            f"{path}: cannot write {path.suffix!r}; choose one of {', '.join(VOLUME_SUFFIXES)}"
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
) -> VolumeSink:
    """Start writing a volume file.

    Args:
        temporary: path to write to (its own suffix does not matter).
        suffix: one of :data:`VOLUME_SUFFIXES`.
        geometry: of all slices that will be written; uniform.
        dtype: int16 or float32.
        info: of the source, for the order of the axes in the file.
    """
    if suffix in (".nii", ".nii.gz"):
        from hrinet.io import nifti

        return nifti.NiftiSink(
            temporary, geometry=geometry, dtype=dtype, info=info, compress=suffix == ".nii.gz"
        )
    if suffix == ".nrrd":
        from hrinet.io import nrrd

        return nrrd.NrrdSink(temporary, geometry=geometry, dtype=dtype, info=info)
    from hrinet.io import metaimage

    return metaimage.MetaImageSink(temporary, geometry=geometry, dtype=dtype, info=info)


def write(volume: Volume, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a volume and its sidecar ``.json``.

    Args:
        volume: uniform in its slice positions.
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.
        overwrite: whether existing files may be replaced.

    Raises:
        RequestError: if the format cannot hold the volume, or a file exists.
    """
    from hrinet.io.sidecar import sidecar_path, write_sidecar

    path = Path(path)
    suffix = check_writable(path, volume.geometry)
    with Staging(overwrite=overwrite) as staging:
        sidecar = staging.path(sidecar_path(path))
        sink = open_sink(
            staging.path(path),
            suffix=suffix,
            geometry=volume.geometry,
            dtype=volume.dtype,
            info=volume.info,
        )
        try:
            for values in volume.array:
                sink.write(values)
            sink.close()
        except BaseException:
            sink.abort()
            raise
        write_sidecar(
            sidecar,
            output=path,
            geometry=volume.geometry,
            provenance=volume.provenance,
            info=volume.info,
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
