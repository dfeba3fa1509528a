"""Building a cache: windowing and resampling every scan of a manifest once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import InputError, RangeExceededError, RequestError, RunError
from hrinet.io.formats import open_scan, volume_suffix
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import sidecar_path
from hrinet.io.staging import Staging
from hrinet.measured import refuse_synthetic
from hrinet.plan.gaps import GapLimits, inspect_gaps
from hrinet.train import DEFAULT_WINDOW, Window, prepare_slice, to_stored
from hrinet.train.cache import CACHE_SCHEMA, Cache, CachedVolume, restored
from hrinet.train.folders import new_folder
from hrinet.train.manifest import Entry, Manifest, Progress, Skipped, Split
from hrinet.train.npy import write_npy
from hrinet.volume import SliceSource

_SCHEMA_OF_ANY_VERSION = "hrinet-cache-"
_READERS = 4
_CHUNK = 64
_OWN_FILE = re.compile(r"[0-9a-f]{32}\.(npy|json)")
_LEFTOVER = re.compile(r"\.([0-9a-f]{32}\.(npy|json)|index\.json)\.[0-9a-f]{8}\.tmp")


def build_cache(
    manifest: Manifest,
    folder: str | Path,
    *,
    size: int = 256,
    window: Window = DEFAULT_WINDOW,
    splits: Sequence[Split] = ("train", "validation"),
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Cache:
    """Window and resample every scan of a manifest, or reuse what was done before.

    The index is written last, so a cache is either finished or not there. Killed at any time, the
    next call reuses the scans that were finished. Scans whose files, size or window have changed
    are made anew, and files that no entry needs any longer are removed, unless a scan cannot be
    read just now, whose files they may be. One process at a time may
    build a folder; any number may read it, or find by this call that nothing has changed: then no
    file is touched.

    Args:
        manifest: the scans.
        folder: of the cache; made if missing. It should hold nothing else.
        size: side of the slices, pixels.
        window: HU that become 0 and 1.
        splits: which scans to take.
        progress: called after every scan.
        limits: bounds on what a scan may declare.

    Returns:
        The cache. Scans that could not be read are in its ``skipped``.

    Raises:
        InputError: if no scan could be read, or scans of two splits hold the same pixels.
        RequestError: if size or window make no sense, or the folder holds another's index.json.
        RunError: if a file cannot be written, as on a full disk.
    """
    low, high = (float(edge) for edge in window)
    if size < 1 or not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RequestError(f"size {size}, window {window}: expected a size above 0 and low < high")
    folder = Path(folder)
    _refuse_foreign(folder)
    entries = manifest.of_split(*splits)
    volumes: list[CachedVolume] = []
    skipped: list[Skipped] = []
    builder = _Builder(folder, size, (low, high), limits)
    with new_folder(folder):
        for number, entry in enumerate(entries, 1):
            try:
                volumes.append(builder.volume(entry, manifest.root / entry.path))
            except InputError as error:
                skipped.append(Skipped(entry.path, str(error)))
            except OSError as error:
                raise RunError(f"{folder}: cannot be written: {error.strerror}") from error
            if progress is not None:
                progress(number, len(entries))
        if not volumes:
            reason = f": {skipped[0].reason}" if skipped else " in the splits asked for"
            raise InputError(f"{manifest.root}: the manifest has no readable scan{reason}")
    _check_pixels(volumes)
    index = {
        "schema": CACHE_SCHEMA,
        "size": size,
        "window": [low, high],
        "volumes": [asdict(volume) for volume in volumes],
        "skipped": [asdict(item) for item in skipped],
    }
    text = json.dumps(index)
    if _content(folder / "index.json") != text:
        with Staging(overwrite=True) as staging:
            staging.path(folder / "index.json").write_text(text, "utf-8")
        used = {volume.file for volume in volumes}
        _remove(folder, _LEFTOVER, keep=set())
        if not skipped:
            _remove(folder, _OWN_FILE, keep=used | {_record_name(name) for name in used})
    return Cache.open(folder)


@dataclass(frozen=True, slots=True)
class _Builder:
    folder: Path
    size: int
    window: Window
    limits: Limits

    def volume(self, entry: Entry, path: Path) -> CachedVolume:
        """The cached scan of an entry, made if it is not there yet."""
        name = f"{self._fingerprint(entry, path)}.npy"
        record = self.folder / _record_name(name)
        try:
            volume = restored(json.loads(record.read_text("utf-8")))
            Cache(folder=self.folder, size=self.size, window=self.window, volumes=(volume,)).stored(
                volume
            )
        except (OSError, ValueError, KeyError, TypeError, InputError):
            _remove(self.folder, _LEFTOVER, keep=set())  # a killed build's, that take room
            volume = self._make(entry, path, name)
        # Whose it is and what for is the manifest's to say, and may change without new pixels.
        return replace(
            volume,
            patient=entry.patient,
            split=entry.split,
            collection=entry.collection,
            licence=entry.licence,
        )

    def _fingerprint(self, entry: Entry, path: Path) -> str:
        content = [
            CACHE_SCHEMA,
            self.size,
            self.window,
            entry.path,
            entry.series_uid,
            sorted(_described(path)),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _make(self, entry: Entry, path: Path, name: str) -> CachedVolume:
        has_series = entry.series_uid and (path.is_dir() or volume_suffix(path) is None)
        series = entry.series_uid if has_series else None
        try:
            source = open_scan(path, series=series, limits=self.limits)
            refuse_synthetic(source)
        except RequestError as error:
            raise InputError(str(error)) from error  # of this scan, not of the cache
        geometry = source.geometry
        gaps = inspect_gaps(tuple(geometry.positions_mm), GapLimits())
        with Staging(overwrite=True) as staging:
            array = staging.path(self.folder / name)
            record = staging.path(self.folder / _record_name(name))
            try:
                digest = self._write(source, array)
            except RangeExceededError:
                digest = self._write(source.widened(), array)
            volume = CachedVolume(
                file=name,
                path=entry.path,
                patient=entry.patient,
                split=entry.split,
                series_uid=source.info.series_uid,
                slices=len(geometry),
                rows=geometry.rows,
                columns=geometry.columns,
                pixel_spacing_mm=geometry.pixel_spacing,
                spacing_mm=geometry.spacing_mm,
                positions_mm=tuple(geometry.positions_mm.tolist()),
                origins=tuple((x, y, z) for x, y, z in geometry.origins.tolist()),
                flagged_gaps=tuple(sorted(gaps.flags)),
                pixels_sha256=digest,
            )
            record.write_text(json.dumps(asdict(volume)), "utf-8")
        return volume

    def _write(self, source: SliceSource, path: Path) -> str:
        """Write the array; returns the hash of its values."""
        shape = (len(source.geometry), self.size, self.size)
        return write_npy(path, self._prepared(source), shape=shape)

    def _prepared(self, source: SliceSource) -> Iterator[NDArray[np.uint16]]:
        def prepared(index: int) -> NDArray[np.uint16]:
            values = source.read_slice(index)
            unit = prepare_slice(
                values, size=self.size, window=self.window, padding_hu=source.padding_hu
            )
            return to_stored(unit)

        indices = range(len(source.geometry))
        if source.is_sequential:
            yield from map(prepared, indices)
            return
        with ThreadPoolExecutor(_READERS, "hrinet-cache") as readers:
            for start in indices[::_CHUNK]:  # bounds what waits for the disk
                yield from readers.map(prepared, indices[start : start + _CHUNK])


def _described(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file that a scan may be read from."""
    if path.is_dir():
        files = [
            Path(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if not name.startswith(".")
        ]
    elif path.suffix.lower() in (".nhdr", ".mhd"):  # the voxels lie beside the header
        files = [file for file in path.parent.iterdir() if file.name.startswith(path.stem)]
    else:
        # The sidecar beside a volume tells whether slices of it are synthetic.
        files = [path, *filter(Path.is_file, [sidecar_path(path)])]
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        yield os.path.relpath(file, path), state.st_size, state.st_mtime_ns


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder whose index.json is not of a cache."""
    index = folder / "index.json"
    if not index.exists() or any(_OWN_FILE.fullmatch(path.name) for path in folder.iterdir()):
        return
    try:
        schema = str(json.loads(index.read_text("utf-8"))["schema"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        schema = ""
    if not schema.startswith(_SCHEMA_OF_ANY_VERSION):
        raise RequestError(
            f"{folder}: holds an index.json that is not of a cache; give the cache a folder of its "
            "own"
        )


def _check_pixels(volumes: Sequence[CachedVolume]) -> None:
    """Refuse a scan that is in two splits under two names."""
    first: dict[str, CachedVolume] = {}
    for volume in volumes:
        other = first.setdefault(volume.pixels_sha256, volume)
        if other.split != volume.split:
            raise InputError(
                f"{volume.path} ({volume.split}) holds the same pixels as {other.path} "
                f"({other.split}); remove one from the manifest, or training sees what it is "
                "judged by"
            )


def _content(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None


def _record_name(array_name: str) -> str:
    return Path(array_name).with_suffix(".json").name


def _remove(folder: Path, pattern: re.Pattern[str], *, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in keep and pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)
