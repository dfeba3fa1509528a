"""One-off: send DICOM files to a PACS or DICOMweb server."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hrinet.errors import InputError
from hrinet.node.peers import Peer

if TYPE_CHECKING:
    from pydicom import Dataset

_MAGIC_AT, _MAGIC = 128, b"DICM"

_DEFER_BYTES = 1 << 16
"""Longer values are not read, only measured: an object may be larger than memory."""

_UNDEFINED = 0xFFFFFFFF
_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
"""Of encapsulated pixel data, which are always little endian (PS3.5 A.4)."""

_PIXEL_DATA = 0x7FE00010
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")
_SIZES = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")


def dicom_files(paths: list[Path]) -> list[Path]:
    """The DICOM files among paths and below folders, in the order of their names.

    Raises:
        InputError: if a path does not exist, a file that was named is no DICOM file, one is
            damaged or cut off, or there are none.
    """
    found = []
    for path in paths:
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.is_file())
            found += [one for one in below if _is_dicom(one)]
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder")
        elif _is_dicom(path):
            found.append(path)
        else:
            raise InputError(f"{path}: is no DICOM file (no DICM at byte {_MAGIC_AT})")
    if not found:
        raise InputError(f"{paths[0]}: contains no DICOM file")
    for path in found:
        _check(path)
    return found


def push(paths: list[Path], peer: Peer) -> int:
    """Send files; returns how many.

    Raises:
        InputError: see :func:`dicom_files`.
        RunError: if the peer is away or refuses; what was sent before stays there.
    """
    files = dicom_files(paths)
    peer.send(files)
    return len(files)


def _check(path: Path) -> None:
    """Refuse what no peer could take, before anything is sent.

    Raises:
        InputError: if it cannot be read, does not say what the object is, or ends too early.
    """
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path, defer_size=_DEFER_BYTES)
            meta = dataset.file_meta
            is_told = bool(meta.get("MediaStorageSOPClassUID") and meta.get("TransferSyntaxUID"))
            missing = (_missing(dataset, path.stat().st_size) or _open_end(path)) if is_told else ""
    except Exception as error:  # Whatever its parser stumbles over.
        raise InputError(f"{path}: is a damaged DICOM file; leave it out") from error
    if not is_told:
        raise InputError(
            f"{path}: is a damaged DICOM file (its meta information lacks the SOP class or the "
            "transfer syntax); leave it out"
        )
    if missing:
        raise InputError(f"{path}: is not whole ({missing}); copy it again, or leave it out")


def _missing(dataset: Dataset, size: int) -> str:
    """What a file lacks that ends too early; nothing if it is whole, as far as can be told.

    An object without pixels that ends between two values cannot be told from a whole one.

    Args:
        dataset: read with long values deferred.
        size: of the file, bytes.
    """
    from pydicom import uid
    from pydicom.dataelem import RawDataElement

    kind, syntax = dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.TransferSyntaxUID
    is_deflated = syntax == uid.DeflatedExplicitVRLittleEndian  # It has a checked end of its own.
    raw = {int(one.tag): one for one in dataset.values() if isinstance(one, RawDataElement)}
    for element in raw.values():
        lacking = element.value_tell + element.length - size
        if lacking > 0 and element.length != _UNDEFINED and not is_deflated:
            return f"at least {lacking} bytes are missing at its end"
    if "SOPInstanceUID" not in dataset and kind != uid.MediaStorageDirectoryStorage:
        return "it ends before its SOP Instance UID"
    # Encapsulated pixels without their delimiter are dropped by pydicom.
    if "Image Storage" in kind.name and not any(name in dataset for name in _PIXELS):
        return "its pixel data are missing or have no end"
    pixels = raw.get(_PIXEL_DATA)
    if pixels is not None and syntax in uid.UncompressedTransferSyntaxes:
        expected = _expected_length(dataset)
        if pixels.length < expected:
            return f"it has {pixels.length} of {expected} bytes of pixel data"
    return ""


def _open_end(path: Path) -> str:
    """What is missing of a delimiter that a file ends in; pydicom does not look at its length."""
    with path.open("rb") as file:
        file.seek(1 - len(_DELIMITER), os.SEEK_END)
        found = file.read().find(_DELIMITER[:4])
    return "" if found < 0 else f"{1 + found} bytes are missing at its end"


def _expected_length(dataset: Dataset) -> int:
    """Of native pixel data, bytes; 0 where the header does not say, in whole numbers."""
    from pydicom.pixels.utils import get_expected_length

    sizes = [dataset.get(name) for name in _SIZES]
    sizes.append(dataset.get("NumberOfFrames") or 1)
    is_said = all(isinstance(size, int) for size in sizes)
    return get_expected_length(dataset) if is_said else 0


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
