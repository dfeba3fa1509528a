"""A procedural torso, so that the package can show itself without anybody's scan.

Everything is a formula in patient coordinates (LPS, mm), so that thin truth
and thick slices at any position come from one and the same body. A structure is a
signed distance (negative inside) and is blended over what was painted before it, with an edge as
soft as a scanner's in-plane point spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrinet.geometry import Geometry
from hrinet.types import FLOAT32, INT16
from hrinet.volume import SourceInfo, Volume

FloatArray = NDArray[np.floating]
_Index = tuple[slice, slice]

AIR, LUNG, FAT, MUSCLE, SKIN = -1000.0, -850.0, -100.0, 50.0, 20.0
LIVER, SOFT, MYOCARDIUM, KIDNEY, CORD = 60.0, 40.0, 90.0, 40.0, 40.0
CORTICAL, CANCELLOUS, DISC, CARTILAGE = 900.0, 250.0, 90.0, 120.0
BLOOD, CONTRAST = 45.0, 180.0
NODULE = 40.0

_MIDDLE_Z = 150.0  # Formulas count z from the middle of the chest.
_PITCH = 27.0  # One vertebra and one rib every so many mm.
_TOP_VERTEBRA = 150.0
_SUBPLANE_MM = 1.7
_LAST_RIB_ANGLE = (0.93,) * 7 + (0.9, 0.86, 0.82, 0.5, 0.36)


class Nodule(NamedTuple):
    """A solid round nodule in a lung: centre in LPS and radius, mm."""

    x: float
    y: float
    z: float
    radius: float


class _Tubes(NamedTuple):
    """Round tubes with straight axes: ends (tube, 3) and the radius at either, mm."""

    start: FloatArray
    end: FloatArray
    start_radius: FloatArray
    end_radius: FloatArray


@dataclass(frozen=True, kw_only=True)
class TorsoPhantom:
    """A chest and upper abdomen, from the kidneys at z = 0 to the collar bones at z = 300 mm.

    Attributes:
        rows: of a slice.
        columns: of a slice.
        pixel_mm: distance between rows and between columns, mm.
        seed: of everything that is random: vessels, nodules, noise.
        contrast: whether the blood holds a contrast agent.
    """

    rows: int = 256
    columns: int = 256
    pixel_mm: float = 1.5
    seed: int = 0
    contrast: bool = True

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or not self.pixel_mm > 0:
            raise ValueError("a phantom needs rows, columns and a positive pixel size")

    def truth(self, positions_mm: Sequence[float]) -> NDArray[np.float32]:
        """The noise-free body in infinitely thin slices.

        Args:
            positions_mm: z of every slice, in any order, mm.

        Returns:
            shape (slice, row, column), HU. A slice depends on its own position only.
        """
        out = np.full((len(positions_mm), self.rows, self.columns), AIR, FLOAT32)
        whole = _Canvas(out[:0], self._x, self._y, self.pixel_mm)
        # Painting only where the body can be halves the time.
        roi = whole.window(0, -2, 180, 140)
        for plane, z in zip(out, positions_mm, strict=True):
            if roi is not None:
                x, y = self._x[:, roi[1]], self._y[roi[0]]
                self._paint(_Canvas(plane[roi], x, y, self.pixel_mm), float(z) - _MIDDLE_Z)
        return out

    def thick(self, position_mm: float, thickness_mm: float) -> NDArray[np.float32]:
        """One noise-free slice that averages a slab.

        Args:
            position_mm: z of the middle of the slab, mm.
            thickness_mm: of the slab, mm; 0 for a thin slice.

        Returns:
            shape (row, column), HU: the mean of :meth:`truth` at :func:`subplanes`.
        """
        planes = self.truth(subplanes(position_mm, thickness_mm))
        return np.asarray(planes.mean(axis=0, dtype=FLOAT32))

    def volume(
        self, positions_mm: Sequence[float], *, thickness_mm: float, noise_hu: float = 12.0
    ) -> Volume:
        """A scan: thick slices with noise, as a reader would hand them out.

        Args:
            positions_mm: z of every slice, strictly increasing, mm.
            thickness_mm: of a slice, mm, greater than 0.
            noise_hu: standard deviation of the noise, HU.

        Returns:
            An axial int16 volume.

        Raises:
            GeometryError: if positions or thickness are not as said above.
        """
        geometry = Geometry(
            origins=np.array([(self._x[0, 0], self._y[0, 0], z) for z in positions_mm]),
            row_direction=np.array([1.0, 0.0, 0.0]),
            column_direction=np.array([0.0, 1.0, 0.0]),
            pixel_spacing=(self.pixel_mm, self.pixel_mm),
            rows=self.rows,
            columns=self.columns,
            slice_thickness=thickness_mm,
        )
        array = np.empty(geometry.shape, INT16)
        for plane, z in zip(array, positions_mm, strict=True):
            values = self.thick(z, thickness_mm)
            values += noise_hu * self._noise(z, thickness_mm)
            # Scanners clip at -1024, the lowest value of 12-bit HU.
            plane[:] = np.rint(np.clip(values, -1024, 3071))
        info = SourceInfo(format="memory", modality="CT", description="Procedural torso")
        return Volume(array=array, geometry=geometry, info=info)

    @cached_property
    def nodules(self) -> tuple[Nodule, ...]:
        """Three nodules that lie free in the lungs."""
        rng = np.random.default_rng((self.seed, 3))
        found: list[Nodule] = []
        while len(found) < 3:
            side = -1 if len(found) % 2 == 0 else 1
            x, y, z = side * rng.uniform(60, 110), rng.uniform(-50, 60), rng.uniform(0, 90)
            radius = (5.0, 8.0, 3.5)[len(found)]
            if float(_lung(np.array(x), np.array(y), z)) < -radius - 8:
                found.append(Nodule(x, y, z + _MIDDLE_Z, radius))
        return tuple(found)

    @cached_property
    def _x(self) -> FloatArray:
        return ((np.arange(self.columns) - (self.columns - 1) / 2) * self.pixel_mm).astype(FLOAT32)[
            None
        ]

    @cached_property
    def _y(self) -> FloatArray:
        return ((np.arange(self.rows) - (self.rows - 1) / 2) * self.pixel_mm).astype(FLOAT32)[
            :, None
        ]

    @property
    def _blood(self) -> float:
        return CONTRAST if self.contrast else BLOOD

    @cached_property
    def _lung_vessels(self) -> _Tubes:
        trees = []
        for side in (-1, 1):
            rng = np.random.default_rng((self.seed, 1, side + 1))
            points = rng.uniform((20, -100, -100), (130, 100, 130), (2400, 3)) * (side, 1, 1)
            inside = _lung(points[:, 0], points[:, 1], points[:, 2]) < -5
            root = np.array([side * 34.0, 6.0, 38.0])
            trees.append(_grow_tree(root, points[inside][:420], leaf_radius=0.85))
        return _joined(trees)

    @cached_property
    def _liver_vessels(self) -> _Tubes:
        rng = np.random.default_rng((self.seed, 2))
        points = rng.uniform((-125, -80, -150), (30, 65, -30), (600, 3))
        x, y, z = points.T
        inside = np.maximum(_liver(x, y, z), -_dome(x, y, z)) < -8
        return _grow_tree(np.array([-24.0, 4.0, -88.0]), points[inside][:70], leaf_radius=1.3)

    def _noise(self, z: float, thickness_mm: float) -> FloatArray:
        """Unit-variance noise with the ramp-times-roll-off spectrum of filtered back-projection."""
        key = (self.seed, 4, round(z * 1000) + 2**31, round(thickness_mm * 1000))
        white = np.random.default_rng(key).standard_normal((self.rows, self.columns))
        spectrum = np.fft.rfft2(white) * self._noise_filter
        return np.asarray(np.fft.irfft2(spectrum, s=white.shape))

    @cached_property
    def _noise_filter(self) -> FloatArray:
        fy = np.fft.fftfreq(self.rows)[:, None]
        fx = np.fft.fftfreq(self.columns)[None]
        f = np.hypot(fx, fy) / self.pixel_mm
        response = np.sqrt(f + 0.02) * np.exp(-((f / 0.33) ** 2))
        response /= math.sqrt(float(np.mean(response**2)))
        return np.asarray(response[:, : self.columns // 2 + 1])

    def _paint(self, c: _Canvas, z: float) -> None:
        """Paint the plane at ``z`` from the outside in; later structures cover earlier ones."""
        x, y = c.x, c.y
        chest = _chest(x, y, z)
        dome = _dome(x, y, z)
        spine_y = _spine_y(z)
        self._paint_walls(c, z, chest)
        cavity = chest + 8

        lung = _lung(x, y, z, chest=chest, dome=dome)
        inside_lung = c.coverage(lung)
        fissure = np.abs(z - 10 + 0.75 * (y - 5) + 0.1 * x) * 0.8 - 0.4
        gravity = LUNG + 25 + np.float32(0.45) * (y - 10)
        parenchyma = gravity + 170 * c.coverage(fissure)
        vessels = c.coverage(_tube_distance(c, self._lung_vessels, z))
        parenchyma += vessels * (self._blood - parenchyma)
        c.blend(inside_lung, parenchyma)
        for n in self.nodules:
            c.ellipsoid(z, (n.x, n.y, n.z - _MIDDLE_Z), (n.radius,) * 3, NODULE)

        c.ellipsoid(z, (16, -26, 8), (60, 48, 60), FAT + 15, angle=-28)
        c.ellipsoid(z, (16, -26, 8), (56, 44, 56), MYOCARDIUM, angle=-28)
        for centre, radii in (
            ((36, -22, -4), (29, 19, 33)),
            ((-2, -46, -4), (32, 13, 32)),
            ((12, 2, 22), (31, 13, 19)),
            ((-26, -18, 12), (15, 22, 25)),
        ):
            c.ellipsoid(z, centre, radii, self._blood, angle=-28)
        c.paint(_tube_distance(c, _WALLS, z), SOFT)
        c.paint(_tube_distance(c, _BLOOD_TUBES, z), self._blood)
        c.paint(_tube_distance(c, _AIRWAYS, z), AIR)

        if z < 5:
            self._paint_abdomen(c, z, cavity, dome)
        c.paint(_tube_distance(c, _AORTA, z), self._blood)
        _paint_spine(c, z, spine_y)
        _paint_ribs(c, z, chest)
        front = _chest_middle(z) - _chest_axes(z)[1] - 1
        width = 15 + 0.003 * max(z - 40, 0) ** 2
        c.ellipsoid(z, (0, front, 40), (width, 6.5, 88), CORTICAL - 200)
        c.ellipsoid(z, (0, front, 40), (width - 2, 4.5, 86), CANCELLOUS - 100)
        for grow, hu in ((0.0, CORTICAL), (-2.0, CANCELLOUS)):
            c.paint(_tube_distance(c, _CLAVICLES, z) - grow, hu)
            for side in (-1, 1):
                plate = (26 + grow, 3.4 + grow / 2, 52 + grow)
                c.ellipsoid(z, (side * 96, 72, 88), plate, hu - 80, angle=-side * 42)

    def _paint_walls(self, c: _Canvas, z: float, chest: FloatArray) -> None:
        x, y = c.x, c.y
        body = _body(x, y, z, chest)
        c.paint(body, SKIN)
        mottle = np.sin(x / 9 + z / 13) * np.sin(y / 7 - z / 11)
        c.paint(body + 2.2, FAT + 8 * mottle)
        muscle = np.maximum(chest - 13 - 34 * _step(z, 70, 22), body + 9 + 6 * _step(-z, 0, 50))
        back_y = _spine_y(z) + 42
        for side in (-1, 1):
            muscle = np.minimum(muscle, _ellipse(x - side * 26, y - back_y, 23, 19))
        muscle = np.maximum(muscle, body + 5)
        c.paint(muscle, MUSCLE + 10 * mottle)
        c.paint(np.maximum(np.abs(chest - 11 - 5 * np.sin(y / 23)) - 1.0, muscle + 4), FAT + 40)
        inlet = _step(z, 128, 8)
        c.paint(chest + 7, FAT + 15 + inlet * (MUSCLE - FAT - 30))

    def _paint_abdomen(self, c: _Canvas, z: float, cavity: FloatArray, dome: FloatArray) -> None:
        x, y = c.x, c.y
        below = -dome
        room = np.maximum(cavity, below)
        within = np.maximum(cavity + 2, below + 4)
        c.paint(room, MUSCLE)
        c.paint(np.maximum(cavity + 1, below + 3), FAT)
        organs = np.maximum(within, _ellipsoid(x, y, z, (94, 36, -76), (30, 44, 44)))
        c.paint(organs, SOFT + (70 if self.contrast else 10))
        stomach = np.maximum(within, _ellipsoid(x, y, z, (56, -34, -84), (44, 40, 50)))
        c.paint(stomach, SOFT)
        c.paint(stomach + 5, 12)
        # Air rises: the surface of the stomach's content is level.
        c.paint(np.maximum(stomach + 5, y + 50), AIR)
        liver = np.maximum(_liver(x, y, z), within)
        liver_hu = LIVER + (45 if self.contrast else 0)
        vessels = c.coverage(_tube_distance(c, self._liver_vessels, z))
        c.blend(c.coverage(liver), liver_hu + vessels * (self._blood - 20 - liver_hu))
        for side in (-1, 1):
            centre = (side * 56.0, 34.0, -128.0 - 6 * (side < 0))
            for radii, hu in (
                ((29, 27, 54), self._blood if self.contrast else KIDNEY),
                ((20, 18, 44), SOFT + 60 * self.contrast),
                ((9, 12, 26), FAT + 20),
            ):
                c.ellipsoid(z, centre, radii, hu, angle=side * 35)
            psoas = _ellipse(x - side * 33, y - _spine_y(z) - 4, 14, 16)
            c.paint(psoas + 0.01 * max(0, z + 125) ** 2, MUSCLE)
        bowel = np.maximum(_tube_distance(c, _BOWEL, z), within)
        c.paint(bowel, SOFT + 20)
        c.paint(bowel + 3.5, 10 - 55 * np.sin(x / 4 + z / 5) * np.sin(y / 5))
        c.paint(np.maximum(bowel + 3.5, y + 52 + 6 * np.sin(x / 30 + 1)), AIR)
        c.paint(_tube_distance(c, _VENA_CAVA, z), self._blood - 30)


class _Canvas:
    """One plane being painted.

    Attributes:
        image: shape (row, column), HU, painted in place.
        x: of the columns, shape (1, column), mm.
        y: of the rows, shape (row, 1), mm.
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
        """Fraction of every pixel inside a structure, from the signed distance in mm."""
        covered = distance * self._scale
        covered += np.float32(0.5)
        return np.asarray(np.clip(covered, 0, 1, out=covered))

    def blend(
        self, covered: FloatArray, hu: float | FloatArray, roi: _Index = (slice(None), slice(None))
    ) -> None:
        """Lay ``hu`` over the image where ``covered``."""
        under = self.image[roi]
        under += covered * (np.asarray(hu, FLOAT32) - under)

    def paint(
        self,
        distance: FloatArray,
        hu: float | FloatArray,
        roi: _Index = (slice(None), slice(None)),
    ) -> None:
        """Lay a structure over the image."""
        self.blend(self.coverage(distance), hu, roi)

    def window(self, x: float, y: float, rx: float, ry: float) -> _Index | None:
        """The pixels within ``rx`` and ``ry`` mm of a point, or None if there are none."""
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
        """Paint the section of an ellipsoid, turned by ``angle`` degrees about the z axis."""
        if abs(z - centre[2]) > radii[2] + self.edge_mm:
            return
        reach = (max(radii[:2]) if angle else 0) + self.edge_mm
        roi = self.window(centre[0], centre[1], max(radii[0], reach) + 2, max(radii[1], reach) + 2)
        if roi is not None:
            distance = _ellipsoid(self.x[:, roi[1]], self.y[roi[0]], z, centre, radii, angle=angle)
            self.paint(distance, hu, roi)


