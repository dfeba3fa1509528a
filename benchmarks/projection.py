"""Speed, memory and error of projections, side by side with scipy.ndimage.rotate and a sum.

The first phantom is a ball, a box and a rod in a large volume; the second has six discs and turned
boxes of several densities at random in each of a few slices.

Seconds are those of the clock; processor seconds, of all threads together, beside them tell how
busy the machine was with other things.

Run: python benchmarks/projection.py [--angles 36] [--size 512 512 500] [--every 10] [--timed 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
from common import machine, peak_mb, publish, table
from numpy.typing import NDArray
from projection_phantoms import AIR, PIXEL_MM, Array, Slice, at_random, solid, truth, voxels

from hrinet.geometry import Geometry
from hrinet.project.projector import project
from hrinet.project.views import View
from hrinet.synthesize.engine import default_threads
from hrinet.volume import Volume

RANDOM_SLICES = 24
ROUNDING = 1e-5  # Per cent; float32 has no more digits.


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


def ours(volume: Volume, degrees: float) -> Array:
    """Rows from the feet, as slices count; those beside the volume are left out."""
    values = project(volume, [View.turned(degrees)], mode="sum")[0].values[::-1]
    margin = (len(values) - volume.shape[0]) // 2
    assert not values[:margin].any()
    assert not values[margin + volume.shape[0] :].any()
    return values[margin : margin + volume.shape[0]].astype(np.float64)


def scipys(array: NDArray[np.int16], degrees: float) -> Array:
    from scipy import ndimage

    turned = ndimage.rotate(
        array, degrees, axes=(1, 2), reshape=True, order=1, mode="constant", cval=AIR
    )
    return np.asarray((turned.astype(np.int32) - AIR).sum(axis=1) * PIXEL_MM)


@dataclass(frozen=True)
class Errors:
    """Against the truth, in per cent: of its largest value, and of the sum over voxels."""

    rms: float
    largest: float
    above: float
    below: float
    mass: float


def errors(
    picture: Array, phantom: list[Slice], degrees: float, array: NDArray[np.int16]
) -> Errors:
    true = truth(phantom, degrees, picture.shape[1])
    difference, peak = picture - true, true.max()
    # Frames differ by empty margins; both count as many pixels as the volume seen at 0 degrees.
    pixels = array.shape[0] * array.shape[2]
    mass = float(array.sum(dtype=np.int64) - AIR * array.size) * PIXEL_MM
    return Errors(
        rms=100 * float(np.sqrt(np.sum(difference**2) / pixels)) / peak,
        largest=100 * float(np.abs(difference).max()) / peak,
        above=100 * float(np.maximum(picture.max(axis=1) - true.max(axis=1), 0).max()) / peak,
        below=100 * float(np.maximum(-picture, 0).max()) / peak,
        mass=100 * abs(float(picture.sum()) / mass - 1),
    )


def compared(mine: list[Errors], theirs: list[Errors], angles: list[float]) -> str:
    """Both in a table, and how they compare view by view."""

    def row(name: str, found: list[Errors]) -> list[str]:
        return [
            name,
            f"{np.mean([f.rms for f in found]):.4f} %",
            f"{max(f.rms for f in found):.4f} %",
            f"{max(f.largest for f in found):.2f} %",
            f"{max(f.above for f in found):.2f} %",
            f"{max(f.below for f in found):.2f} %",
            f"{max(f.mass for f in found):.5f} %",
        ]

    good = sum(a.rms <= b.rms + ROUNDING for a, b in zip(mine, theirs, strict=True))
    # Straight ahead, both give back sums of voxels; the ratio of what is left says nothing.
    ratios = [
        (a.rms / b.rms, angle)
        for a, b, angle in zip(mine, theirs, angles, strict=True)
        if angle % 90
    ]
    return "\n\n".join(
        [
            table(
                ("", "rms", "worst view", "largest", "above", "below", "mass"),
                [row("hrinet", mine), row("scipy", theirs)],
            ),
            f"Views in which our rms error is not larger: {good} of {len(mine)}. Ratio of rms "
            f"errors (hrinet / scipy) beside 0 and 90 degrees: mean "
            f"{np.mean([r[0] for r in ratios]):.2f}, best {min(ratios)[0]:.2f} at "
            f"{min(ratios)[1]:g} degrees, worst {max(ratios)[0]:.2f} at "
            f"{max(ratios)[1]:g} degrees.",
        ]
    )


class Watch:
    """Seconds that went by, and those that processors worked for us."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Since it was made: (clock, processors)."""
        return time.perf_counter() - self._clock, time.process_time() - self._processor


def seconds_of(taken: list[tuple[float, float]]) -> list[str]:
    clock, processor = zip(*taken, strict=True)
    return [f"{np.median(clock):.2f} s", f"{max(clock):.2f} s", f"{np.median(processor):.2f} s"]


