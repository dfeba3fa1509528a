"""Where every voxel of a stack of parallel slices lies in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from hrinet.errors import GeometryError
from hrinet.types import Float64Array

UNIFORM_TOLERANCE = 0.01
"""A slice may lie this fraction of the slice spacing off a uniform grid and still count as on it.

Scanners round positions to between 1e-6 and 1e-2 mm, so a relative tolerance is the only one that
suits 0.5 mm and 10 mm series alike.
"""

_ORTHOGONALITY_TOLERANCE = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of parallel slices, at even or uneven distances, sheared or not.

    Attributes:
        origins: centre of the first voxel (row 0, column 0) of every slice, shape (slice, 3), LPS,
            mm. For DICOM these are the values of Image Position (Patient) (PS3.3 C.7.6.2.1.1).
        row_direction: unit vector along a row, that is with increasing column index, LPS.
        column_direction: unit vector along a column, that is with increasing row index, LPS.
        pixel_spacing: distance between rows and between columns, in this order (as in DICOM's
            Pixel Spacing, PS3.3 10.7.1.3), mm.
        rows: number of rows of a slice.
        columns: number of columns of a slice.
        slice_thickness: thickness of the slab that one slice averages, mm, or None if unknown. It
            says nothing about where slices lie.

    Raises:
        GeometryError: if anything is not finite, a spacing is not positive, the directions are not
            orthogonal unit vectors, or the slices do not advance strictly along their normal.
    """

    origins: Float64Array
    row_direction: Float64Array
    column_direction: Float64Array
    pixel_spacing: tuple[float, float]
    rows: int
    columns: int
    slice_thickness: float | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "origins", _frozen(self.origins, "origins"))
        set_field(self, "row_direction", _frozen(self.row_direction, "row_direction"))
        set_field(self, "column_direction", _frozen(self.column_direction, "column_direction"))
        row_spacing, column_spacing = (float(v) for v in self.pixel_spacing)
        set_field(self, "pixel_spacing", (row_spacing, column_spacing))
        self._check()

    def _check(self) -> None:
        if self.origins.ndim != 2 or self.origins.shape[1] != 3 or len(self.origins) == 0:
            raise GeometryError(f"origins must have shape (slice, 3), got {self.origins.shape}")
        for name in ("row_direction", "column_direction"):
            vector = getattr(self, name)
            if vector.shape != (3,) or abs(np.linalg.norm(vector) - 1) > _ORTHOGONALITY_TOLERANCE:
                raise GeometryError(f"{name} must be a unit vector, got {vector.tolist()}")
        cosine = float(self.row_direction @ self.column_direction)
        if abs(cosine) > _ORTHOGONALITY_TOLERANCE:
            raise GeometryError(
                f"row and column directions must be orthogonal, their cosine is {cosine:.4g}"
            )
        if not all(np.isfinite(v) and v > 0 for v in self.pixel_spacing):
            raise GeometryError(f"pixel spacing must be positive, got {self.pixel_spacing} mm")
        if self.rows < 1 or self.columns < 1:
            raise GeometryError(f"a slice needs rows and columns, got {self.rows} x {self.columns}")
        thickness = self.slice_thickness
        if thickness is not None and not (np.isfinite(thickness) and thickness > 0):
            raise GeometryError(f"slice thickness must be positive, got {thickness} mm")
        if len(self.origins) > 1 and not np.all(np.diff(self.positions_mm) > 0):
            raise GeometryError(
                "slices must advance strictly along their normal, but slice "
                f"{self._first_step_back()} does not lie after the one before it"
            )

    def _first_step_back(self) -> int:
        return int(np.flatnonzero(np.diff(self.positions_mm) <= 0)[0]) + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return len(self.origins), self.rows, self.columns

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def normal(self) -> Float64Array:
        """Unit normal of the slices, towards increasing slice index, LPS.

        It is row_direction x column_direction for right-handed stacks (all DICOM series that this
        package orders) and the opposite for left-handed ones, which NIfTI files may hold.
        """
        cross = np.cross(self.row_direction, self.column_direction)
        cross = cross / np.linalg.norm(cross)
        if len(self.origins) > 1 and float((self.origins[-1] - self.origins[0]) @ cross) < 0:
            cross = -cross
        return _frozen(cross, "normal")

    @cached_property
    def positions_mm(self) -> Float64Array:
        """Position of every slice along :attr:`normal`, shape (slice,), mm, increasing."""
        return _frozen(self.origins @ self.normal, "positions")

    @cached_property
    def gaps_mm(self) -> Float64Array:
        """Distances between neighbouring slices along the normal, shape (slice - 1,), mm."""
        return _frozen(np.diff(self.positions_mm), "gaps")

    @property
    def spacing_mm(self) -> float:
        """Median distance between slices, mm; the slice thickness (or 1) for a single slice."""
        if len(self.origins) < 2:
            return float(self.slice_thickness or 1.0)
        return float(np.median(self.gaps_mm))

    @cached_property
    def shear(self) -> Float64Array:
        """In-plane displacement of the origins per mm along the normal, (row, column) direction.

        Zero for a stack whose slices lie straight above each other. A gantry tilt of angle a makes
        the table advance at that angle to the normal, so the origins slide by tan(a).
        """
        if len(self.origins) < 2:
            return _frozen(np.zeros(2), "shear")
        step = (self.origins[-1] - self.origins[0]) / (self.positions_mm[-1] - self.positions_mm[0])
        return _frozen(np.array([step @ self.row_direction, step @ self.column_direction]), "shear")

    @property
    def tilt_deg(self) -> float:
        """Angle between the direction in which slices advance and their normal, degrees."""
        return float(np.degrees(np.arctan(np.linalg.norm(self.shear))))

    @cached_property
    def grid_error_mm(self) -> float:
        """Largest distance of an origin from the uniform grid between first and last slice, mm."""
        count = len(self.origins)
        if count < 3:
            return 0.0
        fraction = np.linspace(0.0, 1.0, count)[:, None]
        grid = self.origins[0] * (1 - fraction) + self.origins[-1] * fraction
        return float(np.max(np.linalg.norm(self.origins - grid, axis=1)))

    @property
    def is_uniform(self) -> bool:
        """Whether one affine describes every slice to within :data:`UNIFORM_TOLERANCE`."""
        return self.grid_error_mm <= UNIFORM_TOLERANCE * self.spacing_mm

    @cached_property
    def step(self) -> Float64Array:
        """Mean vector from one slice's origin to the next, LPS, mm."""
        if len(self.origins) < 2:
            return _frozen(self.normal * self.spacing_mm, "step")
        return _frozen((self.origins[-1] - self.origins[0]) / (len(self.origins) - 1), "step")

    @property
    def affine_lps(self) -> Float64Array:
        """4 x 4 matrix from index (column, row, slice) to LPS, mm, as ITK counts indices.

        Raises:
            GeometryError: if the slices are not uniform, since no affine can place them.
        """
        if not self.is_uniform:
            raise GeometryError(
                f"slices at uneven distances ({self.gaps_mm.min():.4g} to "
                f"{self.gaps_mm.max():.4g} mm) have no affine; resample them to a uniform grid"
            )
        affine = np.eye(4)
        affine[:3, 0] = self.row_direction * self.pixel_spacing[1]
        affine[:3, 1] = self.column_direction * self.pixel_spacing[0]
        affine[:3, 2] = self.step
        affine[:3, 3] = self.origins[0]
        return affine

    @property
    def affine_ras(self) -> Float64Array:
        """4 x 4 matrix from index (column, row, slice) to RAS, mm, as NIfTI and nibabel use it."""
        return np.asarray(_LPS_TO_RAS @ self.affine_lps)

    @classmethod
    def from_affine(
        cls,
        affine_lps: ArrayLike,
        *,
        shape: tuple[int, int, int],
        slice_thickness: float | None = None,
    ) -> Geometry:
        """Build the geometry that a 4 x 4 affine describes.

        Args:
            affine_lps: matrix from index (column, row, slice) to LPS, mm.
            shape: (slices, rows, columns).
            slice_thickness: mm, if known.

        Raises:
            GeometryError: if the matrix is singular, not finite, or its in-plane axes are not
                orthogonal.
        """
        affine = np.asarray(affine_lps, dtype=np.float64)
        if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
            raise GeometryError(f"an affine must be a finite 4 x 4 matrix, got {affine.tolist()}")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if np.any(lengths == 0) or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
            raise GeometryError(
                f"the affine is singular: its axes are {affine[:3, :3].T.tolist()} mm"
            )
        origins = affine[:3, 3] + np.arange(shape[0])[:, None] * affine[:3, 2]
        return cls(
            origins=origins,
            row_direction=affine[:3, 0] / lengths[0],
            column_direction=affine[:3, 1] / lengths[1],
            pixel_spacing=(float(lengths[1]), float(lengths[0])),
            rows=shape[1],
            columns=shape[2],
            slice_thickness=slice_thickness,
        )

    def point(self, slice_index: float, row: float, column: float) -> Float64Array:
        """Centre of a voxel in LPS, mm; the slice index may be fractional (linear in between)."""
        return np.asarray(
            self.origin_at(slice_index)
            + row * self.pixel_spacing[0] * self.column_direction
            + column * self.pixel_spacing[1] * self.row_direction
        )

    def origin_at(self, slice_index: float) -> Float64Array:
        """Origin of the slice at a fractional index, on the line between its two neighbours."""
        left = min(max(int(np.floor(slice_index)), 0), max(len(self.origins) - 2, 0))
        t = slice_index - left
        if t == 0:
            return np.asarray(self.origins[left])
        return np.asarray((1 - t) * self.origins[left] + t * self.origins[left + 1])

    def at_positions(self, positions_mm: Sequence[float]) -> Geometry:
        """The geometry of slices at other positions along the normal, within the stack.

        Origins lie on the line between those of the neighbouring slices, so a tilt is kept. Slices
        keep their thickness: a synthetic slice looks like its neighbours, it is not thinner.

        Args:
            positions_mm: increasing, on the scale of :attr:`positions_mm`, mm.
        """
        origins = np.stack(
            [np.interp(positions_mm, self.positions_mm, self.origins[:, i]) for i in range(3)],
            axis=1,
        )
        return replace(self, origins=origins)

    def subset(self, indices: Sequence[int]) -> Geometry:
        """The geometry of some of the slices.

        Args:
            indices: in order, from either end.

        Raises:
            GeometryError: if they are in no order.
        """
        return replace(self, origins=self.origins[list(indices)])

    @property
    def orientation(self) -> str:
        """Three letters: where column, row and slice index grow to (L/R, P/A, S/I)."""
        letters = []
        for axis in (self.row_direction, self.column_direction, self.step):
            main = int(np.argmax(np.abs(axis)))
            letters.append("LPS"[main] if axis[main] > 0 else "RAI"[main])
        return "".join(letters)

    @property
    def plane(self) -> str:
        """``axial``, ``coronal`` or ``sagittal``, with ``oblique`` before it beyond 2 degrees."""
        main = int(np.argmax(np.abs(self.normal)))
        name = ("sagittal", "coronal", "axial")[main]
        in_plane = max(np.abs(self.row_direction).max(), np.abs(self.column_direction).max())
        aligned = min(float(np.abs(self.normal[main])), float(in_plane)) > np.cos(np.radians(2))
        return name if aligned else f"oblique {name}"


def _frozen(values: ArrayLike, name: str) -> Float64Array:
    array = np.array(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise GeometryError(f"{name} must be finite, got {array.tolist()}")
    array.setflags(write=False)
    return array
