"""Phantoms of discs and boxes, whose voxels and projections are known by formula.

Voxels are means over the voxel (along rows exactly, across in 32 lines); true projections are means
over the pixel of line integrals about the long axis (along the rows of the picture exactly).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PIXEL_MM = 0.8
AIR, TISSUE = -1000, 0
LINES = 32  # In a voxel, across rows.
HEIGHTS = 8  # In a slice, of the ball.

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Disc:
    """In a slice; lengths in pixels from the middle of the slice."""

    x: float
    y: float
    radius: float

    def chords(self, y: Array) -> tuple[Array, Array]:
        """Where lines along rows enter and leave; equal where they miss."""
        half = np.sqrt(np.maximum(self.radius**2 - (y - self.y) ** 2, 0))
        return self.x - half, self.x + half

    def profile(self, degrees: float, u: Array) -> Array:
        """Running integral over u, to the right in the picture, of the path of rays inside."""
        angle = np.radians(degrees)
        r = self.radius
        u = np.clip(u - self.x * np.cos(angle) - self.y * np.sin(angle), -r, r)
        return np.asarray(u * np.sqrt(np.maximum(r * r - u * u, 0)) + r * r * np.arcsin(u / r))


@dataclass(frozen=True)
class Box:
    """In a slice, turned by an angle in degrees; lengths in pixels from the middle of the slice."""

    x: float
    y: float
    half_x: float
    half_y: float
    turn: float = 0.0

    def chords(self, y: Array) -> tuple[Array, Array]:
        """Where lines along rows enter and leave; equal where they miss."""
        c, s = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        low, high = np.full(len(y), -1e9), np.full(len(y), 1e9)
        for along, across, half in ((c, s, self.half_x), (-s, c, self.half_y)):
            if abs(along) < 1e-12:
                high = np.where(np.abs(across * (y - self.y)) > half, low, high)
                continue
            ends = np.sort([(side * half - across * (y - self.y)) / along for side in (-1, 1)], 0)
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
        return self.x + low, self.x + np.maximum(low, high)

    def profile(self, degrees: float, u: Array) -> Array:
        """Running integral over u, to the right in the picture, of the path of rays inside."""
        angle, turned = np.radians(degrees), np.radians(degrees - self.turn)
        u = u - self.x * np.cos(angle) - self.y * np.sin(angle)
        area = 4 * self.half_x * self.half_y
        sides = (self.half_x * abs(np.cos(turned)), self.half_y * abs(np.sin(turned)))
        long, short = max(sides), min(sides)
        if short < 1e-7:
            return np.asarray(area * (np.clip(u / long, -1, 1) + 1) / 2)

        def ramp(v: Array) -> Array:
            return np.maximum(v, 0) ** 2 / 2

        corners = ramp(u + long + short) - ramp(u + long - short)
        corners -= ramp(u - long + short) - ramp(u - long - short)
        return np.asarray(area / (4 * long * short) * corners)


Shape = Disc | Box
Slice = list[tuple[Shape, float]]


def overlap(low: Array, high: Array, count: int) -> Array:
    """Shares of the cells -count/2 ... count/2 of width 1 that lie between, shape (line, count)."""
    edges = np.arange(count) - count / 2
    shares = np.minimum(high[:, None], edges + 1) - np.maximum(low[:, None], edges)
    return np.asarray(np.clip(shares, 0, 1))


def cover(shape: Shape, size: int) -> Array:
    """Shares of the voxels of a slice that lie in a shape."""
    if isinstance(shape, Box) and shape.turn == 0:
        (rows,), (columns,) = (
            overlap(np.array([middle - half]), np.array([middle + half]), size)
            for middle, half in ((shape.y, shape.half_y), (shape.x, shape.half_x))
        )
        return np.asarray(rows[:, None] * columns)
    y = (np.arange(size * LINES) + 0.5) / LINES - size / 2
    low, high = shape.chords(y)
    rows = np.flatnonzero(high > low) // LINES
    result = np.zeros((size, size))
    if len(rows):
        part = slice(rows[0] * LINES, (rows[-1] + 1) * LINES)
        shares = overlap(low[part], high[part], size)
        result[rows[0] : rows[-1] + 1] = shares.reshape(-1, LINES, size).mean(axis=1)
    return result


def solid(size: int, slices: int) -> list[Slice]:
    """A ball, a box and a rod along z, which do not touch."""
    least = min(size, slices)
    ball, box = (
        Disc(-0.2 * size, -0.1 * size, 0.14 * least),
        Box(0.17 * size, 0.1 * size, 0.1 * size, 0.06 * size),
    )
    rod = Disc(-0.1 * size, 0.25 * size, 0.06 * size)
    z = np.arange(slices) - (slices - 1) / 2
    box_z, rod_z = (
        overlap(np.array([low * slices]), np.array([high * slices]), slices)[0]
        for low, high in ((-0.35, 0.25), (-0.4, 0.4))
    )
    found: list[Slice] = []
    for index in range(slices):
        one: Slice = [(box, float(box_z[index])), (rod, float(rod_z[index]))]
        for height in z[index] + (np.arange(HEIGHTS) + 0.5) / HEIGHTS - 0.5 - 0.1 * slices:
            if abs(height) < ball.radius:
                radius = float(np.sqrt(ball.radius**2 - height**2))
                one.append((Disc(ball.x, ball.y, radius), 1 / HEIGHTS))
        found.append(one)
    return found


def at_random(size: int, slices: int) -> list[Slice]:
    """Six discs or boxes a slice, of several densities, which may overlap."""
    rng = np.random.default_rng(1)
    found: list[Slice] = []
    for _ in range(slices):
        one: Slice = []
        for _ in range(6):
            away, side = rng.uniform(0, 0.33 * size), rng.uniform(0, 2 * np.pi)
            x, y = float(away * np.cos(side)), float(away * np.sin(side))
            a, b = (float(length) for length in rng.uniform(3, 0.1 * size, 2))
            turn = float(rng.choice([0.0, rng.uniform(0, 90)]))
            shape = Disc(x, y, a) if rng.random() < 0.5 else Box(x, y, a, b, turn)
            one.append((shape, float(rng.choice([0.1, 0.3, 1.0, 1.5]))))
        found.append(one)
    return found


def voxels(phantom: list[Slice], size: int) -> NDArray[np.int16]:
    """HU of a phantom."""
    array = np.empty((len(phantom), size, size), np.int16)
    kept = lru_cache(maxsize=8)(cover)
    for values, one in zip(array, phantom, strict=True):
        shares = sum((share * kept(shape, size) for shape, share in one if share), np.zeros(()))
        values[...] = np.rint(AIR + (TISSUE - AIR) * shares)
    return array


def truth(phantom: list[Slice], degrees: float, width: int) -> Array:
    """Means over pixels of exact projections, (HU + 1000) mm, shape (slice, width)."""
    u = np.arange(width + 1, dtype=np.float64) - width / 2
    picture = np.zeros((len(phantom), width))
    for values, one in zip(picture, phantom, strict=True):
        for shape, share in one:
            values += share * np.diff(shape.profile(degrees, u))
    return picture * (TISSUE - AIR) * PIXEL_MM
