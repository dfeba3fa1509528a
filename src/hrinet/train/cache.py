"""Every slice of a manifest, windowed and resampled once, in memory-mapped files.

A cache is a folder with ``index.json``, and two files a scan: ``<hash>.npy``, shape (slice, size,
size), 16-bit fixed point of [0, 1], and ``<hash>.json``, which describes it. The hash covers all
that decides on the content: format, size, window, and name, size and time of change of the source
files. So a finished scan is recognised by its name, a stale one is never asked for, and a build
that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.errors import InputError, RangeExceededError, RequestError, RunError
from hrinet.io.formats import open_scan, volume_suffix
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.staging import Staging
from hrinet.plan.gaps import GapLimits, inspect_gaps
from hrinet.train import DEFAULT_WINDOW, UnitArray, Window, from_stored, prepare_slice, to_stored
from hrinet.train.folders import new_folder
from hrinet.train.manifest import Entry, Manifest, Progress, Skipped, Split
from hrinet.volume import SliceSource

CACHE_SCHEMA = "hrinet-cache-1"
"""Part of every hash: raise it when the same source gives other pixels."""

_READERS = 4
_CHUNK = 64
_OWN_FILE = re.compile(r"[0-9a-f]{32}\.(npy|json)")
_LEFTOVER = re.compile(r"\.([0-9a-f]{32}\.(npy|json)|index\.json)\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, eq=False, kw_only=True)
class CachedVolume:
    """One scan of a cache.

    Attributes:
        file: name of the array in the cache's folder.
        path: of the source, relative to the manifest.
        patient: whose scan it is.
        split: what it may be used for.
        series_uid: DICOM series, or an empty string.
        slices: number of slices.
        rows: of a source slice.
        columns: of a source slice.
        pixel_spacing_mm: distance between rows and between columns of the source, mm.
        spacing_mm: median distance between slices, mm.
        positions_mm: of the slices along their normal, shape (slice,), mm.
        origins: of the slices, shape (slice, 3), LPS, mm.
        flagged_gaps: indices of gaps where slices are missing or which are unusually wide.
        pixels_sha256: of the cached values.
    """

    file: str
    path: str
    patient: str
    split: Split
    series_uid: str
    slices: int
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    spacing_mm: float
    positions_mm: tuple[float, ...]
    origins: tuple[tuple[float, float, float], ...]
    flagged_gaps: tuple[int, ...]
    pixels_sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Cache:
    """A finished cache, read-only; see :func:`build_cache`.

    It may be handed to other processes: they open the files themselves.

    Attributes:
        folder: where it lies.
        size: side of the square slices, pixels.
        window: HU that became 0 and 1.
        volumes: the scans, in the order of the manifest.
        skipped: scans that could not be read.
    """

    folder: Path
    size: int
    window: Window
    volumes: tuple[CachedVolume, ...]
    skipped: tuple[Skipped, ...] = ()
    _maps: dict[str, NDArray[np.uint16]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Cache:
        """Open a finished cache; arrays are mapped when they are first asked for.

        Raises:
            InputError: if there is none, or its index is damaged.
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / "index.json").read_text("utf-8"))
            if index["schema"] != CACHE_SCHEMA:
                raise InputError(f"{folder}: is a cache of another version; build it again")
            return cls(
                folder=folder,
                size=int(index["size"]),
                window=_pair(index["window"]),
                volumes=tuple(_restored(item) for item in index["volumes"]),
                skipped=tuple(Skipped(**item) for item in index["skipped"]),
            )
        except FileNotFoundError:
            raise InputError(f"{folder}: holds no finished cache; build it first") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: its index.json is damaged; build it again") from error

    def __reduce__(self) -> tuple[Callable[[str], Cache], tuple[str]]:
        return Cache.open, (str(self.folder),)

    def of_split(self, split: Split) -> tuple[CachedVolume, ...]:
        """The scans of one split, in order."""
        return tuple(volume for volume in self.volumes if volume.split == split)

    def stored(self, volume: CachedVolume) -> NDArray[np.uint16]:
        """All slices of a scan as they are stored, shape (slice, size, size), memory-mapped.

        Raises:
            InputError: if the file is missing or damaged.
        """
        if volume.file not in self._maps:
            path = self.folder / volume.file
            expected = (volume.slices, self.size, self.size)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: cannot be mapped; build the cache again") from error
            if array.shape != expected or array.dtype != np.uint16:
                raise InputError(
                    f"{path}: holds {array.dtype} {array.shape}, expected uint16 {expected}; "
                    "build the cache again"
                )
            self._maps[volume.file] = array
        return self._maps[volume.file]

    def slices(self, volume: CachedVolume, indices: ArrayLike) -> UnitArray:
        """Slices of a scan.

        Args:
            volume: one of :attr:`volumes`.
            indices: of the slices, shape (n,).

        Returns:
            Shape (n, size, size), [0, 1]; a copy.

        Raises:
            InputError: if the file is missing or damaged.
        """
        return from_stored(self.stored(volume)[np.asarray(indices, dtype=np.intp)])


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
    are made anew, and files that no entry needs any longer are removed. One process at a time may
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
        RequestError: if size or window make no sense.
        RunError: if a file cannot be written, as on a full disk.
    """
    low, high = (float(edge) for edge in window)
    if size < 1 or not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise RequestError(f"size {size}, window {window}: expected a size above 0 and low < high")
    folder = Path(folder)
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
            volume = _restored(json.loads(record.read_text("utf-8")))
            Cache(folder=self.folder, size=self.size, window=self.window, volumes=(volume,)).stored(
                volume
            )
        except (OSError, ValueError, KeyError, TypeError, InputError):
            _remove(self.folder, _LEFTOVER, keep=set())  # a killed build's, that take room
            volume = self._make(entry, path, name)
        # Whose it is and what for is the manifest's to say, and may change without new pixels.
        return replace(volume, patient=entry.patient, split=entry.split)

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
        source = open_scan(path, series=series, limits=self.limits)
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
        digest = hashlib.sha256()
        shape = (len(source.geometry), self.size, self.size)
        # Not through a map: with one, a full disk would kill the process.
        with path.open("wb") as file:
            _write_header(file, shape)
            for values in self._prepared(source):
                content = values.tobytes()
                digest.update(content)
                file.write(content)
        return digest.hexdigest()

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


def _write_header(file: BinaryIO, shape: tuple[int, int, int]) -> None:
    header = {"descr": "<u2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


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
        files = [path]
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        yield os.path.relpath(file, path), state.st_size, state.st_mtime_ns


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


def _restored(item: dict[str, Any]) -> CachedVolume:
    volume = CachedVolume(**{field.name: item[field.name] for field in fields(CachedVolume)})
    return replace(
        volume,
        pixel_spacing_mm=_pair(volume.pixel_spacing_mm),
        positions_mm=tuple(volume.positions_mm),
        origins=tuple((x, y, z) for x, y, z in volume.origins),
        flagged_gaps=tuple(volume.flagged_gaps),
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)


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
