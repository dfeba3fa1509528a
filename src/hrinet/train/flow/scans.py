"""The scans to train ``hrinet-flow`` on, at full resolution, in memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hrinet.errors import InputError
from hrinet.io.formats import open_scan
from hrinet.io.limits import Limits
from hrinet.measured import refuse_synthetic
from hrinet.train.flow.choices import Extent
from hrinet.train.flow.samples import Scan
from hrinet.train.manifest import Entry, load_manifest

_LOW_HU, _HIGH_HU = -1024.0, 3071.0
_UNEVEN_MM = 0.02


def load_scans(manifest: str | Path) -> list[Scan]:
    """Read the scans of the manifest's training split whose slices are evenly spaced.

    Values are limited to what 12-bit CT can hold, so that whatever lies outside the field of view
    is air.

    Args:
        manifest: path of the JSON file.

    Raises:
        InputError: if a scan cannot be read, or none is left.
        RequestError: if a scan holds slices that were synthesized.
    """
    known = load_manifest(manifest)
    entries = known.of_split("train")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(pool.map(lambda entry: _load(entry, known.root / entry.path), entries))
    scans = [scan for scan in found if scan is not None]
    if not scans:
        raise InputError(f"{manifest}: holds no training scan with evenly spaced slices")
    return scans


def _load(entry: Entry, path: Path) -> Scan | None:
    source = open_scan(path, series=entry.series_uid or None, limits=Limits())
    refuse_synthetic(source)
    geometry = source.geometry
    gaps = np.diff(geometry.positions_mm)
    if len(gaps) < 3 or np.ptp(gaps) > _UNEVEN_MM:
        return None
    array = np.empty((len(geometry), geometry.rows, geometry.columns), np.int16)
    for index in range(len(geometry)):
        values = source.read_slice(index).astype(np.float32)
        array[index] = np.clip(np.nan_to_num(values, nan=_LOW_HU), _LOW_HU, _HIGH_HU)
    extent = Extent(
        patient=entry.patient,
        slices=len(geometry),
        spacing_mm=float(np.median(gaps)),
        thickness_mm=geometry.slice_thickness,
    )
    return Scan(extent=extent, array=array, collection=entry.collection, licence=entry.licence)
