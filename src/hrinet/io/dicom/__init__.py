"""Reading DICOM: a file, a folder of any depth, or a zip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hrinet.errors import InputError
from hrinet.io.dicom.files import DicomFile, DiskFile, find_files
from hrinet.io.dicom.frames import Frame, frames_of
from hrinet.io.dicom.parse import is_dicom, parse_header
from hrinet.io.dicom.pixels import locate
from hrinet.io.dicom.scan import DicomScan, build_scan, counted, list_candidate
from hrinet.io.dicom.volumes import VolumeCandidate, group_volumes
from hrinet.io.limits import Limits

_MOST_LISTED = 8
_MOST_PROBLEMS = 3


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
    limits.check_shape(str(path), (len(chosen.frames), 1, 1))
    others = [candidate for candidate in candidates if candidate is not chosen]
    notes = _notes_on_choice(chosen, others, series)
    if problems:
        shown = "; ".join(problems[:_MOST_PROBLEMS])
        rest = len(problems) - _MOST_PROBLEMS
        more = f"; and {rest} more" if rest > 0 else ""
        notes.append(f"{counted(len(problems), 'file')} could not be used: {shown}{more}")
    chosen = replace(chosen, frames=locate(chosen.frames, limits=limits))
    return build_scan(chosen, path=str(path), others=others, notes=notes, limits=limits)


def _notes_on_choice(
    chosen: VolumeCandidate, others: Sequence[VolumeCandidate], series: str | None
) -> list[str]:
    """What else could have been meant: every other volume, or those of the series asked for."""
    if series is not None:
        others = [other for other in others if _series_of(other) == series]
    if not others:
        return []
    label = f" ({chosen.label})" if chosen.label else ""
    return [
        f"took the volume with the most slices, {chosen.uid or 'no UID'}{label}; "
        f"{counted(len(others), 'other')} can be chosen with --series"
    ]


def _series_of(candidate: VolumeCandidate) -> str:
    return candidate.uid.partition("#")[0]


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
    with file.open_header() as stream:
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
            f"{file.name}: is DICOM without grey images that have a place in the patient "
            "(ImagePositionPatient); expected a CT image"
        )
    return frames


def _choose(
    path: Path, candidates: Sequence[VolumeCandidate], series: str | None
) -> VolumeCandidate:
    if series is None:
        return candidates[0]
    for candidate in candidates:
        if series in (candidate.uid, _series_of(candidate)):
            return candidate
    listed = "; ".join(list_candidate(candidate) for candidate in candidates[:_MOST_LISTED])
    raise InputError(f"{path}: holds no series {series}; it holds {listed}")


def _why_nothing(path: Path, problems: Sequence[str]) -> str:
    if problems:
        shown = "; ".join(problems[:_MOST_PROBLEMS])
        return f"{path}: no volume could be read from {counted(len(problems), 'file')}: {shown}"
    return (
        f"{path}: holds no DICOM images with a place in the patient (ImagePositionPatient); "
        "expected a CT series"
    )
