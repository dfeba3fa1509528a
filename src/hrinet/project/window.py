"""From values to grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.project.projector import Mode, Projection

_BLACK: dict[Mode, float] = {
    "mean": -1000.0,
    "maximum": -200.0,
    "minimum": -1000.0,
    "sum": 0.0,
    "attenuation": 0.0,
}


@dataclass(frozen=True, slots=True)
class Window:
    """The values that are shown black and white, in the unit of the projection.

    Attributes:
        low: black.
        high: white.
    """

    low: float
    high: float

    def grey(self, values: NDArray[np.float32], *, bits: int = 8) -> NDArray[np.unsignedinteger]:
        """Whole numbers from 0 to 2^bits - 1 (bits 8 or 16); values beyond the window saturate."""
        top = 2**bits - 1
        scaled = (np.asarray(values, np.float64) - self.low) * (top / (self.high - self.low))
        return np.asarray(np.rint(np.clip(scaled, 0, top)), np.uint8 if bits == 8 else np.uint16)

    def __str__(self) -> str:
        return f"{_number(self.low)} .. {_number(self.high)}"


def choose_window(
    projections: Sequence[Projection], *, width: float | None = None, level: float | None = None
) -> Window:
    """The window that is asked for, or one that shows what is there.

    By default black is air (-200 HU for the maximum, under which there is nothing to see) and white
    the value that one pixel in 500 exceeds.

    Args:
        projections: that are shown alike.
        width: of the window, from black to white.
        level: its middle.

    Raises:
        RequestError: if only one of the two is given, or the width is not above 0.
    """
    if (width is None) != (level is None):
        missing = "--level" if level is None else "--window"
        raise RequestError(f"--window and --level go together; give {missing} as well")
    if width is not None and level is not None:
        if not (np.isfinite(width) and np.isfinite(level) and width > 0):
            raise RequestError(f"--window is {width:g}, expected a width above 0")
        return Window(level - width / 2, level + width / 2)
    low = _BLACK[projections[0].mode]
    high = max(float(np.percentile(one.values, 99.8)) for one in projections)
    return Window(low, max(high, low + 1e-3))


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.2g}"
