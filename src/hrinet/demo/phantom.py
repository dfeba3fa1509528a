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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrinet.demo.anatomy import (
    AIR,
    AIRWAYS,
    AORTA,
    BLOOD,
    BOWEL,
    CANCELLOUS,
    CLAVICLES,
    CONTRAST,
    CORTICAL,
    FAT,
    GREAT_VESSELS,
    KIDNEY,
    LIVER,
    LUNG,
    MUSCLE,
    MYOCARDIUM,
    NODULE,
    SKIN,
    SOFT,
    VENA_CAVA,
    WALLS,
    body_distance,
    chest_axes,
    chest_distance,
    chest_middle,
    dome_distance,
    liver_distance,
    liver_vessels,
    lung_distance,
    lung_vessels,
    paint_ribs,
    paint_spine,
    smooth_step,
    spine_middle,
)
from hrinet.demo.canvas import (
    Canvas,
    FloatArray,
    Tubes,
    ellipse_distance,
    ellipsoid_distance,
    tube_distance,
)
from hrinet.geometry import Geometry
from hrinet.types import FLOAT32, INT16
from hrinet.volume import SourceInfo, Volume

_MIDDLE_Z = 150.0  # Formulas count z from the middle of the chest.
_SUBPLANE_MM = 1.7


class Nodule(NamedTuple):
    """A solid round nodule in a lung: centre in LPS and radius, mm."""

    x: float
    y: float
    z: float
    radius: float


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
        whole = Canvas(out[:0], self._x, self._y, self.pixel_mm)
        # Painting only where the body can be halves the time.
        roi = whole.window(0, -2, 180, 140)
        for plane, z in zip(out, positions_mm, strict=True):
            if roi is not None:
                x, y = self._x[:, roi[1]], self._y[roi[0]]
                self._paint(Canvas(plane[roi], x, y, self.pixel_mm), float(z) - _MIDDLE_Z)
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
            if float(lung_distance(np.array(x), np.array(y), z)) < -radius - 8:
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
    def _lung_vessels(self) -> Tubes:
        return lung_vessels(self.seed)

    @cached_property
    def _liver_vessels(self) -> Tubes:
        return liver_vessels(self.seed)

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

    def _paint(self, c: Canvas, z: float) -> None:
        """Paint the plane at ``z`` from the outside in; later structures cover earlier ones."""
        x, y = c.x, c.y
        chest = chest_distance(x, y, z)
        dome = dome_distance(x, y, z)
        spine_y = spine_middle(z)
        self._paint_walls(c, z, chest)
        cavity = chest + 8

        lung = lung_distance(x, y, z, chest=chest, dome=dome)
        inside_lung = c.coverage(lung)
        fissure = np.abs(z - 10 + 0.75 * (y - 5) + 0.1 * x) * 0.8 - 0.4
        gravity = LUNG + 25 + np.float32(0.45) * (y - 10)
        parenchyma = gravity + 170 * c.coverage(fissure)
        vessels = c.coverage(tube_distance(c, self._lung_vessels, z))
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
        c.paint(tube_distance(c, WALLS, z), SOFT)
        c.paint(tube_distance(c, GREAT_VESSELS, z), self._blood)
        c.paint(tube_distance(c, AIRWAYS, z), AIR)

        if z < 5:
            self._paint_abdomen(c, z, cavity, dome)
        c.paint(tube_distance(c, AORTA, z), self._blood)
        paint_spine(c, z, spine_y)
        paint_ribs(c, z, chest)
        front = chest_middle(z) - chest_axes(z)[1] - 1
        width = 15 + 0.003 * max(z - 40, 0) ** 2
        c.ellipsoid(z, (0, front, 40), (width, 6.5, 88), CORTICAL - 200)
        c.ellipsoid(z, (0, front, 40), (width - 2, 4.5, 86), CANCELLOUS - 100)
        for grow, hu in ((0.0, CORTICAL), (-2.0, CANCELLOUS)):
            c.paint(tube_distance(c, CLAVICLES, z) - grow, hu)
            for side in (-1, 1):
                plate = (26 + grow, 3.4 + grow / 2, 52 + grow)
                c.ellipsoid(z, (side * 96, 72, 88), plate, hu - 80, angle=-side * 42)

    def _paint_walls(self, c: Canvas, z: float, chest: FloatArray) -> None:
        x, y = c.x, c.y
        body = body_distance(x, y, z, chest)
        c.paint(body, SKIN)
        mottle = np.sin(x / 9 + z / 13) * np.sin(y / 7 - z / 11)
        c.paint(body + 2.2, FAT + 8 * mottle)
        muscle = np.maximum(
            chest - 13 - 34 * smooth_step(z, 70, 22), body + 9 + 6 * smooth_step(-z, 0, 50)
        )
        back_y = spine_middle(z) + 42
        for side in (-1, 1):
            muscle = np.minimum(muscle, ellipse_distance(x - side * 26, y - back_y, 23, 19))
        muscle = np.maximum(muscle, body + 5)
        c.paint(muscle, MUSCLE + 10 * mottle)
        c.paint(np.maximum(np.abs(chest - 11 - 5 * np.sin(y / 23)) - 1.0, muscle + 4), FAT + 40)
        inlet = smooth_step(z, 128, 8)
        c.paint(chest + 7, FAT + 15 + inlet * (MUSCLE - FAT - 30))

    def _paint_abdomen(self, c: Canvas, z: float, cavity: FloatArray, dome: FloatArray) -> None:
        x, y = c.x, c.y
        below = -dome
        room = np.maximum(cavity, below)
        within = np.maximum(cavity + 2, below + 4)
        c.paint(room, MUSCLE)
        c.paint(np.maximum(cavity + 1, below + 3), FAT)
        organs = np.maximum(within, ellipsoid_distance(x, y, z, (94, 36, -76), (30, 44, 44)))
        c.paint(organs, SOFT + (70 if self.contrast else 10))
        stomach = np.maximum(within, ellipsoid_distance(x, y, z, (56, -34, -84), (44, 40, 50)))
        c.paint(stomach, SOFT)
        c.paint(stomach + 5, 12)
        # Air rises: the surface of the stomach's content is level.
        c.paint(np.maximum(stomach + 5, y + 50), AIR)
        liver = np.maximum(liver_distance(x, y, z), within)
        liver_hu = LIVER + (45 if self.contrast else 0)
        vessels = c.coverage(tube_distance(c, self._liver_vessels, z))
        c.blend(c.coverage(liver), liver_hu + vessels * (self._blood - 20 - liver_hu))
        for side in (-1, 1):
            centre = (side * 56.0, 34.0, -128.0 - 6 * (side < 0))
            for radii, hu in (
                ((29, 27, 54), self._blood if self.contrast else KIDNEY),
                ((20, 18, 44), SOFT + 60 * self.contrast),
                ((9, 12, 26), FAT + 20),
            ):
                c.ellipsoid(z, centre, radii, hu, angle=side * 35)
            psoas = ellipse_distance(x - side * 33, y - spine_middle(z) - 4, 14, 16)
            c.paint(psoas + 0.01 * max(0, z + 125) ** 2, MUSCLE)
        bowel = np.maximum(tube_distance(c, BOWEL, z), within)
        c.paint(bowel, SOFT + 20)
        c.paint(bowel + 3.5, 10 - 55 * np.sin(x / 4 + z / 5) * np.sin(y / 5))
        c.paint(np.maximum(bowel + 3.5, y + 52 + 6 * np.sin(x / 30 + 1)), AIR)
        c.paint(tube_distance(c, VENA_CAVA, z), self._blood - 30)


def subplanes(position_mm: float, thickness_mm: float) -> list[float]:
    """The z of the thin planes whose mean stands for a thick slice.

    Args:
        position_mm: z of the middle of the slab, mm.
        thickness_mm: of the slab, mm; 0 for a thin slice.

    Returns:
        ascending, evenly spaced and at most 1.7 mm apart, mm.
    """
    count = max(1, math.ceil(thickness_mm / _SUBPLANE_MM))
    return [position_mm + thickness_mm * ((k + 0.5) / count - 0.5) for k in range(count)]
