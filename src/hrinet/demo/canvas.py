"""One plane of the phantom being painted, and the distances to the shapes painted on it.

A shape is a signed distance in mm, negative inside; a canvas turns it into soft-edged coverage.
Coordinates are LPS, mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrinet.types import FLOAT32

FloatArray = NDArray[np.floating]
"""Coordinates, distances or values, float32 or float64."""

Window = tuple[slice, slice]
"""Rows and columns of a part of a canvas."""


class Canvas:
    """One plane being painted.

    Attributes:
        image: shape (row, column), HU, painted in place.
        x: of the columns, shape (1, column), mm.
        y: of the rows, shape (row, 1), mm.
        pixel_mm: distance between rows and between columns, mm.
        corner: x and y of the first pixel, mm.
        edge_mm: half the width over which the coverage of an edge goes from 0 to 1, mm.
    """

    def __init__(
        self, image: NDArray[np.float32], x: FloatArray, y: FloatArray, pixel_mm: float
    ) -> None:
        self.image, self.x, self.y, self.pixel_mm = image, x, y, pixel_mm
        self.corner = float(x[0, 0]), float(y[0, 0])
        # An edge two pixels wide has no stairs; real point spreads are about as wide.
        self.edge_mm = max(pixel_mm, 0.8)
        self._scale = np.float32(-0.5 / self.edge_mm)

    def coverage(self, distance: FloatArray) -> FloatArray:
        """Fraction of every pixel inside a structure.

        Args:
            distance: signed distance to its surface, negative inside, any shape, mm.

        Returns:
            same shape as ``distance``, from 0 (outside) over 0.5 (on the surface) to 1.
        """
        covered = distance * self._scale
        covered += np.float32(0.5)
        return np.asarray(np.clip(covered, 0, 1, out=covered))

    def blend(
        self, covered: FloatArray, hu: float | FloatArray, roi: Window = (slice(None), slice(None))
    ) -> None:
        """Lay a structure over the image.

        Args:
            covered: fraction of every pixel it covers, shape of ``roi``.
            hu: of the structure, one value or the shape of ``roi``, HU.
            roi: the pixels concerned; by default all.
        """
        under = self.image[roi]
        under += covered * (np.asarray(hu, FLOAT32) - under)

    def paint(
        self,
        distance: FloatArray,
        hu: float | FloatArray,
        roi: Window = (slice(None), slice(None)),
    ) -> None:
        """Lay a structure with a soft edge over the image.

        Args:
            distance: signed distance to its surface, negative inside, shape of ``roi``, mm.
            hu: of the structure, one value or the shape of ``roi``, HU.
            roi: the pixels concerned; by default all.
        """
        self.blend(self.coverage(distance), hu, roi)

    def window(self, x: float, y: float, rx: float, ry: float) -> Window | None:
        """Find the pixels around a point.

        Args:
            x: of the point, mm.
            y: of the point, mm.
            rx: how far to either side in x, mm.
            ry: how far to either side in y, mm.

        Returns:
            rows and columns, or None if the plane has no pixel there.
        """
        found = []
        for middle, reach, start, count in (
            (y, ry, self.corner[1], self.y.size),
            (x, rx, self.corner[0], self.x.size),
        ):
            first = max(math.floor((middle - reach - start) / self.pixel_mm), 0)
            last = min(math.ceil((middle + reach - start) / self.pixel_mm) + 1, count)
            if first >= last:
                return None
            found.append(slice(first, last))
        return found[0], found[1]

    def ellipsoid(
        self,
        z: float,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        hu: float,
        *,
        angle: float = 0.0,
    ) -> None:
        """Paint the section of an ellipsoid.

        Args:
            z: of this plane, mm.
            centre: x, y, z, mm.
            radii: along x, y and z before turning, mm.
            hu: of the ellipsoid, HU.
            angle: by which it is turned about the z axis, from +x towards -y, degrees.
        """
        if abs(z - centre[2]) > radii[2] + self.edge_mm:
            return
        reach = (max(radii[:2]) if angle else 0) + self.edge_mm
        roi = self.window(centre[0], centre[1], max(radii[0], reach) + 2, max(radii[1], reach) + 2)
        if roi is not None:
            distance = ellipsoid_distance(
                self.x[:, roi[1]], self.y[roi[0]], z, centre, radii, angle=angle
            )
            self.paint(distance, hu, roi)


def ellipse_distance(x: FloatArray, y: FloatArray, rx: float, ry: float) -> FloatArray:
    """Signed distance to an elliptic cylinder along z, to first order.

    Args:
        x: from its axis, any shape that broadcasts with ``y``, mm.
        y: from its axis, mm.
        rx: half-axis along x, mm.
        ry: half-axis along y, mm.

    Returns:
        shape of ``x`` and ``y`` broadcast, negative inside, mm.
    """
    k0 = np.sqrt((x / rx) ** 2 + (y / ry) ** 2)
    k1 = np.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2) + np.float32(1e-9)
    return np.asarray(k0 * (k0 - 1) / k1)


def ellipsoid_distance(
    x: FloatArray,
    y: FloatArray,
    z: float | FloatArray,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    *,
    angle: float = 0.0,
) -> FloatArray:
    """Signed distance to an ellipsoid, to first order.

    Args:
        x: of the points, any shape that broadcasts with ``y`` and ``z``, mm.
        y: of the points, mm.
        z: of the points, mm.
        centre: of the ellipsoid, x, y, z, mm.
        radii: along x, y and z before turning, mm.
        angle: by which it is turned about the z axis, from +x towards -y, degrees.

    Returns:
        shape of the coordinates broadcast, negative inside, mm.
    """
    x, y, dz = x - centre[0], y - centre[1], z - centre[2]
    if angle:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        x, y = x * cos - y * sin, x * sin + y * cos
    a, b, d = ((v / r) ** 2 for v, r in zip((x, y, dz), radii, strict=True))
    k0 = np.sqrt(a + b + d)
    k1 = np.sqrt(a / radii[0] ** 2 + b / radii[1] ** 2 + d / radii[2] ** 2) + np.float32(1e-9)
    return np.asarray(k0 * (k0 - 1) / k1)


def rounded_max(a: FloatArray, b: FloatArray, radius: float) -> FloatArray:
    """Intersect two structures and round the edge where their surfaces meet.

    Args:
        a: signed distance to one, mm.
        b: signed distance to the other, mm; broadcasts with ``a``.
        radius: of the rounding, mm.

    Returns:
        at least ``np.maximum(a, b)``, and ``radius / 2`` more where ``a`` equals ``b``, mm.
    """
    return np.asarray(0.5 * (a + b + np.sqrt((a - b) ** 2 + np.float32(radius * radius))))


class Tubes(NamedTuple):
    """Round tubes with straight axes, round ends and a radius that changes evenly between them.

    Attributes:
        start: of every axis, LPS, shape (tube, 3), mm.
        end: of every axis, LPS, shape (tube, 3), mm.
        start_radius: shape (tube,), mm.
        end_radius: shape (tube,), mm.
    """

    start: FloatArray
    end: FloatArray
    start_radius: FloatArray
    end_radius: FloatArray


def polyline(*points: tuple[float, float, float, float]) -> Tubes:
    """Tubes end to end along a line.

    Args:
        points: x, y, z and radius where the line bends, mm.

    Returns:
        one tube fewer than there are points.
    """
    p = np.array(points, dtype=np.float64)
    return Tubes(p[:-1, :3], p[1:, :3], p[:-1, 3], p[1:, 3])


def joined(parts: Sequence[Tubes]) -> Tubes:
    """All tubes of several parts, in order."""
    return Tubes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def tube_distance(canvas: Canvas, tubes: Tubes, z: float) -> FloatArray:
    """Signed distance to the nearest tube, in one plane.

    Args:
        canvas: the plane's pixels; nothing is painted.
        tubes: in the coordinates of ``canvas`` and ``z``.
        z: of the plane, mm.

    Returns:
        shape (row, column), negative inside, mm; 99 where no tube is near enough to show.
    """
    out = np.full(canvas.image.shape, 99.0, FLOAT32)
    reach = np.maximum(tubes.start_radius, tubes.end_radius) + canvas.edge_mm
    dz = tubes.end[:, 2] - tubes.start[:, 2]
    # Only the part of an axis within reach of the plane matters.
    dz = np.where(np.abs(dz) < 1e-6, 1e-6, dz)
    ends = np.sort([(z + s * reach - tubes.start[:, 2]) / dz for s in (-1, 1)], axis=0)
    t0, t1 = np.clip(ends, 0, 1)
    active = np.flatnonzero((ends[1] >= 0) & (ends[0] <= 1))
    axis = (tubes.end - tubes.start)[active]
    half = (0.5 * (t1 - t0)[active, None] * np.abs(axis) + reach[active, None])[:, :2]
    middle = tubes.start[active] + 0.5 * (t0 + t1)[active, None] * axis
    first = np.floor((middle[:, :2] - half - canvas.corner) / canvas.pixel_mm).astype(np.intp)
    size = np.ceil(2 * half.max(axis=1) / canvas.pixel_mm).astype(np.intp) + 2
    small = np.flatnonzero(size <= 14)
    # Hundreds of thin vessels cross a plane: patches of one size are computed together.
    large = [np.array([i]) for i in np.flatnonzero(size > 14)]
    for group in [small, *large]:
        if len(group) == 0:
            continue
        patch = np.arange(size[group].max())
        column = first[group, 0, None, None] + patch[None, None, :]
        row = first[group, 1, None, None] + patch[None, :, None]
        n = active[group]
        a, d = tubes.start[n, :, None, None], axis[group, :, None, None]
        x = canvas.corner[0] + canvas.pixel_mm * column - a[:, 0]
        y = canvas.corner[1] + canvas.pixel_mm * row - a[:, 1]
        h = z - a[:, 2]
        d2 = (d * d).sum(axis=1) + 1e-9
        t = np.clip((x * (d[:, 0] / d2) + (y * d[:, 1] + h * d[:, 2]) / d2), 0, 1)
        square = (x - t * d[:, 0]) ** 2 + (y - t * d[:, 1]) ** 2 + (h - t * d[:, 2]) ** 2
        r0, r1 = tubes.start_radius[n, None, None], tubes.end_radius[n, None, None]
        distance = np.sqrt(square) - (r0 + t * (r1 - r0))
        valid = (row >= 0) & (row < canvas.y.size) & (column >= 0) & (column < canvas.x.size)
        flat = (row * canvas.x.size + column)[valid]
        np.minimum.at(out.reshape(-1), flat, distance[valid].astype(FLOAT32))
    return out
