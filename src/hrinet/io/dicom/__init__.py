"""Reading DICOM: a file, a folder of any depth, or a zip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hrinet.errors import InputError
from hrinet.io.dicom.files import DicomFile, DiskFile, find_files
from hrinet.io.dicom.frames import Frame, frames_of
from hrinet.io.dicom.parse import is_dicom, open_inflated, parse_header
from hrinet.io.dicom.pixels import check_decodable, check_present
from hrinet.io.dicom.scan import DicomScan, build_scan, list_candidate
from hrinet.io.dicom.volumes import VolumeCandidate, group_volumes
from hrinet.io.limits import Limits

_MOST_LISTED = 8


def open_dicom(path: Path, *, series: str | None, limits: Limits) -> DicomScan:
    """Open a DICOM input without decoding pixels.

    Args:
        path: a file, folder or zip.
        series: UID of the volume to take, by default the one with the most slices.
        limits: bounds on what the input may declare.

    Raises:
        InputError: if there is no volume in it, or the chosen one is damaged.
        LimitError: if it is beyond the limits.
    """
    frames, problems = _collect(path, limits)
    candidates = group_volumes(frames)
    if not candidates:
        raise InputError(_why_nothing(path, problems))
    chosen = _choose(path, candidates, series)
    for frame in {id(frame.pixels): frame for frame in chosen.frames}.values():
        check_decodable(frame.pixels, subject=frame.file.name)
        check_present(frame, file_size=_size_of(frame, limits), limits=limits)
    others = [candidate for candidate in candidates if candidate is not chosen]
    notes = []
    if others and series is None:
        listed = "; ".join(list_candidate(other) for other in others[:_MOST_LISTED])
        notes.append(
            f"took the volume with the most slices, {chosen.uid}; also here (choose with "
            f"--series): {listed}"
        )
    if problems:
        shown = "; ".join(problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        notes.append(f"{len(problems)} files could not be used: {shown}{more}")
    return build_scan(chosen, path=str(path), others=others, notes=notes, limits=limits)


def _collect(path: Path, limits: Limits) -> tuple[list[Frame], list[str]]:
    """All frames of an input, and why files that look like DICOM gave none."""
    frames: list[Frame] = []
    problems: list[str] = []
    is_single = path.is_file()
    for file in find_files(path, limits=limits):
        try:
            frames += _frames_in(file, limits, is_single=is_single and isinstance(file, DiskFile))
        except InputError as error:
            if is_single and isinstance(file, DiskFile):
                raise
            problems.append(str(error))
    return frames, problems


def _frames_in(file: DicomFile, limits: Limits, *, is_single: bool) -> Sequence[Frame]:
    with file.open() as stream:
        if not is_dicom(stream):
            if is_single:
                raise InputError(
                    f"{file.name}: is not a CT volume; expected DICOM (a file, folder or .zip), "
                    ".nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd"
                )
            return ()
        header = parse_header(file, stream, limits=limits)
    frames = frames_of(header, limits=limits)
    if is_single and not frames:
        raise InputError(
            f"{file.name}: is DICOM without images that have a place in the patient "
            "(ImagePositionPatient); expected a CT image"
        )
    return frames


def _choose(
    path: Path, candidates: Sequence[VolumeCandidate], series: str | None
) -> VolumeCandidate:
    if series is None:
        return candidates[0]
    for candidate in candidates:
        if series in (candidate.uid, candidate.uid.partition("#")[0]):
            return candidate
    listed = "; ".join(list_candidate(candidate) for candidate in candidates[:_MOST_LISTED])
    raise InputError(f"{path}: holds no series {series}; it holds {listed}")


def _size_of(frame: Frame, limits: Limits) -> int:
    with open_inflated(frame.file, frame.pixels.transfer_syntax, limits=limits) as stream:
        return stream.seek(0, os.SEEK_END)


def _why_nothing(path: Path, problems: Sequence[str]) -> str:
    if problems:
        shown = "; ".join(problems[:3])
        return f"{path}: no volume could be read from its {len(problems)} DICOM files: {shown}"
    return (
        f"{path}: holds no DICOM images with a place in the patient (ImagePositionPatient); "
        "expected a CT series"
    )
