"""From the slices that a job hands over to the stored values of a derived series."""

from __future__ import annotations

import numpy as np

from hrinet.errors import RequestError
from hrinet.io.dicom.derive.burn_in import burn_in
from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice
from hrinet.io.dicom.derive.stored import StoredArray, StoredType, stored_type
from hrinet.io.dicom.derive.uncertainty import MAP_TYPE
from hrinet.io.dicom.pixels import decode_frame, stored_values
from hrinet.types import FLOAT32, INT16, SliceArray

_WHOLE_HU = StoredType(bits=16, is_signed=True, slope=1.0, intercept=0.0)
"""For volume files, whose int16 HU are stored as they are."""


class Encoder:
    """Turns HU into stored values, and counts what does not fit.

    Args:
        series: that is written.
        checks_originals: whether to compare originals with their source, for slices that come from
            a caller rather than straight from the reader.
    """

    def __init__(self, series: DerivedSeries, *, checks_originals: bool = False) -> None:
        self._series = series
        self._checks_originals = checks_originals
        self._clipped_slices = 0
        self._clipped_voxels = 0
        self._rounded = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened on the way that the user should know."""
        notes = []
        if self._clipped_slices:
            notes.append(
                f"{self._clipped_voxels} voxels in {self._clipped_slices} slices lay outside what "
                "the stored values of the DICOM series can hold and were set to the nearest value "
                "that can"
            )
        if self._rounded:
            notes.append(
                f"{self._rounded} original slices hold fractions of HU, which were rounded to "
                "whole HU for DICOM"
            )
        return tuple(notes)

    def kind_of(self, one: DerivedSlice) -> StoredType:
        """How the values of a slice are stored: as those of its first source image."""
        if self._series.quantity != "image":
            return MAP_TYPE
        return stored_type(one.frames[0]) if self._series.is_copy else _WHOLE_HU

    def encode(self, one: DerivedSlice, values: SliceArray) -> tuple[StoredArray, StoredType]:
        """The stored values of a slice, and how they are stored.

        Args:
            one: which.
            values: shape (row, column), HU.

        Raises:
            RequestError: if an original is not what it says it is, or does not fit.
        """
        kind = self.kind_of(one)
        if self._is_copied(one):
            return self._copy(one, values, kind), kind
        stored, clipped = kind.encode(self._series.layout.values(values))
        if clipped:
            self._clipped_slices += 1
            self._clipped_voxels += clipped
        if not one.provenance.is_synthetic and values.dtype == FLOAT32:
            self._rounded += self._series.quantity == "image" and bool(
                np.any(values != np.rint(values))
            )
        if one.provenance.is_synthetic and self._series.options.burn_in:
            stored = burn_in(stored, kind)
        return stored, kind

    def _is_copied(self, one: DerivedSlice) -> bool:
        series = self._series
        return (
            series.is_copy
            and series.quantity == "image"
            and not one.provenance.is_synthetic
            and not series.recipe.is_moved
        )

    def _copy(self, one: DerivedSlice, values: SliceArray, kind: StoredType) -> StoredArray:
        """Stored values of an original, bit for bit."""
        if self._checks_originals:
            self._check(one, values)
        elif values.dtype == INT16:
            stored, clipped = kind.encode(values)  # Whole numbers: exactly what was read.
            if not clipped:
                return stored
        frame = one.frames[0]
        read = stored_values(frame, limits=self._series.limits)
        low, high = int(read.min()), int(read.max())
        if low < kind.low or high > kind.high:
            raise RequestError(
                f"{frame.file.name}: stores values of {low} to {high}, more than the 16 bits of a "
                "CT image hold; write .nii.gz or .nrrd instead"
            )
        return read.astype(kind.dtype, copy=False)

    def _check(self, one: DerivedSlice, values: SliceArray) -> None:
        again = decode_frame(one.frames[0], dtype=FLOAT32, limits=self._series.limits)
        if again.shape != values.shape or not np.array_equal(again, values.astype(np.float32)):
            raise RequestError(
                f"slice {one.index} says that it is an exact copy of "
                f"{one.frames[0].file.name}, but its values differ; give changed slices no source "
                "in their provenance"
            )
