"""From HU back to stored values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hrinet.io.dicom.frames import Frame
from hrinet.types import INT16, SliceArray

StoredArray = NDArray[np.integer]
"""Stored values, shape (row, column), int16 or uint16."""

_LEAST_BITS = 12
"""A CT image stores 12 to 16 bits (PS3.3 C.8.2.1.1.5)."""


@dataclass(frozen=True, slots=True)
class StoredType:
    """What stored values are, and what they mean.

    Attributes:
        bits: Bits Stored, of 16 allocated.
        is_signed: Pixel Representation.
        slope: Rescale Slope, HU.
        intercept: Rescale Intercept, HU.
        padding: stored value of pixels outside the field of view, or None.
    """

    bits: int
    is_signed: bool
    slope: float
    intercept: float
    padding: int | None = None

    @property
    def low(self) -> int:
        """The least value that can be stored."""
        return -(1 << (self.bits - 1)) if self.is_signed else 0

    @property
    def high(self) -> int:
        """The largest value that can be stored."""
        return self.low + (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """Of the stored values."""
        return np.dtype(np.int16 if self.is_signed else np.uint16)

    def encode(self, values: SliceArray) -> tuple[StoredArray, int]:
        """Stored values whose HU are nearest to those given.

        Args:
            values: shape (row, column), HU, int16 or float32.

        Returns:
            The stored values, and how many voxels lay outside what can be stored.
        """
        if values.dtype == INT16 and self.slope == 1 and self.intercept == int(self.intercept):
            wanted = np.subtract(values, int(self.intercept), dtype=np.int32)
        else:
            exact = (values.astype(np.float64) - self.intercept) / self.slope
            wanted = np.rint(np.clip(exact, -(2.0**31), 2.0**31 - 1)).astype(np.int32)
        low, high = int(wanted.min()), int(wanted.max())
        clipped = 0
        if low < self.low or high > self.high:
            clipped = int(np.count_nonzero((wanted < self.low) | (wanted > self.high)))
            np.clip(wanted, self.low, self.high, out=wanted)
        return wanted.astype(self.dtype), clipped


def stored_type(frame: Frame) -> StoredType:
    """The type that holds every stored value of a frame, in the 16 bits of a CT image.

    Values are those of the source. Where its Bits Stored is less than a CT image allows, or the
    padding value needs more bits, it is larger here.
    """
    pixels = frame.pixels
    found = StoredType(
        bits=min(max(pixels.bits_stored, _LEAST_BITS), 16),
        is_signed=pixels.is_signed,
        slope=frame.slope,
        intercept=frame.intercept,
        padding=frame.padding,
    )
    if frame.padding is not None and not found.low <= frame.padding <= found.high:
        return replace(found, bits=16)
    return found
