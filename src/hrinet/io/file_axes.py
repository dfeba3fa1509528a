"""Which axis of a file is which axis of a slice stack.

Axes of a file are counted from the slowest (0) to the fastest (2), as in a C array. Affines of a
file have a column for each axis, the fastest first, as NIfTI, NRRD and MetaImage list them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hrinet.errors import GeometryError
from hrinet.geometry import Geometry
from hrinet.io.limits import Limits
from hrinet.types import Float64Array

FileAxes = tuple[int, int, int]
"""Axis of the file that each of (slice, row, column) is; IN_ORDER where nothing moves."""

IN_ORDER: FileAxes = (0, 1, 2)

SLICE_AXIS_RATIO = 1.3
"""An axis is the slice axis if its spacing is this much coarser than both others."""

ORTHOGONALITY_TOLERANCE = 5e-4
"""Largest cosine of the angle between two axes that count as orthogonal."""

_MAX_MM = 1e6


def arrange(
    affine_lps: ArrayLike, *, shape: tuple[int, int, int], subject: str, limits: Limits
) -> tuple[Geometry, FileAxes]:
    """Find the slice axis of a file and the geometry of its slices.

    Slices are counted along the slowest axis, unless another one is clearly coarser: sagittal and
    coronal stacks are often stored in axial order. Where that leaves rows and columns that are not
    orthogonal, the slowest axis is taken, or without a coarse one any that fits: only the slice
    axis may be sheared. Nothing is flipped.

    Args:
        affine_lps: 4 x 4, from the file's index, fastest axis first, to LPS, mm.
        shape: voxels along the file's axes, slowest first.
        subject: the file, for messages.
        limits: bounds on the number of slices and their size.

    Returns:
        The geometry and the axis of the file that each of (slice, row, column) is.

    Raises:
        LimitError: if a dimension is not positive or beyond the limits.
        GeometryError: if the affine is not finite, is singular, or its in-plane axes are not
            orthogonal.
    """
    affine = np.asarray(affine_lps, dtype=np.float64)
    if not np.all(np.isfinite(affine)) or np.abs(affine).max() > _MAX_MM:
        raise GeometryError(
            f"{subject}: its orientation holds numbers that are not finite or beyond "
            f"{_MAX_MM:.0f} mm ({affine[:3].tolist()}); correct the header"
        )
    vectors = affine[:3, [2, 1, 0]].T
    axes = _stack_axes(vectors)
    slice_axis, row, column = axes
    slices = (shape[slice_axis], shape[row], shape[column])
    limits.check_shape(subject, slices)
    oriented = affine.copy()
    oriented[:3, :3] = affine[:3, [2 - column, 2 - row, 2 - slice_axis]]
    thickness = float(np.linalg.norm(vectors[slice_axis])) if slices[0] == 1 else None
    try:
        with np.errstate(all="ignore"):
            return Geometry.from_affine(oriented, shape=slices, slice_thickness=thickness), axes
    except GeometryError as error:
        raise GeometryError(
            f"{subject}: {str(error)[:400]}; correct the orientation in its header"
        ) from error


def _stack_axes(vectors: Float64Array) -> FileAxes:
    """The slice, row and column axis among the steps along the file's axes, shape (3, 3), mm."""
    spacings = np.linalg.norm(vectors, axis=1)
    coarsest = int(np.argmax(spacings))
    is_clear = spacings[coarsest] >= SLICE_AXIS_RATIO * np.delete(spacings, coarsest).max()
    orders: list[FileAxes] = [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
    preferred = orders[coarsest if is_clear else 0]
    for order in (preferred, orders[0]) if is_clear else orders:
        row, column = order[1:]
        product = abs(float(vectors[row] @ vectors[column]))
        if product <= ORTHOGONALITY_TOLERANCE * spacings[row] * spacings[column]:
            return order
    return preferred


def file_affine(geometry: Geometry, axes: FileAxes) -> Float64Array:
    """The 4 x 4 matrix from a file's index, fastest axis first, to LPS, mm.

    Raises:
        GeometryError: if the slices are not uniform.
    """
    affine = geometry.affine_lps
    result = affine.copy()
    for stack_axis, axis in enumerate(axes):
        result[:3, 2 - axis] = affine[:3, 2 - stack_axis]
    return result


def file_shape(shape: tuple[int, int, int], axes: FileAxes) -> tuple[int, int, int]:
    """Voxels along the file's axes, slowest first, of a stack of (slices, rows, columns)."""
    slowest, middle, fastest = (shape[axes.index(axis)] for axis in range(3))
    return slowest, middle, fastest
