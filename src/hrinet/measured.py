"""Which slices of a source were measured, as far as anything tells."""

from __future__ import annotations

from pathlib import Path

from hrinet.errors import RequestError
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.sidecar import known_provenance
from hrinet.volume import Provenance, SliceSource, Volume, WrappedSource

_UNKNOWN = "unknown"
"""The method of a synthetic slice that only says that it is one."""


def told_provenance(source: SliceSource) -> tuple[Provenance, ...] | None:
    """What is known of a source that this program made.

    A volume in memory has its provenance, a volume file the sidecar beside it, and a derived DICOM
    series its marks.

    Returns:
        One record a slice; None where nothing tells, as for any scan, or for a wrapper that has
        other slices than what it wraps. Records of a file count the slices of that file: what a
        synthetic slice was made from is not in it.

    Raises:
        InputError: if a DICOM file cannot be read.
    """
    inner = source
    while isinstance(inner, WrappedSource):
        inner = inner.source
    known = _told(inner)
    return known if known is not None and len(known) == len(source.geometry) else None


def _told(source: SliceSource) -> tuple[Provenance, ...] | None:
    if isinstance(source, Volume):
        return source.provenance
    if not isinstance(source, DicomScan):
        return known_provenance(Path(source.info.location), source.geometry)
    from hrinet.io.dicom.derive.made import is_made

    if not is_made(source):
        return None
    from hrinet.verify.images import read_images

    return tuple(
        Provenance(method=_UNKNOWN)
        if image.is_synthetic
        else Provenance(source=index, source_id=image.frame.source_id)
        for index, image in enumerate(read_images(source))
    )


def measured(source: SliceSource) -> tuple[bool, ...]:
    """Whether each slice was measured, not computed by this program; so if nothing tells.

    Raises:
        InputError: if a DICOM file cannot be read.
    """
    known = told_provenance(source)
    if known is None:
        return (True,) * len(source.geometry)
    return tuple(not one.is_synthetic for one in known)


def refuse_synthetic(source: SliceSource) -> None:
    """Refuse a source that holds synthetic slices, which would pass for measured ones.

    Raises:
        RequestError: if it holds any, or is a DICOM series that this program made.
        InputError: if a DICOM file cannot be read.
    """
    if isinstance(source, DicomScan):
        from hrinet.io.dicom.derive.made import refuse_made

        refuse_made(source)
        return
    synthetic = measured(source).count(False)
    if synthetic:
        named = "1 synthetic slice" if synthetic == 1 else f"{synthetic} synthetic slices"
        taken = "an original" if synthetic == 1 else "originals"
        raise RequestError(
            f"{source.info.path or 'the volume'}: holds {named} of HRINet, which would pass for "
            f"{taken}; use its source instead"
        )
