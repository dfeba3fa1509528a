"""Every slice of a manifest, windowed and resampled once, in memory-mapped files.

A cache is a folder with ``index.json``, and two files a scan: ``<hash>.npy``, shape (slice, size,
size), 16-bit fixed point of [0, 1], and ``<hash>.json``, which describes it. The hash covers all
that decides on the content: format, size, window, and name, size and time of change of the source
files. So a finished scan is recognised by its name, a stale one is never asked for, and a build
that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.errors import InputError
from hrinet.train import UnitArray, Window, from_stored
from hrinet.train.manifest import Skipped, Split

CACHE_SCHEMA = "hrinet-cache-2"
"""Part of every hash: raise it when the same source gives other pixels, or is refused by now."""


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
        collection: where the scan was published; empty if the manifest does not say.
        licence: of the scan; likewise.
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
    collection: str = ""
    licence: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cache:
    """A finished cache, read-only; see :func:`hrinet.train.caching.build_cache`.

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
                volumes=tuple(restored(item) for item in index["volumes"]),
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


def restored(item: dict[str, Any]) -> CachedVolume:
    """What ``asdict`` made of a scan, from JSON.

    Raises:
        KeyError, TypeError, ValueError: if it is damaged.
    """
    told = {"collection": "", "licence": "", **item}  # which older caches do not say
    volume = CachedVolume(**{field.name: told[field.name] for field in fields(CachedVolume)})
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
