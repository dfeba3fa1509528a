"""A scalar field that is positive inside a structure and crosses zero on its surface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrinet.surface.selection import Selection
from hrinet.surface.structures import Structure
from hrinet.synthesize.engine import default_threads
from hrinet.types import INT16, SliceArray, VolumeArray
from hrinet.volume import Volume

_TINY = 1e-3


@dataclass(frozen=True, eq=False)
class Field:
    """A field on the voxels of a volume.

    Attributes:
        values: positive inside, negative outside, never zero, shape (slice, row, column) of the
            volume plus a frame on every side, int16 or float32.
        frame: width of the frame, voxels: 1 if surfaces are closed where the scan ends, else 0.
        inside: number of voxels inside.
    """

    values: VolumeArray
    frame: int
    inside: int


def level_field(
    volume: Volume,
    structure: Structure,
    selection: Selection,
    *,
    is_closed: bool = True,
    threads: int | None = None,
) -> Field:
    """Build the field of a structure.

    Selected voxels of the range keep their distance from the nearer limit, and so do voxels outside
    it, so that linear interpolation finds the surface between voxels. HU in int16 are doubled: the
    limits then lie half-way between two HU and no voxel lies on the surface, where triangles would
    have no area.

    In the frame the field is that of the outermost voxel with a negative sign, which closes
    the surface half a voxel beyond it: on the outer face of the scan.

    Args:
        volume: the scan.
        structure: gives the limits.
        selection: which voxels belong to it.
        is_closed: whether to close surfaces where the scan ends.
        threads: by default all cores.
    """
    frame = int(is_closed)
    dtype = volume.dtype
    values = np.empty(tuple(n + 2 * frame for n in volume.shape), dtype)
    body = values[1:-1, 1:-1, 1:-1] if frame else values
    is_integer = dtype == INT16
    contrast = selection.contrast_hu
    step = None if contrast is None else _clipped(np.float64((1 + is_integer) * contrast), dtype)

    def fill(index: int) -> int:
        level = _level(volume.array[index], structure, is_integer=is_integer)
        wanted = selection.mask_of(index)
        raw = level > 0
        taken = raw & ~wanted
        np.copyto(level, -level if step is None else -step, where=taken)
        if step is not None:
            np.copyto(level, step, where=wanted & ~raw)
        body[index] = level
        return int(np.count_nonzero(wanted))

    with ThreadPoolExecutor(threads or default_threads(), "hrinet-field") as pool:
        inside = sum(pool.map(fill, range(len(volume))))
    if frame:
        _seal(values)
    return Field(values=values, frame=frame, inside=inside)


def _level(values: SliceArray, structure: Structure, *, is_integer: bool) -> SliceArray:
    """Signed distance from the nearer limit, HU; twice that, and odd, for int16."""
    low, high = structure.low, structure.high
    if is_integer:
        # The first and the last whole number inside; outside int16 they limit nothing.
        wide = values.astype(np.int32)
        wide *= 2
        above = wide - int(2 * np.ceil(max(low, -40000.0)) - 1)
        if np.isfinite(high):
            np.minimum(above, int(2 * np.floor(min(high, 40000.0)) + 1) - wide, out=above)
        return np.asarray(_clipped(above, INT16))
    level: SliceArray = values - np.float32(max(low, -1e30))
    if np.isfinite(high):
        np.minimum(level, np.float32(high) - values, out=level)
    level[level == 0] = _TINY
    return level


def _clipped(values: Any, dtype: np.dtype[Any]) -> Any:
    """Within the int16 that can be negated; far from the surface no value matters."""
    return (np.clip(values, -32767, 32767) if dtype == INT16 else values).astype(dtype)


def _seal(values: VolumeArray) -> None:
    inner = slice(1, -1)
    for end, beside in ((0, 1), (-1, -2)):
        values[inner, end, inner] = -np.abs(values[inner, beside, inner])
    for end, beside in ((0, 1), (-1, -2)):
        values[inner, :, end] = -np.abs(values[inner, :, beside])
    for end, beside in ((0, 1), (-1, -2)):
        values[end] = -np.abs(values[beside])
