"""Which scans take part in training, whose they are, and on which side of the split.

On disk a manifest is JSON::

    {
      "schema": "hrinet-manifest-1",
      "entries": [{"path": "a/scan", "patient": "a", "split": "train", "series_uid": "",
                   "slices": 60, "spacing_mm": 3.0, "collection": "", "licence": ""}],
      "skipped": [{"path": "b", "reason": "b: holds no DICOM images ..."}]
    }

Paths are relative to the folder of the manifest; of an entry only ``path``, ``patient`` and
``split`` are obligatory. A list of ``{"name", "split", ...}`` is read as well: it describes the
scans ``<split>/<name>``, each of a patient of its own, and its other splits are ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, get_args

from hrinet.errors import InputError, RequestError
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.formats import open_scan, volume_suffix
from hrinet.io.guard import refuse_inputs
from hrinet.io.staging import Staging
from hrinet.volume import SliceSource

Split: TypeAlias = Literal["train", "validation", "test"]
"""What a scan may be used for: fitting, choosing between runs, reported figures."""

SPLITS: tuple[Split, ...] = get_args(Split)

MANIFEST_SCHEMA = "hrinet-manifest-1"

_LEAST_SLICES = 2
_NO_SCANS = (
    *(".csv", ".gif", ".html", ".img", ".jpeg", ".jpg", ".json", ".md", ".pdf", ".png", ".raw"),
    *(".tsv", ".txt", ".xml", ".yaml", ".yml", ".zraw"),
)
"""Suffixes of what lies beside scans: notes, sidecars, the data of detached headers."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scan.

    Attributes:
        path: of the file or folder, relative to the manifest, with ``/`` between its parts.
        patient: whose it is; any name, as long as no patient has two and no two share one.
        split: what it may be used for.
        series_uid: DICOM series to take of it, or an empty string for the one with most slices.
        slices: number of slices, or 0 if not stated.
        spacing_mm: median distance between slices, mm, or None if not stated.
        collection: where it was published, for the attribution of weights.
        licence: under which licence.
    """

    path: str
    patient: str
    split: Split
    series_uid: str = ""
    slices: int = 0
    spacing_mm: float | None = None
    collection: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was left out.

    Attributes:
        path: relative to the manifest.
        reason: one sentence.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The scans of a training run.

    Attributes:
        root: folder that the paths of the entries are relative to.
        entries: the scans.
        skipped: what was found and left out.

    Raises:
        InputError: if a split is unknown, a scan is listed twice, or a patient or a DICOM series
            is in two splits.
    """

    root: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        seen: set[tuple[str, str]] = set()
        sides: dict[tuple[str, str], Entry] = {}
        for entry in self.entries:
            if entry.split not in SPLITS:
                raise InputError(
                    f"{entry.path}: the split is {entry.split!r}, expected one of "
                    f"{', '.join(SPLITS)}"
                )
            if (entry.path, entry.series_uid) in seen:
                raise InputError(f"{entry.path}: is listed twice; remove one of the entries")
            seen.add((entry.path, entry.series_uid))
            _check_sides(sides, entry)

    def of_split(self, *splits: Split) -> tuple[Entry, ...]:
        """The entries of some splits, in order."""
        return tuple(entry for entry in self.entries if entry.split in splits)


def _check_sides(sides: dict[tuple[str, str], Entry], entry: Entry) -> None:
    keys = [("patient", entry.patient)]
    if entry.series_uid:
        keys.append(("series", _base_uid(entry.series_uid)))
    for kind, value in keys:
        other = sides.setdefault((kind, value), entry)
        if other.split != entry.split:
            raise InputError(
                f"{kind} {value} is in two splits: {other.path} in {other.split}, {entry.path} in "
                f"{entry.split}; put both into one, or training sees what it is judged by"
            )


