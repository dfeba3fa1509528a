"""One-off: send DICOM files to a PACS or DICOMweb server."""

from __future__ import annotations

from pathlib import Path

from hrinet.errors import InputError
from hrinet.node.peers import Peer

_MAGIC_AT, _MAGIC = 128, b"DICM"


def dicom_files(paths: list[Path]) -> list[Path]:
    """The DICOM files among paths and below folders, in the order of their names.

    Raises:
        InputError: if a path does not exist, a file that was named is no DICOM file, one is
            damaged, or there are none.
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
        InputError: if the header cannot be read, or does not say what the object is.
    """
    from pydicom import dcmread

    try:
        meta = dcmread(path, stop_before_pixels=True).file_meta
        is_whole = bool(meta.get("MediaStorageSOPClassUID") and meta.get("TransferSyntaxUID"))
    except Exception as error:  # Whatever its parser stumbles over.
        raise InputError(f"{path}: is a damaged DICOM file; leave it out") from error
    if not is_whole:
        raise InputError(
            f"{path}: is a damaged DICOM file (its meta information lacks the SOP class or the "
            "transfer syntax); leave it out"
        )


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