def views(
    phantom: list[Slice], array: NDArray[np.int16], angles: list[float], every: int
) -> tuple[list[Errors], list[Errors], list[tuple[float, float]]]:
    """Errors of both in every n-th slice, and how long ours takes for all slices."""
    volume, some, thin = volume_of(array), phantom[every // 2 :: every], array[every // 2 :: every]
    mine, theirs, seconds = [], [], []
    project(volume, [View.turned(1)])
    for degrees in angles:
        watch = Watch()
        picture = ours(volume, degrees)
        seconds.append(watch.read())
        mine.append(errors(picture[every // 2 :: every], some, degrees, thin))
        theirs.append(errors(scipys(thin, degrees), some, degrees, thin))
        print(
            f"{degrees:6.1f} deg  {seconds[-1][0]:.2f} s  rms {mine[-1].rms:.4f} % "
            f"{theirs[-1].rms:.4f} %",
            flush=True,
        )
    return mine, theirs, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--angles", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 500), metavar="N")
    parser.add_argument("--every", type=int, default=10, help="slices for errors; 1: all of them")
    parser.add_argument("--timed", type=int, default=3, help="views in which scipy is timed")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, rows, slices = arguments.size
    if rows != size:
        parser.error("slices must be square")
    if arguments.memory:
        volume = volume_of(np.full((slices, rows, size), AIR, np.int16))
        before = peak_mb()
        for view in (View.turned(30), View.turned(75), View.turned(45, 40, 5)):
            project(volume, [view], mode="sum")
        print(peak_mb() - before)
        return
    busy = os.getloadavg()[0]
    angles = [180 / arguments.angles * number for number in range(arguments.angles)]
    phantom = solid(size, slices)
    array = voxels(phantom, size)
    mine, theirs, seconds = views(phantom, array, angles, arguments.every)
    memory = subprocess.run(
        [sys.executable, __file__, "--memory", "--size", *map(str, arguments.size)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    volume = volume_of(array)
    others = []
    for label, view, options in (
        ("three Euler angles (20, 15, 5)", View.turned(20, 15, 5), {}),
        ("three Euler angles (45, 40, 5)", View.turned(45, 40, 5), {}),
        ("maximum, 30 degrees", View.turned(30), {"mode": "maximum"}),
        ("attenuation, 30 degrees", View.turned(30), {"mode": "attenuation"}),
    ):
        times = []
        for _ in range(3):
            watch = Watch()
            project(volume, [view], **options)  # type: ignore[arg-type]
            times.append(watch.read())
        others.append((label, *seconds_of(times)))
    timed = [
        angles[round((k + 1 / 3) * len(angles) / arguments.timed)] for k in range(arguments.timed)
    ]
    scipy_seconds = []
    for degrees in timed:
        watch = Watch()
        scipys(array, degrees)
        scipy_seconds.append(watch.read())
        print(f"{degrees:6.1f} deg  scipy, all slices {scipy_seconds[-1][0]:.2f} s", flush=True)
    other = at_random(size, RANDOM_SLICES)
    second = views(other, voxels(other, size), angles, 1)
    ratios = np.median(scipy_seconds, axis=0) / np.median(seconds, axis=0)
    text = "\n\n".join(
        [
            "# Projections",
            f"{machine()}",
            f"Volume {size} x {rows} x {slices} int16, voxels of {PIXEL_MM} mm, "
            f"{arguments.angles} angles about the long axis over 180 degrees, sums, "
            f"{default_threads()} threads (scipy has one). scipy: ndimage.rotate(order=1, "
            f"reshape=True) and a sum. Ours is timed on all slices in all views, scipy on all "
            f"slices at {', '.join(f'{a:g}' for a in timed)} degrees. Processes that were running "
            f"before (load average): {busy:.1f}.",
            table(
                ("", "a view, median", "slowest", "processor, median", "views timed"),
                [
                    (name, *seconds_of(times), f"{len(times)}")
                    for name, times in (("hrinet", seconds), ("scipy", scipy_seconds))
                ],
            ),
            f"Ratio of times, median: {ratios[0]:.1f} by the clock, {ratios[1]:.1f} by the "
            f"processors. "
            f"Memory beyond the volume at the peak: {float(memory):.0f} MB.",
            table(("other, median of 3", "a view", "slowest", "processor"), others),
            "## Error",
            "Errors against the analytic phantom, per cent of its largest value in the view: root "
            "mean square over pixels (mean over views, and the worst view), the largest of all "
            "pixels, how far a row exceeds its true largest value or falls below zero, and the "
            "mass against that of the voxels. Views about the long axis project every slice onto "
            f"its own row; errors of both are taken in every {arguments.every}th slice, which "
            "scipy alone gets, and which ours are the rows of. Views count as not larger up to "
            f"{ROUNDING:g} %, the rounding of float32.",
            "A ball, a box and a rod:",
            compared(mine, theirs, angles),
            f"Six discs and turned boxes at random in each of {RANDOM_SLICES} slices:",
            compared(second[0], second[1], angles),
            "Root mean square error view by view:",
            table(
                ("degrees", "hrinet", "scipy", "hrinet, random", "scipy, random"),
                [
                    (f"{angle:g}", *(f"{found.rms:.4f} %" for found in line))
                    for angle, *line in zip(angles, mine, theirs, *second[:2], strict=True)
                ],
            ),
        ]
    )
    publish("projection", text)


if __name__ == "__main__":
    main()