def make_manifest(
    folder: str | Path,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
) -> Manifest:
    """Find every scan below a folder and divide the patients between the splits.

    **Each folder or file directly below** ``folder`` **is one patient**, named as it is (a file
    without its suffix). DICOM's Patient ID is not looked at, so that none can leak into a manifest;
    a patient's scans therefore have to share a folder. Patients that hold copies of one DICOM
    series count as one. Below a patient's folder every volume is an entry: each NIfTI, NRRD and
    MetaImage file, and each DICOM series of two slices or more.

    The split depends on the names and the seed alone, not on the order of the files.

    Args:
        folder: with a folder or a file a patient.
        validation: fraction of the patients to validate on; at least one if there are two.
        test: fraction of the patients to keep for reported figures, likewise.
        seed: which division.
        exclude: glob patterns of names to leave out, such as ``*_seg.nii.gz``: masks can be read
            like scans, but hold no HU.
        progress: called after every patient.

    Returns:
        The manifest, with paths relative to ``folder``; what could not be read is in ``skipped``.

    Raises:
        InputError: if the folder does not exist or holds no scan.
        RequestError: if the fractions do not lie in [0, 1) or leave nothing to train on.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; expected one with a folder or a file a patient")
    if min(validation, test) < 0 or validation + test >= 1:
        raise RequestError(
            f"validation is {validation} and test {test}; each must be 0 or more, their sum below 1"
        )
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
        entries=tuple(replace(entry, split=sides[entry.patient]) for entry in entries),
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
            if volume_suffix(path) is None:
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
    else:
        yield Entry(
            path=relative,
            patient=patient,
            split="train",
            series_uid=source.info.series_uid,
            slices=len(geometry),
            spacing_mm=round(geometry.spacing_mm, 6),
        )


def _joined(entries: Iterable[Entry]) -> list[Entry]:
    """Give patients that hold copies of one series one name, the first of theirs."""
    entries = list(entries)
    names = {entry.patient: entry.patient for entry in entries}
    owner: dict[str, str] = {}
    for entry in entries:
        if not entry.series_uid:
            continue
        first = names[owner.setdefault(_base_uid(entry.series_uid), entry.patient)]
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


def _base_uid(series_uid: str) -> str:
    return series_uid.partition("#")[0]


def save_manifest(manifest: Manifest, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a manifest, with the paths made relative to where it lies.

    Raises:
        RequestError: if the file exists, is one of the scans, or cannot be written.
    """
    path = Path(path)
    refuse_inputs([path], [manifest.root / entry.path for entry in manifest.entries])
    moved = os.path.relpath(manifest.root, path.parent)
    listed: dict[str, Any] = {"schema": MANIFEST_SCHEMA}
    for kind in ("entries", "skipped"):
        listed[kind] = [
            {**asdict(item), "path": (PurePosixPath(Path(moved).as_posix()) / item.path).as_posix()}
            for item in getattr(manifest, kind)
        ]
    with Staging(overwrite=overwrite) as staging:
        staging.path(path).write_text(json.dumps(listed, indent=1) + "\n", "utf-8")


def load_manifest(path: str | Path) -> Manifest:
    """Read a manifest; see the module for the two forms it may have.

    Raises:
        InputError: if it cannot be read, a field is missing or of the wrong type, or it violates
            what :class:`Manifest` demands.
    """
    path = Path(path)
    try:
        listed = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); expected a manifest") from error
    skipped: Sequence[Mapping[str, Any]] = ()
    if isinstance(listed, list):
        items = [_from_named(item) for item in _objects(path, listed) if _is_used(item)]
    elif isinstance(listed, dict) and listed.get("schema") == MANIFEST_SCHEMA:
        items = _objects(path, listed.get("entries"))
        skipped = _objects(path, listed.get("skipped", []))
    else:
        raise InputError(f"{path}: is no manifest; expected a list, or schema {MANIFEST_SCHEMA!r}")
    try:
        return Manifest(
            root=path.parent,
            entries=tuple(_parsed(path, item) for item in items),
            skipped=tuple(Skipped(str(s.get("path")), str(s.get("reason"))) for s in skipped),
        )
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(path)) else f"{path}: {error}") from None


def _objects(path: Path, listed: object) -> list[dict[str, Any]]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise InputError(f"{path}: is no manifest; expected a list of objects")
    return listed


def _is_used(item: Mapping[str, Any]) -> bool:
    return item.get("split") in SPLITS


def _from_named(item: Mapping[str, Any]) -> dict[str, Any]:
    spacing = item.get("spacing_mm")
    if isinstance(spacing, list):  # smallest, median, largest
        spacing = spacing[len(spacing) // 2] if spacing else None
    known = {field.name: item[field.name] for field in fields(Entry) if field.name in item}
    name = item.get("name")
    place = {"path": f"{item['split']}/{name}", "patient": item.get("patient", name)}
    return {**known, **place, "spacing_mm": spacing}


def _parsed(path: Path, item: Mapping[str, Any]) -> Entry:
    subject = f"{path}: entry {item.get('path')!r}"
    for name in ("path", "patient", "split", "series_uid", "collection", "licence"):
        value = item.get(name, "")
        if not isinstance(value, str) or (name in ("path", "patient", "split") and not value):
            raise InputError(f"{subject}: {name} is {value!r}, expected text")
    slices, spacing = item.get("slices", 0), item.get("spacing_mm")
    if not isinstance(slices, int) or slices < 0:
        raise InputError(f"{subject}: slices is {slices!r}, expected a whole number")
    if spacing is not None and not (isinstance(spacing, int | float) and spacing > 0):
        raise InputError(f"{subject}: spacing_mm is {spacing!r}, expected mm or null")
    return Entry(**{field.name: item[field.name] for field in fields(Entry) if field.name in item})
