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

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, get_args

from hrinet.errors import InputError
from hrinet.io.guard import refuse_inputs
from hrinet.io.sidecar import refuse_sidecars
from hrinet.io.staging import Staging

Split: TypeAlias = Literal["train", "validation", "test"]
"""What a scan may be used for: fitting, choosing between runs, reported figures."""

SPLITS: tuple[Split, ...] = get_args(Split)

MANIFEST_SCHEMA = "hrinet-manifest-1"

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
        keys.append(("series", base_uid(entry.series_uid)))
    for kind, value in keys:
        other = sides.setdefault((kind, value), entry)
        if other.split != entry.split:
            raise InputError(
                f"{kind} {value} is in two splits: {other.path} in {other.split}, {entry.path} in "
                f"{entry.split}; put both into one, or training sees what it is judged by"
            )


def base_uid(series_uid: str) -> str:
    """The UID without the number that tells several volumes of one series apart."""
    return series_uid.partition("#")[0]


def save_manifest(manifest: Manifest, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a manifest, with the paths made relative to where it lies.

    Raises:
        RequestError: if the file exists, is one of the scans or the sidecar of a volume, or cannot
            be written.
    """
    path = Path(path)
    refuse_sidecars([path])
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
    except (ValueError, RecursionError) as error:
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