def subplanes(position_mm: float, thickness_mm: float) -> list[float]:
    """The z of the thin planes whose mean stands for a thick slice, mm."""
    count = max(1, math.ceil(thickness_mm / _SUBPLANE_MM))
    return [position_mm + thickness_mm * ((k + 0.5) / count - 0.5) for k in range(count)]


def _step(z: float, middle: float, width: float) -> float:
    """A smooth step from 0 to 1."""
    return 0.5 + 0.5 * math.tanh((z - middle) / width)


def _ellipse(x: FloatArray, y: FloatArray, rx: float, ry: float) -> FloatArray:
    """Signed distance to an elliptic cylinder along z, to first order."""
    k0 = np.sqrt((x / rx) ** 2 + (y / ry) ** 2)
    k1 = np.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2) + np.float32(1e-9)
    return np.asarray(k0 * (k0 - 1) / k1)


def _ellipsoid(
    x: FloatArray,
    y: FloatArray,
    z: float | FloatArray,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    *,
    angle: float = 0.0,
) -> FloatArray:
    """Signed distance to an ellipsoid, to first order."""
    x, y, dz = x - centre[0], y - centre[1], z - centre[2]
    if angle:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        x, y = x * cos - y * sin, x * sin + y * cos
    a, b, d = ((v / r) ** 2 for v, r in zip((x, y, dz), radii, strict=True))
    k0 = np.sqrt(a + b + d)
    k1 = np.sqrt(a / radii[0] ** 2 + b / radii[1] ** 2 + d / radii[2] ** 2) + np.float32(1e-9)
    return np.asarray(k0 * (k0 - 1) / k1)


