"""Speed, memory and error of projections, side by side with scipy.ndimage.rotate and a sum.

The phantom is a ball, a box and a rod that are described by formulas. Its voxels are means over the
voxel (formulas sampled at 5 x 5 x 5 points); its true projections are means over the pixel of the
exact line integrals (at 5 x 5 points). Errors are over all pixels of all views, in per cent of the
largest true value.

Run: python benchmarks/projection.py [--angles 36] [--size 512 512 500]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
from common import machine, peak_mb, publish, table
from numpy.typing import NDArray

from hrinet.geometry import Geometry
from hrinet.project.projector import project
from hrinet.project.views import View
from hrinet.synthesize.engine import default_threads
from hrinet.volume import Volume

PIXEL_MM = 0.8
AIR, TISSUE = -1000, 0
FINE = 5

Array = NDArray[np.float64]


class Shapes:
    """A ball, a box and a rod along z, in mm from the middle; they do not overlap."""

    def __init__(self, size: float, height: float) -> None:
        least = min(size, height)
        self.ball = (np.array([-0.2 * size, -0.1 * size, 0.1 * height]), 0.14 * least)
        self.box = (
            np.array([0.17 * size, 0.1 * size, -0.05 * height]),
            np.array([0.1 * size, 0.06 * size, 0.3 * height]),
        )
        self.rod = (np.array([-0.1 * size, 0.25 * size]), 0.06 * size, 0.4 * height)

    def integrals(self, view: View, u: Array, v: Array) -> Array:
        """Path inside of rays at u to the right and v upwards, views about z only, mm."""
        right, ray = view.right[:2], view.ray[:2]
        centre, radius = self.ball
        square = radius**2 - (u - right @ centre[:2]) ** 2 - (v - centre[2]) ** 2
        total = 2 * np.sqrt(np.maximum(square, 0))
        (cx, cy, cz), half = self.box
        near, far = np.full(np.broadcast(u, v).shape, -1e9), np.full(np.broadcast(u, v).shape, 1e9)
        for axis, middle in ((0, cx), (1, cy)):
            start = u * right[axis] - middle
            if abs(ray[axis]) < 1e-12:
                outside = np.abs(start) > half[axis]
                far = np.where(outside, near, far)
                continue
            one, two = (-half[axis] - start) / ray[axis], (half[axis] - start) / ray[axis]
            near, far = (
                np.maximum(near, np.minimum(one, two)),
                np.minimum(far, np.maximum(one, two)),
            )
        total = total + np.maximum(far - near, 0) * (np.abs(v - cz) <= half[2])
        (rx, ry), thick, reach = self.rod
        square = thick**2 - (u - right @ np.array([rx, ry])) ** 2
        return np.asarray(total + 2 * np.sqrt(np.maximum(square, 0)) * (np.abs(v) <= reach))


def phantom(shape: tuple[int, int, int]) -> tuple[NDArray[np.int16], Shapes]:
    """The voxels and the formulas of the three shapes, which do not touch."""
    slices, rows, columns = shape
    shapes = Shapes(min(rows, columns) * PIXEL_MM, slices * PIXEL_MM)
    z, y, x = (
        ((np.arange(n * FINE) + 0.5) / FINE - n / 2) * PIXEL_MM for n in (slices, rows, columns)
    )

    def share(inside: NDArray[np.bool_]) -> Array:
        """Means over voxels, of points in a line or in a plane."""
        if inside.ndim == 1:
            return np.asarray(inside.reshape(-1, FINE).mean(axis=1))
        return np.asarray(inside.reshape(rows, FINE, columns, FINE).mean(axis=(1, 3)))

    (cx, cy, cz), (hx, hy, hz) = shapes.box
    box = share((abs(x - cx) <= hx)[None] & (abs(y - cy) <= hy)[:, None])
    box_z = share(abs(z - cz) <= hz)
    (rx, ry), thick, half = shapes.rod
    rod = share((x - rx)[None] ** 2 + (y - ry)[:, None] ** 2 <= thick**2)
    rod_z = share(abs(z) <= half)
    (bx, by, bz), radius = shapes.ball
    in_plane = (x - bx)[None] ** 2 + (y - by)[:, None] ** 2
    array = np.empty(shape, np.int16)
    for index in range(slices):
        whole = box * box_z[index] + rod * rod_z[index]
        for height in z[index * FINE : (index + 1) * FINE]:
            if abs(height - bz) < radius:
                whole += share(in_plane <= radius**2 - (height - bz) ** 2) / FINE
        array[index] = np.rint(AIR + (TISSUE - AIR) * whole)
    return array, shapes


def truth(shapes: Shapes, view: View, rows: int, columns: int) -> Array:
    """Exact projections in (HU + 1000) mm, means over pixels of PIXEL_MM about the middle."""
    u, v = (((np.arange(n * FINE) + 0.5) / FINE - n / 2) * PIXEL_MM for n in (columns, rows))
    fine = shapes.integrals(view, u[None], -v[:, None]) * (TISSUE - AIR)
    return np.asarray(fine.reshape(rows, FINE, columns, FINE).mean(axis=(1, 3)))


def volume_of(array: NDArray[np.int16]) -> Volume:
    slices, rows, columns = array.shape
    corner = -(np.array([columns, rows, slices]) - 1) / 2 * PIXEL_MM
    geometry = Geometry(
        origins=corner + np.arange(slices)[:, None] * np.array([0, 0, PIXEL_MM]),
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        pixel_spacing=(PIXEL_MM, PIXEL_MM),
        rows=rows,
        columns=columns,
    )
    return Volume(array, geometry)


def ours(volume: Volume, view: View) -> Array:
    # Rows of the picture count from the head, slices from the feet.
    return project(volume, [view], mode="sum")[0].values.astype(np.float64)


def scipys(array: NDArray[np.int16], degrees: float) -> Array:
    from scipy import ndimage

    turned = ndimage.rotate(
        array, degrees, axes=(1, 2), reshape=True, order=1, mode="constant", cval=AIR
    )
    return np.asarray((turned.astype(np.int32) - AIR).sum(axis=1)[::-1] * PIXEL_MM)


def errors(
    picture: Array, shapes: Shapes, view: View, mass: float, volume: Volume
) -> tuple[float, float, float]:
    """(root mean square, largest, mass) against the truth, in per cent.

    Mass is the sum over the picture against the sum over the voxels.
    """
    true = truth(shapes, view, *picture.shape)
    difference = picture - true
    peak = true.max()
    # Frames differ by empty margins; both count as many pixels as the volume seen at 0 degrees.
    pixels = volume.shape[0] * volume.shape[2]
    return (
        100 * float(np.sqrt(np.sum(difference**2) / pixels)) / peak,
        100 * float(np.abs(difference).max()) / peak,
        100 * abs(float(picture.sum()) / mass - 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--angles", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 500), metavar="N")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    columns, rows, slices = arguments.size
    if arguments.memory:
        volume = volume_of(np.full((slices, rows, columns), AIR, np.int16))
        before = peak_mb()
        for view in (View.turned(30), View.turned(75), View.turned(20, 15, 5)):
            project(volume, [view], mode="sum")
        print(peak_mb() - before)
        return
    array, shapes = phantom((slices, rows, columns))
    volume = volume_of(array)
    mass = float(array.sum(dtype=np.int64) - AIR * array.size) * PIXEL_MM
    project(volume, [View.turned(0)])
    mine: list[tuple[float, float, float]] = []
    theirs: list[tuple[float, float, float]] = []
    seconds: list[float] = []
    scipy_seconds: list[float] = []
    for number in range(arguments.angles):
        degrees = 180 / arguments.angles * number
        view = View.turned(degrees)
        started = time.perf_counter()
        picture = ours(volume, view)
        seconds.append(time.perf_counter() - started)
        mine.append(errors(picture, shapes, view, mass, volume))
        started = time.perf_counter()
        # From +x towards +y, as rows count downwards: the picture turns the other way.
        other = scipys(array, degrees)
        scipy_seconds.append(time.perf_counter() - started)
        theirs.append(errors(other, shapes, view, mass, volume))
        print(
            f"{degrees:6.1f} deg  {seconds[-1]:.2f} s  {scipy_seconds[-1]:.2f} s  rms "
            f"{mine[-1][0]:.3f} % {theirs[-1][0]:.3f} %",
            flush=True,
        )
    memory = subprocess.run(
        [sys.executable, __file__, "--memory", "--size", *map(str, arguments.size)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    others = []
    for label, view, options in (
        ("three Euler angles (20, 15, 5)", View.turned(20, 15, 5), {}),
        ("maximum, 30 degrees", View.turned(30), {"mode": "maximum"}),
        ("attenuation, 30 degrees", View.turned(30), {"mode": "attenuation"}),
    ):
        started = time.perf_counter()
        project(volume, [view], **options)  # type: ignore[arg-type]
        others.append((label, f"{time.perf_counter() - started:.2f} s"))

    def row(name: str, times: list[float], found: list[tuple[float, float, float]]) -> list[str]:
        rms, largest, mass = np.mean([f[0] for f in found]), *np.max(found, axis=0)[1:]
        return [
            name,
            f"{np.median(times):.2f} s",
            f"{max(times):.2f} s",
            f"{sum(times):.1f} s",
            f"{rms:.3f} %",
            f"{largest:.1f} %",
            f"{mass:.5f} %",
        ]

    ratio = sum(scipy_seconds) / sum(seconds)
    text = "\n\n".join(
        [
            "# Projections",
            f"{machine()}",
            f"Volume {columns} x {rows} x {slices} int16, voxels of {PIXEL_MM} mm, "
            f"{arguments.angles} angles about the long axis over 180 degrees, sums, "
            f"{default_threads()} threads (scipy has one). scipy: ndimage.rotate(order=1, "
            "reshape=True) and a sum. Errors against the analytic phantom, per cent of its largest "
            "value: root mean square over pixels (mean over views), largest of all, and the mass.",
            table(
                ("", "a view", "slowest", "all", "rms", "largest", "mass"),
                [row("hrinet", seconds, mine), row("scipy", scipy_seconds, theirs)],
            ),
            f"Ratio of times, all views: {ratio:.1f}. Ratio of rms errors (scipy / hrinet): "
            f"{np.mean([f[0] for f in theirs]) / np.mean([f[0] for f in mine]):.2f}. Views "
            f"in which our rms error is not larger: "
            f"{sum(a[0] <= b[0] * 1.0001 for a, b in zip(mine, theirs, strict=True))} of "
            f"{len(mine)}. Memory beyond the volume at the peak: {float(memory):.0f} MB.",
            table(("other", "time"), others),
        ]
    )
    publish("projection", text)


if __name__ == "__main__":
    main()
