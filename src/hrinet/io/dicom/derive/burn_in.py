"""A visible mark in the pixels of synthetic slices."""

from __future__ import annotations

import cv2
import numpy as np

from hrinet.io.dicom.derive.stored import StoredArray, StoredType
from hrinet.types import SliceArray

TEXT = "SYNTHETIC"
_MARK_HU = 3000.0
_BACKGROUND_HU = -1000.0
_MARGIN = 0.02
_WIDTH = 0.22
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def mark(rows: int, columns: int) -> tuple[SliceArray, SliceArray]:
    """Where the mark is drawn, in the lower left corner.

    Args:
        rows: of the slice.
        columns: of the slice.

    Returns:
        Two masks of shape (row, column), bool: the box and, within it, the letters.
    """
    (width, height), baseline = cv2.getTextSize(TEXT, _FONT, 1.0, 1)
    scale = _WIDTH * columns / width
    margin = max(1, round(_MARGIN * min(rows, columns)))
    letters = np.zeros((rows, columns), np.uint8)
    bottom = rows - margin - round(baseline * scale)
    cv2.putText(letters, TEXT, (margin, bottom), _FONT, scale, 255, max(1, round(scale)))
    box = np.zeros((rows, columns), bool)
    top = max(0, bottom - round(height * scale) - margin)
    box[top:, : min(columns, round(width * scale) + 2 * margin)] = True
    return box, letters > 0


def burn_in(stored: StoredArray, kind: StoredType) -> StoredArray:
    """A slice with the mark, white on black.

    Args:
        stored: shape (row, column).
        kind: of the stored values.
    """
    box, letters = mark(*stored.shape)
    (dark, bright), _ = kind.encode(np.array([_BACKGROUND_HU, _MARK_HU], np.float32))
    marked = stored.copy()
    marked[box] = dark
    marked[letters] = bright
    return marked
