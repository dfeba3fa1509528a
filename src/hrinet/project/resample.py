"""From the parallelogram that shearing gives to the square pixels of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hrinet.types import Float64Array

Between: TypeAlias = Literal["smooth", "area", "value"]
"""How values are carried over: ``smooth`` and ``area`` keep the integral, ``value`` looks up."""

_TILE = 32  # Lines at a time.


@dataclass(frozen=True, slots=True)
class Grid:
    """Square pixels about a centre.

    Attributes:
        height: rows.
        width: columns.
        pixel_mm: edge length.
        centre: of the picture, (x to the right, y downwards), mm.
    """

    height: int
    width: int
    pixel_mm: float
    centre: tuple[float, float]

    def edges(self, axis: int) -> Float64Array:
        """Borders of the columns (axis 0, x) or of the rows (axis 1, y), mm."""
        count = (self.width, self.height)[axis]
        return np.asarray(self.centre[axis] + (np.arange(count + 1) - count / 2) * self.pixel_mm)


def resample(
    values: NDArray[np.float32],
    *,
    start: tuple[float, float],
    step_i: tuple[float, float],
    step_j: tuple[float, float],
    grid: Grid,
    between: Between = "smooth",
) -> NDArray[np.float32]:
    """Carry values on a parallelogram over to square pixels.

    It works one direction at a time, along j and then along i (or the other way round, where the
    picture is rolled), each pass moving every line by its own amount (Catmull and Smith, SIGGRAPH
    1980). For ``area`` a line is taken as steps, and the mean over every pixel is exact; for
    ``smooth`` its running integral is interpolated by Keys' cubic convolution instead, which keeps
    the integral likewise, and shows no beat between nearly equal pitches. Where grids coincide both
    give back the values.

    Args:
        values: shape (i, j).
        start: (x, y) of the centre of ``values[0, 0]``, mm.
        step_i: (x, y) from one i to the next, mm.
        step_j: (x, y) from one j to the next, mm.
        grid: of the picture.
        between: see :data:`Between`; ``value`` is linear between centres, and 0 outside.

    Returns:
        shape (row, column), float32.
    """
    x, y = (0, 1) if abs(step_j[0]) >= abs(step_j[1]) else (1, 0)
    slide = step_i[x] / step_j[x]
    shifts = np.asarray(start[x] + np.arange(values.shape[0]) * step_i[x])
    first = _lines(values, shifts, step_j[x], grid.edges(x), between)
    # Along a column of fixed x, i and j change together.
    middles = (grid.edges(x)[:-1] + grid.edges(x)[1:]) / 2
    shifts = np.asarray(start[y] + (middles - start[x]) / step_j[x] * step_j[y])
    step = step_i[y] - step_j[y] * slide
    second = _lines(first.T, shifts, step, grid.edges(y), between)
    picture = second.T if x == 0 else second
    return np.ascontiguousarray(picture, dtype=np.float32)


def _lines(
    values: NDArray[np.floating],
    starts: Float64Array,
    step: float,
    edges: Float64Array,
    between: Between,
) -> Float64Array:
    """Resample lines, shape (line, n), whose centres are at starts + index * step, to pixels."""
    if np.ptp(starts) < 1e-9:
        starts = starts[:1]
    if between == "value":
        middles = (edges[:-1] + edges[1:]) / 2
        places = (middles - starts[:, None]) / step
        padded = np.pad(values.astype(np.float64), ((0, 0), (1, 1)))
        return _interpolated(padded, places + 1, cubic=False)
    result = np.empty((len(values), len(edges) - 1))
    scale = step / (edges[1] - edges[0])
    for first in range(0, len(values), _TILE):  # What is worked on then stays in the cache.
        tile = slice(first, first + _TILE)
        lines = values[tile]
        places = (edges - (starts if len(starts) == 1 else starts[tile])[:, None]) / step + 0.5
        running = np.zeros((lines.shape[0], lines.shape[1] + 1))
        np.cumsum(lines, axis=1, out=running[:, 1:], dtype=np.float64)
        integral = _interpolated(running, places, cubic=between == "smooth")
        result[tile] = np.diff(integral, axis=1) * scale
    return result


def _interpolated(lines: Float64Array, places: Float64Array, *, cubic: bool) -> Float64Array:
    """Values of lines at fractional indices, constant beyond the ends.

    Args:
        lines: shape (line, n).
        places: shape (line, m), or (1, m) for all lines.
        cubic: Keys' cubic convolution (a = -1/2) instead of linear.
    """
    last = lines.shape[1] - 1
    places = np.clip(np.round(places, 9), -1.0, last + 1.0)
    floors = np.floor(places)
    t = places - floors
    # From 1 before the first to 3 beyond the last, so that neighbours need no clipping.
    padded = np.pad(lines, ((0, 0), (2, 3)), mode="edge")
    whole = floors.astype(np.intp) + 2
    if len(whole) == 1:

        def at(offset: int) -> Float64Array:
            return padded[:, whole[0] + offset]
    else:
        whole += np.arange(len(lines))[:, None] * padded.shape[1]

        def at(offset: int) -> Float64Array:
            return padded.ravel().take(whole + offset, mode="clip")

    if not cubic:
        return (1 - t) * at(0) + t * at(1)
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t * at(-1)
        + ((1.5 * t - 2.5) * t * t + 1.0) * at(0)
        + ((-1.5 * t + 2.0) * t + 0.5) * t * at(1)
        + (0.5 * t - 0.5) * t * t * at(2)
    )
