"""The scans under evaluation: what names them, what they hold, how they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.evaluate.protocols import distinct
from hrinet.geometry import Geometry
from hrinet.io.formats import open_scan
from hrinet.io.loading import load
from hrinet.measured import refuse_synthetic
from hrinet.types import SliceArray
from hrinet.volume import Volume

LUNG_HU = (-950.0, -500.0)
LUNG_AREA_MM2 = 5000.0
"""A slice with more than so much between :data:`LUNG_HU` counts as one with lung."""

REGIONS = ("with lung", "without lung")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A scan under evaluation.

    Attributes:
        name: what reports call it. Never taken from the file: tags and paths may name a patient.
        path: of the file or folder.
        series_uid: DICOM series to take, or an empty string for the one with most slices.
        collection: where it was published, for the attribution of pictures.
        licence: under which licence.
        may_be_shown: whether its slices may appear in pictures.
    """

    name: str
    path: Path
    series_uid: str = ""
    collection: str = ""
    licence: str = ""
    may_be_shown: bool = True

    @property
    def identity(self) -> str:
        """SHA-256 of what tells that the input is the same: paths, sizes, times, series."""
        files = [self.path]
        if self.path.is_dir():
            files = sorted(file for file in self.path.rglob("*") if file.is_file())
        listed = []
        for file in files:
            try:
                stat = file.stat()
            except OSError as error:
                raise InputError(f"{file}: cannot be read: {error.strerror}") from error
            listed.append((str(file.resolve()), stat.st_size, stat.st_mtime_ns))
        text = json.dumps([listed, self.series_uid])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def attribution(self) -> str:
        """One line for beneath a picture; empty if nothing is known."""
        return ", ".join(part for part in (self.collection, self.licence) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectInfo:
    """What a report says of a scan.

    Attributes:
        name: see :class:`Subject`.
        slices: number of slices that take part.
        rows: of a slice.
        columns: of a slice.
        spacing_mm: median distance between slices, mm.
        pixel_mm: distance between pixels of a column and of a row, mm.
        thickness_mm: of a slice, mm, or None.
        kernel: DICOM Convolution Kernel, or an empty string.
        tilt_deg: gantry tilt, degrees.
        is_uniform: whether the slices lie at even distances.
        left_out: number of slices of the input that take no part, mostly doubled ones.
        attribution: see :class:`Subject`.
    """

    name: str
    slices: int
    rows: int
    columns: int
    spacing_mm: float
    pixel_mm: tuple[float, float]
    thickness_mm: float | None
    kernel: str
    tilt_deg: float
    is_uniform: bool
    left_out: int
    attribution: str = ""

    @property
    def sentence(self) -> str:
        """One line for the reader."""
        parts = [
            f"{self.slices} slices of {self.rows} x {self.columns} every {self.spacing_mm:.4g} mm"
        ]
        if not self.is_uniform:
            parts[0] += " (median; uneven)"
        if self.thickness_mm:
            parts.append(f"{self.thickness_mm:.4g} mm thick")
        parts.append(f"pixels of {self.pixel_mm[0]:.3g} mm")
        if self.kernel:
            parts.append(f"kernel {self.kernel}")
        if abs(self.tilt_deg) > 0.05:
            parts.append(f"gantry tilt {self.tilt_deg:.1f} degrees")
        if self.left_out:
            parts.append(f"{self.left_out} of the input left out (doubled, or not of the volume)")
        if self.attribution:
            parts.append(self.attribution)
        return ", ".join(parts)


@lru_cache(maxsize=1)
def load_subject(path: Path, series_uid: str) -> tuple[Volume, int]:
    """Read a scan, without its doubled slices; the last one is kept in memory.

    Returns:
        The volume, and the number of doubled slices.

    Raises:
        InputError: if it cannot be read.
        RequestError: if it has fewer than three slices, or holds synthetic ones.
    """
    source = open_scan(path, series=series_uid or None)
    refuse_synthetic(source)
    volume = load(source)
    chosen = distinct([float(position) for position in volume.geometry.positions_mm])
    if len(chosen) < 3:
        raise RequestError(
            f"{path}: has {len(chosen)} slices that differ in position; three are needed to hide "
            "one between two"
        )
    if len(chosen) == len(volume):
        return volume, 0
    return part_of(volume, chosen), len(volume) - len(chosen)


def describe(subject: Subject) -> SubjectInfo:
    """What a report says of a scan; reads it."""
    volume, doubled = load_subject(subject.path, subject.series_uid)
    geometry = volume.geometry
    return SubjectInfo(
        name=subject.name,
        slices=len(volume),
        rows=geometry.rows,
        columns=geometry.columns,
        spacing_mm=geometry.spacing_mm,
        pixel_mm=geometry.pixel_spacing,
        thickness_mm=geometry.slice_thickness,
        kernel=volume.info.kernel,
        tilt_deg=geometry.tilt_deg,
        is_uniform=geometry.is_uniform,
        left_out=doubled + len(volume.info.dropped),
        attribution=subject.attribution,
    )


def part_of(volume: Volume, indices: Sequence[int]) -> Volume:
    """Some slices of a volume as a volume."""
    chosen = list(indices)
    geometry = volume.geometry
    return Volume(
        array=volume.array[chosen],
        geometry=Geometry(
            origins=geometry.origins[chosen],
            row_direction=geometry.row_direction,
            column_direction=geometry.column_direction,
            pixel_spacing=geometry.pixel_spacing,
            rows=geometry.rows,
            columns=geometry.columns,
            slice_thickness=geometry.slice_thickness,
        ),
        padding_hu=volume.padding_hu,
        info=volume.info,
    )


def resized(volume: Volume, size: int | None) -> Volume:
    """A volume whose slices have ``size`` pixels on their longer side, averaged by area.

    Where the slices are not larger, it is returned as it is. Padding outside the field of view
    becomes air first: an average of it with anything is neither.
    """
    rows, columns = volume.geometry.rows, volume.geometry.columns
    if size is None or size >= max(rows, columns):
        return volume
    factor = max(rows, columns) / size
    shape = (round(rows / factor), round(columns / factor))
    array = np.empty((len(volume), *shape), volume.dtype)
    for index, values in enumerate(volume.array):
        filled = without_padding(values, volume.padding_hu).astype(np.float32)
        small = cv2.resize(filled, shape[::-1], interpolation=cv2.INTER_AREA)
        array[index] = np.rint(small) if volume.dtype.kind == "i" else small
    geometry = volume.geometry
    row_mm, column_mm = geometry.pixel_spacing
    row_mm, column_mm = row_mm * rows / shape[0], column_mm * columns / shape[1]
    # The centre of the first pixel moves inwards by half of what a pixel grows.
    inwards = (
        geometry.column_direction * (row_mm - geometry.pixel_spacing[0]) / 2
        + geometry.row_direction * (column_mm - geometry.pixel_spacing[1]) / 2
    )
    return Volume(
        array=array,
        geometry=Geometry(
            origins=geometry.origins + inwards,
            row_direction=geometry.row_direction,
            column_direction=geometry.column_direction,
            pixel_spacing=(row_mm, column_mm),
            rows=shape[0],
            columns=shape[1],
            slice_thickness=geometry.slice_thickness,
        ),
        info=volume.info,
    )


def without_padding(values: SliceArray, padding_hu: float | None) -> SliceArray:
    """A slice with air where there is padding, and where a value is not finite."""
    outside = ~np.isfinite(values)
    if padding_hu is not None:
        outside |= values == padding_hu
    if not outside.any():
        return values
    filled = values.copy()
    filled[outside] = -1024
    return filled


def region_of(truth: SliceArray, pixel_mm: tuple[float, float]) -> str:
    """Which of :data:`REGIONS` a slice belongs to, by the area of lung in it."""
    low, high = LUNG_HU
    area = float(np.count_nonzero((truth > low) & (truth < high))) * pixel_mm[0] * pixel_mm[1]
    return REGIONS[0] if area > LUNG_AREA_MM2 else REGIONS[1]