def _plain(value: Any) -> Any:
    """A scalar as a Python number, which does not turn float32 arrays into float64."""
    return float(value) if np.ndim(value) == 0 else value


def _spine_y(z: float | FloatArray) -> Any:
    """Middle of the vertebral bodies: bent forwards in neck and loin."""
    return 56 - 16 * ((z - 15) / 150) ** 2


def _chest_axes(z: float | FloatArray) -> tuple[Any, Any]:
    """Half-axes of the ellipse on which the ribs lie; it narrows to the top like a barrel."""
    taper = _plain(np.sqrt(1 - (np.maximum(z + 45, 0) / 222) ** 2))
    return 130 * taper, 46 + 46 * taper - 18 * (1 - taper)


def _chest_middle(z: float | FloatArray) -> Any:
    return _spine_y(z) + 30 - _chest_axes(z)[1]


def _chest(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    """Signed distance to the surface that the ribs run in."""
    a, b = _chest_axes(z)
    lean = _plain(np.sqrt(1 + (0.7 * np.maximum(z + 45, 0) / 222) ** 2))
    return np.asarray(_ellipse(x, y - _chest_middle(z), a, b) / lean)


def _body(x: FloatArray, y: FloatArray, z: float, chest: FloatArray) -> FloatArray:
    """Signed distance to the skin: a flattened ellipse, widest below the shoulders."""
    a = 152 + 20 * math.exp(-(((z - 85) / 60) ** 2)) - 50 * _step(z, 158, 14)
    b = 104 + 10 * math.exp(-(((z - 40) / 90) ** 2)) - 26 * _step(z, 150, 22)
    y = y - 8 - 14 * _step(z, 135, 18)
    u, v = (x / a) ** 2, (y / b) ** 2
    # Between an ellipse (coefficient 2) and a rounded box (0).
    f = np.sqrt(np.sqrt(u * u + v * v + 1.3 * u * v)) + np.float32(1e-6)
    outline = np.sqrt(x * x + y * y) * (1 - 1 / f)
    return -_rounded_max(-outline, 18 - chest, 10)


def _dome(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    """Signed distance to the diaphragm, negative above it; the right half is higher."""
    aside = np.abs(x) - 66
    fall = np.where(aside > 0, 0.011, 0.0035).astype(FLOAT32) * aside
    y = y - 2
    top = -10 - 7 * np.tanh(x / 25)
    height = top - fall * aside - 0.0065 * y * y
    return np.asarray((height - z) / np.sqrt(1 + 4 * fall**2 + (0.013 * y) ** 2))


def _rounded_max(a: FloatArray, b: FloatArray, radius: float) -> FloatArray:
    return np.asarray(0.5 * (a + b + np.sqrt((a - b) ** 2 + np.float32(radius * radius))))


def _lung(
    x: FloatArray,
    y: FloatArray,
    z: float | FloatArray,
    *,
    chest: FloatArray | None = None,
    dome: FloatArray | None = None,
) -> FloatArray:
    """Signed distance to both lungs."""
    chest = _chest(x, y, z) if chest is None else chest
    dome = _dome(x, y, z) if dome is None else dome
    midline = 9 + 9 * (1 + np.tanh((y + 62) / 12)) + 5 * np.exp(-(((y - 50) / 25) ** 2))
    outside = _rounded_max(chest + 8.5, midline - np.abs(x), 7)
    apex = z - 132 + 0.010 * ((np.abs(x) - 44) ** 2 + (y - 22) ** 2)
    apex = apex / np.sqrt(1 + (0.02 * (np.abs(x) - 44)) ** 2 + (0.02 * (y - 22)) ** 2)
    return np.maximum(_rounded_max(outside, apex, 6), dome)


def _liver(x: FloatArray, y: FloatArray, z: float | FloatArray) -> FloatArray:
    right = _ellipsoid(x, y, z, (-52, 2, -72), (92, 86, 72))
    left = _ellipsoid(x, y, z, (10, -42, -52), (62, 46, 38))
    return np.minimum(right, left)


def _paint_spine(c: _Canvas, z: float, spine_y: float) -> None:
    size = 1 - 0.0011 * z
    roi = c.window(0, spine_y + 20, 46, 62)
    if roi is None:
        return
    x, y = c.x[:, roi[1]], c.y[roi[0]] - spine_y
    level = (z - _TOP_VERTEBRA) / _PITCH
    phase = (level - round(level)) * _PITCH
    flare = min(abs(phase) / 10.0, 1.0) ** 2
    rx, ry = (16 + 2.2 * flare) * size, (12.5 + 1.4 * flare) * size
    body = _ellipse(x, y, rx, ry)
    c.paint(body + 0.6, DISC, roi)
    bone = np.maximum(body, abs(phase) - 10.2)
    c.paint(bone, CORTICAL - 250, roi)
    c.paint(bone + 1.3, CANCELLOUS, roi)

    canal_y = ry + 8.5
    y = y - canal_y
    ring = np.maximum(_ellipse(x, y, 14 * size, 12.5 * size), abs(phase + 1) - 10)
    # Processes point down and back, so that a plane cuts them below their vertebra.
    slant = np.remainder(phase + 0.55 * (y - 10) + _PITCH / 2, _PITCH) - _PITCH / 2
    spinous = np.maximum(_box(x, 2.6, np.abs(slant) - 6.5), np.maximum(8 - y, y - 29))
    across = np.hypot(y - 3 - 0.35 * (np.abs(x) - 14), phase + 0 * x) - 5.2
    transverse = np.maximum(across, np.abs(x) - 34)
    arch = np.minimum(np.minimum(ring, spinous), np.maximum(transverse, 8 - np.abs(x)))
    c.paint(arch, CORTICAL - 200, roi)
    c.paint(arch + 1.6, CANCELLOUS + 50, roi)
    c.paint(_ellipse(x, y, 8.6, 8.0), CORD - 40, roi)
    c.paint(_ellipse(x, y + 0.5, 5.2, 4.4), CORD, roi)


def _box(x: FloatArray, half: float, other: FloatArray) -> FloatArray:
    return np.maximum(np.abs(x) - half, other)


def _paint_ribs(c: _Canvas, z: float, chest: FloatArray) -> None:
    """Twelve pairs of arches that fall from the spine to the front and rise as cartilage."""
    near = np.flatnonzero(np.abs(chest) < 8)
    if near.size == 0:
        return
    row, column = np.divmod(near, c.image.shape[1])
    x, y = c.x[0, column], c.y[row, 0] - np.float32(_chest_middle(z))
    a, b = _chest_axes(z)
    # 0 at the spine, 1 at the front.
    along = np.arctan2(np.abs(x) / a, y / b) / np.float32(math.pi)
    bony = np.minimum(along, 0.76) / 0.76
    drop = 100 * np.sin(bony * math.pi / 2) ** 1.2
    drop -= 55 * (np.maximum(along - 0.76, 0) / 0.24) ** 1.4
    height = (z + drop - _TOP_VERTEBRA) / _PITCH
    number = np.rint(height)
    rib = -number.astype(np.intp)
    end = np.where((rib >= 0) & (rib < 12), np.take(_LAST_RIB_ANGLE, rib, mode="clip"), -1.0)
    radial, vertical = chest.flat[near], (height - number) * _PITCH * 0.95
    k0 = np.sqrt((radial / 3.7) ** 2 + (vertical / 6.2) ** 2)
    k1 = np.sqrt((radial / 3.7**2) ** 2 + (vertical / 6.2**2) ** 2) + 1e-6
    distance = np.maximum(k0 * (k0 - 1) / k1, (along - end) * 240).astype(FLOAT32)
    cartilage = np.clip((along - 0.76) * 40, 0, 1).astype(FLOAT32)
    values = c.image[row, column]
    for grow, hu in ((0.0, CORTICAL), (1.5, CANCELLOUS)):
        covered = c.coverage(distance + np.float32(grow))
        target = hu + cartilage * (CARTILAGE - hu)
        values += covered * (target - values)
    c.image[row, column] = values


def _tube_distance(c: _Canvas, tubes: _Tubes, z: float) -> FloatArray:
    """Signed distance to the nearest tube in the plane, large where none is near."""
    out = np.full(c.image.shape, 99.0, FLOAT32)
    reach = np.maximum(tubes.start_radius, tubes.end_radius) + c.edge_mm
    dz = tubes.end[:, 2] - tubes.start[:, 2]
    # Only the part of an axis within reach of the plane matters.
    dz = np.where(np.abs(dz) < 1e-6, 1e-6, dz)
    ends = np.sort([(z + s * reach - tubes.start[:, 2]) / dz for s in (-1, 1)], axis=0)
    t0, t1 = np.clip(ends, 0, 1)
    active = np.flatnonzero((ends[1] >= 0) & (ends[0] <= 1))
    axis = (tubes.end - tubes.start)[active]
    half = (0.5 * (t1 - t0)[active, None] * np.abs(axis) + reach[active, None])[:, :2]
    middle = tubes.start[active] + 0.5 * (t0 + t1)[active, None] * axis
    first = np.floor((middle[:, :2] - half - c.corner) / c.pixel_mm).astype(np.intp)
    size = np.ceil(2 * half.max(axis=1) / c.pixel_mm).astype(np.intp) + 2
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
        x = c.corner[0] + c.pixel_mm * column - a[:, 0]
        y = c.corner[1] + c.pixel_mm * row - a[:, 1]
        h = z - a[:, 2]
        d2 = (d * d).sum(axis=1) + 1e-9
        t = np.clip((x * (d[:, 0] / d2) + (y * d[:, 1] + h * d[:, 2]) / d2), 0, 1)
        square = (x - t * d[:, 0]) ** 2 + (y - t * d[:, 1]) ** 2 + (h - t * d[:, 2]) ** 2
        r0, r1 = tubes.start_radius[n, None, None], tubes.end_radius[n, None, None]
        distance = np.sqrt(square) - (r0 + t * (r1 - r0))
        valid = (row >= 0) & (row < c.y.size) & (column >= 0) & (column < c.x.size)
        flat = (row * c.x.size + column)[valid]
        np.minimum.at(out.reshape(-1), flat, distance[valid].astype(FLOAT32))
    return out


def _polyline(*points: tuple[float, float, float, float]) -> _Tubes:
    """Tubes through points (x, y, z, radius)."""
    p = np.array(points, dtype=np.float64)
    return _Tubes(p[:-1, :3], p[1:, :3], p[:-1, 3], p[1:, 3])


def _joined(parts: Sequence[_Tubes]) -> _Tubes:
    return _Tubes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _grow_tree(root: FloatArray, targets: FloatArray, *, leaf_radius: float) -> _Tubes:
    """Connect points to a root by a branching tree whose radii follow Murray's law.

    Args:
        root: where the tree starts, shape (3,), mm.
        targets: the leaves, shape (leaf, 3), mm.
        leaf_radius: of the thinnest twig, mm.
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    nodes, parents, depth = [root], [-1], [0.0]
    for target in targets[order]:
        gap = np.linalg.norm(np.array(nodes) - target, axis=1)
        # A little regard for the way back to the root avoids twigs that turn around.
        parent = int(np.argmin(gap + 0.25 * np.array(depth)))
        step = target - nodes[parent]
        # Branches leave along their parent's direction and bend towards the target.
        before = nodes[parent] - nodes[max(parents[parent], 0)]
        heading = before / (float(np.linalg.norm(before)) + 1e-9)
        length = float(np.linalg.norm(step))
        bend = nodes[parent] + 0.5 * step + 0.18 * length * heading
        for point in (bend, target):
            depth.append(depth[parent] + float(np.linalg.norm(point - nodes[parent])))
            nodes.append(point)
            parents.append(parent)
            parent = len(nodes) - 1
    leaves = np.ones(len(nodes))
    for index in range(len(nodes) - 1, 0, -1):
        leaves[parents[index]] += leaves[index]
    radius = leaf_radius * (leaves / 2) ** (1 / 2.9)
    points, up = np.array(nodes), np.array(parents[1:])
    return _Tubes(points[up], points[1:], np.minimum(radius[up], radius[1:] * 1.25), radius[1:])


_TRACHEA = ((0, 12, 165, 9.0), (0, 18, 110, 9.0), (2, 22, 62, 8.5))
_AORTA = _polyline(
    (-6, -34, 18, 14), (-12, -38, 42, 14), (-9, -32, 66, 14), (0, -18, 81, 13.5),
    (10, 2, 86, 13), (18, 20, 78, 12.5), (20, 30, 60, 12), (18, 32, 0, 11.5),
    (10, 30, -70, 10.5), (6, 20, -120, 9.5), (5, 10, -170, 9),
)  # fmt: skip
_VENA_CAVA = _polyline(
    (-20, 12, -170, 11), (-22, 18, -110, 11), (-24, 4, -50, 12), (-26, -8, 0, 12)
)  # fmt: skip
_BLOOD_TUBES = _joined((
    _polyline((-26, -14, 15, 11), (-28, -22, 60, 9.5), (-26, -26, 105, 9), (-40, -18, 135, 7)),
    _polyline((-26, -26, 100, 7), (6, -32, 108, 6.5), (34, -18, 132, 6.5)),
    _polyline((14, -46, 22, 13), (18, -36, 42, 13), (22, -16, 50, 11.5), (36, 6, 46, 9)),
    _polyline((18, -24, 44, 11), (-6, -10, 38, 10), (-34, 4, 38, 9)),
    _polyline((-6, -24, 80, 6), (-16, -8, 112, 5.5), (-22, -6, 160, 5)),
    _polyline((4, -10, 88, 4.5), (14, -4, 120, 4.2), (20, -2, 160, 4.2)),
    _polyline((13, 8, 90, 5), (24, 16, 118, 5), (44, 6, 142, 5)),
    _polyline((12, 8, 22, 6), (-30, 18, 16, 5.5)),
    _polyline((12, 8, 22, 6), (44, 20, 18, 5.5)),
))  # fmt: skip
_BRONCHI = (
    ((2, 22, 62, 8), (-20, 18, 46, 7), (-38, 12, 30, 5.5), (-50, 14, 8, 4)),
    ((2, 22, 62, 8), (26, 20, 42, 6), (42, 18, 30, 5), (56, 24, 4, 3.8)),
    ((-22, 18, 45, 5), (-46, 6, 58, 4)),
    ((36, 18, 35, 4.6), (54, -2, 50, 3.6)),
)
_AIRWAYS = _joined([_polyline(*points) for points in (_TRACHEA, *_BRONCHI)])
_WALLS = _joined((
    _Tubes(*_AIRWAYS[:2], _AIRWAYS.start_radius + 1.6, _AIRWAYS.end_radius + 1.6),
    _polyline((3, 30, 165, 6), (4, 36, 100, 6), (6, 38, 40, 6.5), (14, 22, -40, 7)),
))  # fmt: skip
_BOWEL = _joined((
    _polyline((86, 10, -175, 17), (98, 0, -120, 16), (104, 12, -92, 15)),
    _polyline((90, -46, -122, 15), (30, -66, -138, 16), (-40, -62, -134, 17), (-84, -30, -150, 18)),
    _polyline((44, -20, -148, 13), (8, -28, -150, 13), (-14, -30, -146, 12)),
))  # fmt: skip
_CLAVICLES = _joined([
    _polyline((s * 17, -34, 124, 7), (s * 60, -34, 134, 5.5), (s * 118, 14, 142, 6))
    for s in (-1, 1)
])  # fmt: skip
