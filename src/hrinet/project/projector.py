"""Projections of a volume: Algorithms 2 and 3 of the thesis, in millimetres of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.project.beam import Beam
from hrinet.project.cells import Float32Array
from hrinet.project.resample import Grid, resample
from hrinet.project.shear import AIR_HU, Along, Reduction, shear
from hrinet.project.views import View
from hrinet.project.weights import UNIFORM, Frame, Weight
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.registry import Device
from hrinet.types import Float64Array
from hrinet.volume import Volume

Mode: TypeAlias = Literal["mean", "maximum", "minimum", "sum", "attenuation"]

UNITS: dict[Mode, str] = {
    "mean": "HU",
    "maximum": "HU",
    "minimum": "HU",
    "sum": "(HU + 1000) mm",
    "attenuation": "-ln(I/I0)",
}

_MARGIN = 8  # Voxels over which interpolation spreads more than a ten-thousandth.
_MAX_SIDE = 16384


@dataclass(frozen=True, eq=False)
class Projection:
    """One projection.

    Attributes:
        values: shape (row, column), float32; the top row is uppermost in the view.
        view: from where it is seen.
        pixel_mm: edge length of the square pixels.
        origin: centre of the pixel (0, 0) in the plane through the middle of the volume, LPS, mm.
        frame: where rays begin and how long they are.
        mode: what was computed.
        weight: by which weights.
    """

    values: Float32Array
    view: View
    pixel_mm: float
    origin: Float64Array
    frame: Frame
    mode: Mode
    weight: Weight

    @property
    def unit(self) -> str:
        """Of the values."""
        return UNITS[self.mode]

    @property
    def outside(self) -> float:
        """The value of rays that meet air only."""
        return 0.0 if self.mode in ("sum", "attenuation") else AIR_HU

    def cropped(self, columns: slice, rows: slice) -> Projection:
        """A part of the picture."""
        left, top = columns.indices(self.values.shape[1])[0], rows.indices(self.values.shape[0])[0]
        move = (left * self.view.right - top * self.view.up) * self.pixel_mm
        return Projection(
            values=self.values[rows, columns],
            view=self.view,
            pixel_mm=self.pixel_mm,
            origin=self.origin + move,
            frame=self.frame,
            mode=self.mode,
            weight=self.weight,
        )


def project(
    volume: Volume,
    views: Sequence[View],
    *,
    mode: Mode = "mean",
    weight: Weight = UNIFORM,
    beam: Beam | None = None,
    pixel_mm: float | None = None,
    blank: bool = False,
    threads: int | None = None,
    device: Device = "cpu",
) -> list[Projection]:
    """Project a volume along parallel rays.

    Rays and pixels are those of the patient: anisotropic voxels, gantry tilt and oblique stacks
    come out in true proportions. The volume is the parallelepiped of its voxels; around it there is
    air, -1000 HU, and so is padding (voxels at -1024 HU or less, or at ``volume.padding_hu``), so
    that no seam appears where a ray leaves the reconstructed circle.

    A position on a ray is its depth k, 0 <= k <= n, with n the width of the volume along the ray:
    that of the ellipsoid inscribed in it. This is the width of the axial image for rays along its
    rows or columns, and stays so for all angles between, where n steps would otherwise grow by
    sqrt(2). Depth is counted from the viewer. Weights W(k/n) are scaled to at most 1.

    * ``mean``: the integral of W (HU - air) over the ray divided by the integral of W from 0 to n,
      plus air. It is Algorithm 3 (without weights Algorithm 2, where the sum is divided by n) in
      which what is empty is air instead of zero. One structure is equally bright from all sides,
      since the divisor is that of the view and not the path inside the volume.
    * ``sum``: the integral of W (HU - air) in (HU + 1000) mm. Without weights, its integral over
      the picture is that over the volume, from every side.
    * ``maximum``: the largest W (HU - air), plus air.
    * ``minimum``: the smallest HU among places of W >= 1/2 in the volume; air if there are none.
    * ``attenuation``: -ln(I/I0), the integral of W mu, of a beam of one energy (Beer-Lambert).

    Args:
        volume: with slices at even distances along one line, see
            :func:`hrinet.project.fill.fill_gaps`.
        views: from where; all pictures have the same size.
        mode: see above.
        weight: see above.
        beam: for ``attenuation``; 60 keV by default.
        pixel_mm: of the pictures; that of the slices by default, the smaller of the two.
        blank: the volume has empty slices between its slices, which must not ring.
        threads: cores to use; by default all.
        device: what computes; other than ``"cpu"`` needs PyTorch.

    Returns:
        One projection a view.

    Raises:
        RequestError: if there is no such mode, weights or pixels are unusable, or slices are
            uneven.
    """
    if mode not in get_args(Mode):
        raise RequestError(f"--mode is {mode!r}, expected one of {', '.join(get_args(Mode))}")
    geometry = volume.geometry
    if not geometry.is_uniform:
        raise RequestError(
            "the slices lie at uneven distances; fill the gaps on a uniform grid before projecting"
        )
    pixel = min(geometry.pixel_spacing) if pixel_mm is None else float(pixel_mm)
    check_pixel(pixel_mm)
    axes, centre = _axes(geometry), _centre(geometry)
    size = _size(views, axes, geometry.shape, pixel)
    if max(size) > _MAX_SIDE:
        raise RequestError(
            f"pictures of {size[1]} x {size[0]} pixels are more than {_MAX_SIDE} wide or high; "
            "choose a larger --pixel-mm"
        )
    task = _Projector(
        volume, axes, centre, size, pixel, mode, weight, beam or Beam(), blank, device
    )
    return [task.project(view, threads or default_threads()) for view in views]


def check_pixel(pixel_mm: float | None) -> None:
    """Refuse a pixel that is none.

    Raises:
        RequestError: if it is not a length above 0.
    """
    if pixel_mm is not None and not (np.isfinite(pixel_mm) and pixel_mm > 0):
        raise RequestError(f"--pixel-mm is {pixel_mm}, expected a length above 0")


@dataclass(frozen=True, slots=True)
class _Projector:
    volume: Volume
    axes: Float64Array
    centre: Float64Array
    size: tuple[int, int]
    pixel: float
    mode: Mode
    weight: Weight
    beam: Beam
    blank: bool
    device: Device

    def project(self, view: View, threads: int) -> Projection:
        ray, axes, geometry = view.ray, self.axes, self.volume.geometry
        frame = ray_frame(geometry, view, pixel_mm=self.pixel)
        weights = self.weight.along(view, frame)
        along = None
        if not self.weight.is_uniform:
            start = (float(geometry.origins[0] @ ray) - frame.start_mm) / frame.length_mm
            along = Along(
                function=weights, start=start, steps=np.asarray(ray @ axes) / frame.length_mm
            )
        reduction: Reduction = "sum"
        if self.mode == "maximum" or self.mode == "minimum":
            reduction = self.mode
        sheared = shear(
            self.volume.array,
            np.asarray(np.linalg.solve(axes, ray), np.float64),
            reduction=reduction,
            along=along,
            beam=self.beam if self.mode == "attenuation" else None,
            padding_hu=self.volume.padding_hu,
            smooth=not self.blank,
            threads=threads,
            device=self.device,
        )
        # The picture's own axes: to the right and downwards.
        down = -view.up
        across = np.stack([view.right, down])
        i, _, j = sheared.axes
        first = (
            geometry.origins[0] + sheared.offsets[0] * axes[:, i] + sheared.offsets[1] * axes[:, j]
        )
        grid = Grid(*self.size, self.pixel, _pair(across @ self.centre))
        is_extreme = reduction != "sum"
        values = resample(
            sheared.values,
            start=_pair(across @ first),
            step_i=_pair(across @ axes[:, i] * sheared.steps[0]),
            step_j=_pair(across @ axes[:, j] * sheared.steps[1]),
            grid=grid,
            between="area" if self.blank else "value" if is_extreme else "smooth",
        )
        self._scale(values, sheared.path_mm, frame, weights)
        left, top = (-(count - 1) / 2 * self.pixel for count in self.size[::-1])
        return Projection(
            values=values,
            view=view,
            pixel_mm=self.pixel,
            origin=self.centre + left * view.right + top * down,
            frame=frame,
            mode=self.mode,
            weight=self.weight,
        )

    def _scale(self, values: Float32Array, path_mm: float, frame: Frame, weights: object) -> None:
        """From sums over planes, HU above air, to the unit of the mode, in place."""
        if self.mode in ("maximum", "minimum"):
            values += AIR_HU
        elif self.mode == "sum":
            values *= path_mm
        elif self.mode == "attenuation":
            values *= path_mm * self.beam.water_per_mm / 1000
        else:
            assert callable(weights)
            # As the voxels are summed up, or steep weights would make another tissue of one.
            planes = max(round(frame.length_mm / path_mm), 1)
            depths = (np.arange(planes) + 0.5) / planes
            values *= path_mm / (frame.length_mm * float(np.mean(weights(depths))))
            values += AIR_HU


def ray_frame(geometry: Geometry, view: View, *, pixel_mm: float) -> Frame:
    """Where the rays of a view begin and how long they are; see :func:`project`."""
    half = np.array(geometry.shape) / 2 * (view.ray @ _axes(geometry))
    length = 2 * float(np.linalg.norm(half))
    middle = float(_centre(geometry) @ view.ray)
    return Frame(start_mm=middle - length / 2, length_mm=length, pixel_mm=pixel_mm)


def _axes(geometry: Geometry) -> Float64Array:
    """Columns: the vectors from one slice, row, column to the next, LPS, mm."""
    return np.stack(
        [
            geometry.step,
            geometry.column_direction * geometry.pixel_spacing[0],
            geometry.row_direction * geometry.pixel_spacing[1],
        ],
        axis=1,
    )


def _centre(geometry: Geometry) -> Float64Array:
    middle = (np.array(geometry.shape) - 1) / 2
    return np.asarray(geometry.origins[0] + _axes(geometry) @ middle)


def _size(
    views: Sequence[View], axes: Float64Array, shape: tuple[int, int, int], pixel: float
) -> tuple[int, int]:
    """(rows, columns) that hold the volume in every view."""
    lengths = np.array(shape) + 2 * _MARGIN

    def pixels(directions: Sequence[Float64Array]) -> int:
        extents = [float(np.abs(direction @ axes) @ lengths) / pixel for direction in directions]
        needed = int(np.ceil(max(extents) - 1e-6))
        # The middle of the picture is that of the volume: of the same parity, pixels coincide.
        return needed + (needed - round(extents[0])) % 2

    return pixels([view.up for view in views]), pixels([view.right for view in views])


def _pair(vector: NDArray[np.float64]) -> tuple[float, float]:
    return float(vector[0]), float(vector[1])
