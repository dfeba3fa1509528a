"""The surface of a structure of a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hrinet.errors import RequestError
from hrinet.surface.contour import contour
from hrinet.surface.distance import SurfaceDistance, deviation
from hrinet.surface.extra import require
from hrinet.surface.field import level_field
from hrinet.surface.mesh import Mesh
from hrinet.surface.refine import decimated, smoothed
from hrinet.surface.selection import select
from hrinet.surface.structures import Structure
from hrinet.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """What is done to a surface besides finding it.

    Attributes:
        largest: keep only so many connected pieces of the structure, the largest.
        is_closed: whether to close surfaces where the scan ends.
        smooth: iterations of the windowed sinc filter, 0 for none.
        decimate: fraction of the triangles to take out, or None.
        max_triangles: how many triangles to leave at the most, or None.
    """

    largest: int | None = None
    is_closed: bool = True
    smooth: int = 0
    decimate: float | None = None
    max_triangles: int | None = None

    def __post_init__(self) -> None:
        if self.largest is not None and self.largest < 1:
            raise RequestError(f"--largest is {self.largest}, expected at least 1 piece")
        if self.smooth < 0:
            raise RequestError(f"--smooth is {self.smooth}, expected 0 or more iterations")
        if self.decimate is not None and not 0 < self.decimate < 1:
            raise RequestError(
                f"--decimate is {self.decimate:g}, expected the fraction of triangles to take "
                "out, between 0 and 1"
            )
        if self.max_triangles is not None and self.max_triangles < 4:
            raise RequestError(f"--max-triangles is {self.max_triangles}, expected at least 4")
        if self.decimate is not None and self.max_triangles is not None:
            raise RequestError("--decimate and --max-triangles exclude each other")

    @property
    def changes(self) -> bool:
        """Whether the surface is moved from where the voxels put it."""
        return bool(self.smooth or self.decimate or self.max_triangles)


@dataclass(frozen=True, eq=False)
class Surface:
    """A structure's surface.

    Attributes:
        structure: what it encloses.
        mesh: LPS, mm.
        deviation: from the surface before smoothing and decimation; None if there was neither.
    """

    structure: Structure
    mesh: Mesh
    deviation: SurfaceDistance | None = None


def extract_surface(
    volume: Volume,
    structure: Structure,
    *,
    shaping: Shaping | None = None,
    threads: int | None = None,
) -> Surface:
    """Find the surface of a structure.

    Args:
        volume: the scan, filled or not; slices may be tilted, oblique and unevenly spaced.
        structure: what is wanted.
        shaping: what else to do.
        threads: by default all cores.

    Raises:
        RequestError: if the volume has a single slice or holds nothing of the structure, or the
            extra is not installed.
    """
    require("vtkmodules")
    shaping = shaping or Shaping()
    if len(volume) < 2:
        raise RequestError(
            f"{_named(volume)}: has a single slice, which has no surface; two are the least"
        )
    selection = select(volume, structure, largest=shaping.largest, threads=threads)
    field = level_field(volume, structure, selection, is_closed=shaping.is_closed, threads=threads)
    if not field.inside:
        raise RequestError(_nothing(volume, structure))
    raw = contour(field, volume.geometry, threads=threads)
    del field, selection
    if not len(raw.triangles):
        raise RequestError(
            f"{_named(volume)}: {structure.name} fills the whole scan, so that it has no surface "
            "inside; leave out --open, or choose other HU"
        )
    mesh = smoothed(raw, shaping.smooth) if shaping.smooth else raw
    mesh = decimated(mesh, fraction=shaping.decimate, triangles=shaping.max_triangles)
    moved = deviation(mesh, raw) if shaping.changes else None
    return Surface(structure, mesh, moved)


def _named(volume: Volume) -> str:
    return volume.info.path or "the volume"


def _nothing(volume: Volume, structure: Structure) -> str:
    low, high = float(volume.array.min()), float(volume.array.max())
    limits = [
        text
        for text, value in (
            (f"from {structure.low:g} HU", structure.low),
            (f"up to {structure.high:g} HU", structure.high),
        )
        if np.isfinite(value)
    ]
    piece = (
        f" in connected pieces of at least {structure.smallest_mm3 / 1000:g} cm3"
        if structure.smallest_mm3
        else ""
    )
    return (
        f"{_named(volume)}: holds no {structure.name} ({' '.join(limits)}{piece}); its values are "
        f"{low:g} to {high:g} HU; choose another --structure or LOW:HIGH"
    )
