"""Telling what this program made."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from hrinet.errors import RequestError
from hrinet.io.dicom.derive.headers import Headers, quiet, value_of
from hrinet.io.dicom.scan import DicomScan

MODEL_NAME = "HRINet"
"""Manufacturer's Model Name of this program in Contributing Equipment Sequence."""

ENHANCED_NAME = "enhanced.dcm"

_NAMES = re.compile(rf"\d{{4,}}\.dcm|{re.escape(ENHANCED_NAME)}")


def is_made_file(path: Path) -> bool:
    """Whether a file is an image that this program wrote, by its name and by what it says."""
    if _NAMES.fullmatch(path.name) is None:
        return False
    try:
        with quiet():
            header = pydicom.dcmread(
                path,
                stop_before_pixels=True,
                specific_tags=["ContributingEquipmentSequence"],
            )
    except Exception:  # Whatever pydicom raises: it cannot be told, so it is nothing of ours.
        return False
    return _is_made(header)


def is_made(scan: DicomScan) -> bool:
    """Whether this program made a series.

    Raises:
        InputError: if its first file cannot be read.
    """
    return _is_made(Headers(limits=scan.limits).of(scan.frames[0]))


def refuse_made(scan: DicomScan) -> None:
    """Refuse a series that this program made.

    Raises:
        RequestError: if it is one.
        InputError: if its first file cannot be read.
    """
    if is_made(scan):
        raise RequestError(
            f"{scan.info.path}: is a series that HRINet made and holds synthetic slices, which "
            "would pass for originals; use its source instead"
        )


def _is_made(header: Dataset) -> bool:
    equipment = value_of(header, "ContributingEquipmentSequence")
    items = equipment if isinstance(equipment, Items) else ()
    return any(value_of(item, "ManufacturerModelName") == MODEL_NAME for item in items)
