"""Names for the arrays that travel through the package.

Array axes are ``(slice, row, column)`` everywhere inside HRINet; values are Hounsfield units (HU).
Points and directions are in the DICOM patient coordinate system LPS (x to the patient's Left,
y to Posterior, z to Superior) in mm, unless a name ends in ``_ras``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SliceArray = NDArray[Any]
"""One slice, shape (row, column), int16 or float32, HU."""

VolumeArray = NDArray[Any]
"""A stack of slices, shape (slice, row, column), int16 or float32, HU."""

Float64Array = NDArray[np.float64]
"""Positions, directions and affines; mm."""

INT16 = np.dtype(np.int16)
FLOAT32 = np.dtype(np.float32)
