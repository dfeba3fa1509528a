"""Where a network cannot be asked, the classical result comes through, without a seam."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.types import SliceArray

Mask: TypeAlias = NDArray[np.bool_]

_FEATHER = 4
"""Half the width of the transition between network and classical result, pixels."""


def outside_window(values: SliceArray, window: tuple[float, float]) -> Mask:
    """Where a slice is below a window, at its upper end or above, or no finite number.

    The lower end of a window is air, which is what it is; the upper one may stand for anything
    brighter.

    Args:
        values: shape (row, column), HU.
        window: ends, HU.
    """
    low, high = window
    return ~((values >= low) & (values < high))


def touched(outside: Mask) -> Mask:
    """Where :func:`blend` takes anything of the classical result.

    Args:
        outside: as for :func:`blend`.
    """
    reach = 4 * _FEATHER + 1
    return np.asarray(cv2.dilate(outside.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)


def blend(network: SliceArray, classical: SliceArray, outside: Mask) -> SliceArray:
    """The classical result where ``outside``, the network elsewhere, a ramp of pixels between.

    Args:
        network: shape (row, column), HU, finite.
        classical: of the same shape; where it is not finite, ``outside`` alone decides.
        outside: of the same shape.

    Returns:
        float32, of the same shape.
    """
    if not outside.any():
        return network
    window = (2 * _FEATHER + 1, 2 * _FEATHER + 1)
    # Grown and then smoothed by the same window, a mask keeps its full weight where it was.
    grown = cv2.dilate(outside.astype(np.float32), np.ones(window, np.uint8))
    weight = cv2.blur(grown, window)
    usable = np.isfinite(classical)
    difference = np.subtract(classical, network, where=usable, out=np.zeros_like(network))
    result = network + weight * difference
    np.copyto(result, classical, where=outside)
    return np.asarray(result)
