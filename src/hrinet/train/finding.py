"""The scans below a folder, and the division of their patients between the splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from hrinet.errors import InputError, RequestError
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.formats import open_scan, volume_suffix
from hrinet.measured import refuse_synthetic
from hrinet.train.manifest import Entry, Manifest, Progress, Skipped, Split, base_uid
from hrinet.volume import SliceSource

_LEAST_SLICES = 2
_NO_SCANS = (
    *(".csv", ".gif", ".html", ".img", ".jpeg", ".jpg", ".json", ".md", ".pdf", ".png", ".raw"),
    *(".tsv", ".txt", ".xml", ".yaml", ".yml", ".zraw"),
)
"""Suffixes of what lies beside scans: notes, sidecars, the data of detached headers."""


def make_manifest(
    folder: str | Path,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    exclude: Sequence[str] = (),
    collection: str = "",
    licence: str = "",
    progress: Progress | None = None,
) -> Manifest:
    """Find every scan below a folder and divide the patients between the splits.

    **Each folder or file directly below** ``folder`` **is one patient**, named as it is (a file
    without its suffix). DICOM's Patient ID is not looked at, so that none can leak into a manifest;
    a patient's scans therefore have to share a folder. Patients that hold copies of one DICOM
    series count as one. Below a patient's folder every volume is an entry: each NIfTI, NRRD and
    MetaImage file, and each DICOM series of two slices or more. What holds synthetic slices of this
    program is none.

    The split depends on the names and the seed alone, not on the order of the files.

    Args:
        folder: with a folder or a file a patient.
        validation: fraction of the patients to validate on; at least one if there are two.
        test: fraction of the patients to keep for reported figures, likewise.
        seed: which division.
        exclude: glob patterns of names to leave out, such as ``*_seg.nii.gz``: masks can be read
            like scans, but hold no HU.
        collection: where the scans were published, for the attribution of weights.
        licence: of the scans.
        progress: called after every patient.

    Returns:
        The manifest, with paths relative to ``folder``; what could not be read or is no scan is in
        ``skipped``.

    Raises:
        InputError: if the folder does not exist or holds no scan.
        RequestError: if the fractions do not lie in [0, 1) or leave nothing to train on, or a
            pattern is empty.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; expected one with a folder or a file a patient")
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise RequestError(
            f"validation is {validation} and test {test}; each must be 0 or more, their sum below 1"
        )
    if not all(PurePath(pattern).parts for pattern in exclude):  # "." has none either
        raise RequestError("a pattern to exclude is empty; leave it out, or name what to leave out")
    found: list[Entry] = []
    skipped: list[Skipped] = []
    tops = [top for top in sorted(root.iterdir()) if not _is_passed_over(top, exclude)]
    for number, top in enumerate(tops, 1):
        for path in _candidates(top, exclude):
            relative = path.relative_to(root).as_posix()
            try:
                found += _entries(path, relative, patient=_patient_of(top), skipped=skipped)
            except InputError as error:
                skipped.append(Skipped(relative, str(error)))
        if progress is not None:
            progress(number, len(tops))
    if not found:
        reason = f": {skipped[0].reason}" if skipped else ""
        raise InputError(f"{root}: no scan could be read{reason}")
    entries = _joined(found)
    sides = _divide({entry.patient for entry in entries}, validation, test, seed)
    return Manifest(
        root=root,
        entries=tuple(
            replace(entry, split=sides[entry.patient], collection=collection, licence=licence)
            for entry in entries
        ),
        skipped=tuple(skipped),
    )


def _is_passed_over(path: Path, exclude: Sequence[str]) -> bool:
    if path.name.startswith(".") or any(path.match(pattern) for pattern in exclude):
        return True
    return path.is_file() and path.suffix.lower() in _NO_SCANS


def _candidates(top: Path, exclude: Sequence[str]) -> Iterator[Path]:
    """What to open of a patient: every volume file, then the folder as DICOM if more is in it."""
    if not top.is_dir():
        yield top
        return
    others = False
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = sorted(
            s for s in subfolders if not _is_passed_over(Path(folder, s), exclude)
        )
        for path in (Path(folder, name) for name in sorted(names)):
            if _is_passed_over(path, exclude):
                continue
            if volume_suffix(path) is None and path.suffix.lower() != ".zip":
                others = True
            else:
                yield path
    if others:
        yield top


def _patient_of(top: Path) -> str:
    if top.is_dir():
        return top.name
    suffix = volume_suffix(top) or volume_suffix(top, of=(".dcm", ".zip")) or ""
    return top.name[: len(top.name) - len(suffix)]


def _entries(path: Path, relative: str, *, patient: str, skipped: list[Skipped]) -> Iterator[Entry]:
    source = open_scan(path)
    yield from _entry(source, relative, patient, skipped)
    if not isinstance(source, DicomScan):
        return
    for other in source.others:
        if other.is_localizer or len(other.frames) < _LEAST_SLICES:
            continue
        try:
            if not other.uid:
                raise InputError(f"{relative}: a second volume has no Series Instance UID")
            yield from _entry(open_scan(path, series=other.uid), relative, patient, skipped)
        except InputError as error:
            skipped.append(Skipped(relative, str(error)))


def _entry(
    source: SliceSource, relative: str, patient: str, skipped: list[Skipped]
) -> Iterator[Entry]:
    geometry, modality = source.geometry, source.info.modality
    if modality not in ("CT", ""):
        skipped.append(Skipped(relative, f"{relative}: the modality is {modality}, expected CT"))
    elif len(geometry) < _LEAST_SLICES:
        reason = f"{relative}: holds 1 slice; put the slices of a scan into a folder of their own"
        skipped.append(Skipped(relative, reason))
    elif reason := _why_no_truth(source):
        skipped.append(Skipped(relative, reason))
    else:
        yield Entry(
            path=relative,
            patient=patient,
            split="train",
            series_uid=source.info.series_uid,
            slices=len(geometry),
            spacing_mm=round(geometry.spacing_mm, 6),
        )


def _why_no_truth(source: SliceSource) -> str:
    """Why a network must not learn from a scan, or an empty string."""
    try:
        refuse_synthetic(source)
    except RequestError as error:
        return str(error)
    return ""


def _joined(entries: Iterable[Entry]) -> list[Entry]:
    """Give patients that hold copies of one series one name, the first of theirs."""
    entries = list(entries)
    names = {entry.patient: entry.patient for entry in entries}
    owner: dict[str, str] = {}
    for entry in entries:
        if not entry.series_uid:
            continue
        first = names[owner.setdefault(base_uid(entry.series_uid), entry.patient)]
        own = names[entry.patient]
        if first != own:
            names = {key: first if name == own else name for key, name in names.items()}
    return [replace(entry, patient=names[entry.patient]) for entry in entries]


def _divide(patients: set[str], validation: float, test: float, seed: int) -> dict[str, Split]:
    # Sorted by hash: a shuffle that neither NumPy's version nor the file system can change.
    order = sorted(patients, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    wanted: list[tuple[Split, float]] = [("validation", validation), ("test", test)]
    counts = [
        (split, max(round(fraction * len(order)), 1) if fraction > 0 and len(order) > 1 else 0)
        for split, fraction in wanted
    ]
    if sum(count for _, count in counts) >= len(order):
        raise RequestError(
            f"{len(order)} patients cannot be divided into train, validation and test; "
            "add patients or set a fraction to 0"
        )
    sides: dict[str, Split] = dict.fromkeys(order, "train")
    for split, count in counts:
        sides.update(dict.fromkeys(order[:count], split))
        order = order[count:]
    return sides
