"""Accuracy, time and memory of label interpolation on an analytic phantom.

Usage: ``python benchmarks/labels.py``. Slices of a phantom with 20 labels (512 x 512 pixels of
0.7 mm) are kept every 5 mm; the 1 mm slices in between are synthesized and compared with the
analytic ones. Dice is taken per label over all synthetic slices. SimpleITK, if installed, stands
beside it: plain shape-based interpolation, that is the largest blend of its signed Maurer distance
maps of every label (background included), and its resampling with the LabelLinear interpolator.
"""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from common import machine, publish, table
from numpy.typing import NDArray

from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.labels import Labels

SIZE, PIXEL_MM, STEP_MM, DEPTH = 512, 0.7, 5, 61
Stack = NDArray[np.int16]


def phantom() -> Stack:
    """Ellipsoids, nested or touching, cones and oblique vessels, (slice, row, column)."""
    rng = np.random.default_rng(3)
    y, x = (np.mgrid[:SIZE, :SIZE] - SIZE / 2).astype(np.float32) * PIXEL_MM
    stack = np.zeros((DEPTH, SIZE, SIZE), dtype=np.int16)
    shapes = [
        (rng.uniform(-110, 110, 2), rng.uniform(15, 45), rng.uniform(8, 50), rng.uniform(-0.5, 0.5))
        for _ in range(12)
    ]
    vessels = [
        (rng.uniform(-120, 120, 2), rng.uniform(2, 5), rng.uniform(-1.2, 1.2, 2)) for _ in range(5)
    ]
    for k in range(DEPTH):
        z, plane = k - DEPTH / 2, stack[k]
        plane[(x / 160) ** 2 + (y / 150) ** 2 + (z / 90) ** 2 < 1] = 20
        for label, (centre, wide, high, slope) in enumerate(shapes, start=1):
            u, v, w = x - centre[0] - slope * z, y - centre[1], z - 30 * slope
            plane[(u / wide) ** 2 + (v / wide * 1.4) ** 2 + (w / high) ** 2 < 1] = label
        for label, (centre, radius, slope) in enumerate(vessels, start=13):
            u, v = x - centre[0] - slope[0] * z, y - centre[1] - slope[1] * z
            plane[u * u + v * v < radius * radius] = label
        for label, sign in ((18, -1), (19, 1)):
            radius = 0.5 * (25 - sign * z)
            if radius > 0:
                plane[(x - 60 * sign) ** 2 + (y + 60) ** 2 < radius * radius] = label
    return stack


def nearest(gap: Gap, t: Sequence[float]) -> Iterator[Any]:
    for position in t:
        yield gap.slices[gap.left + (position > 0.5)]


def linear_probability(gap: Gap, t: Sequence[float]) -> Iterator[Any]:
    """Blend one-hot maps linearly and take the largest: the nearest slice but for ties."""
    first, second = gap.slices[gap.left], gap.slices[gap.left + 1]
    ids = np.union1d(first, second)
    for position in t:
        best = np.full(first.shape, -1, np.float32)
        result = np.zeros_like(first)
        for label in ids:
            value = (first == label) * np.float32(1 - position)
            value += (second == label) * np.float32(position)
            wins = value > best
            best[wins], result[wins] = value[wins], label
        yield result


def run(method: Callable[[Gap, Sequence[float]], Iterator[Any]], stack: Stack) -> Stack:
    kept = list(range(0, DEPTH, STEP_MM))
    out = stack.copy()
    for number in range(len(kept) - 1):
        chosen = kept[max(number - 1, 0) : number + 3]
        gap = Gap(
            slices=tuple(stack[k] for k in chosen),
            positions_mm=tuple(float(k) for k in chosen),
            left=chosen.index(kept[number]),
            pixel_spacing_mm=(PIXEL_MM, PIXEL_MM),
        )
        for j, plane in enumerate(method(gap, [j / STEP_MM for j in range(1, STEP_MM)]), start=1):
            out[kept[number] + j] = plane
    return out


def itk_distances(gap: Gap, t: Sequence[float]) -> Iterator[Any]:
    """Plain shape-based interpolation with SimpleITK's distance maps."""
    import SimpleITK as sitk

    first, second = gap.slices[gap.left], gap.slices[gap.left + 1]
    ids = np.union1d(first, second)
    maps = []
    for label in ids:
        pair = []
        for plane in (first, second):
            image = sitk.GetImageFromArray((plane == label).astype(np.uint8))
            image.SetSpacing(gap.pixel_spacing_mm[::-1])
            distance = sitk.SignedMaurerDistanceMap(
                image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
            )
            pair.append(sitk.GetArrayFromImage(distance))
        maps.append(pair)
    for position in t:
        blends = [a * (1 - position) + b * position for a, b in maps]
        yield ids[np.argmax(blends, axis=0)]


def itk_resampled(stack: Stack) -> Stack:
    """Resampling of the whole stack with SimpleITK's LabelLinear interpolator."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(stack[::STEP_MM]))
    image.SetSpacing((PIXEL_MM, PIXEL_MM, STEP_MM))
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLabelLinear)
    resample.SetSize((SIZE, SIZE, DEPTH))
    resample.SetOutputSpacing((PIXEL_MM, PIXEL_MM, 1.0))
    result: Stack = sitk.GetArrayFromImage(resample.Execute(image))
    return result


def scores(result: Stack, truth: Stack) -> tuple[float, float]:
    """Mean and smallest Dice over labels, on synthetic slices only."""
    synthetic = np.arange(DEPTH) % STEP_MM != 0
    result, truth = result[synthetic], truth[synthetic]
    size = 21
    hit = np.bincount(truth[truth == result], minlength=size)
    total = np.bincount(truth.ravel(), minlength=size) + np.bincount(result.ravel(), minlength=size)
    dice = (2 * hit / np.maximum(total, 1))[1:][total[1:] > 0]
    return float(dice.mean()), float(dice.min())


def main() -> None:
    cv2.setNumThreads(1)
    truth = phantom()
    synthetic = (DEPTH - 1) // STEP_MM * (STEP_MM - 1)
    middle = np.asarray(truth[20:36:5])
    gap = Gap(tuple(middle), (0.0, 5.0, 10.0, 15.0), 1, (PIXEL_MM, PIXEL_MM))
    rows: list[list[str]] = []
    methods = {
        "nearest": nearest,
        "linear probability": linear_probability,
        "labels": Labels().synthesize,
    }
    with contextlib.suppress(ImportError):
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        methods["SimpleITK distance maps"] = itk_distances
    for name, method in methods.items():
        start = time.perf_counter()
        result = run(method, truth)
        seconds = (time.perf_counter() - start) / synthetic
        tracemalloc.start()
        for _ in method(gap, [0.2, 0.4, 0.6, 0.8]):
            pass
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        mean, worst = scores(result, truth)
        rows.append([name, f"{mean:.4f}", f"{worst:.4f}", f"{seconds:.4f}", f"{peak:.1f}"])
    if "SimpleITK distance maps" in methods:
        start = time.perf_counter()
        result = itk_resampled(truth)
        seconds = (time.perf_counter() - start) / synthetic
        mean, worst = scores(result, truth)
        name = "SimpleITK LabelLinear"
        rows.append([name, f"{mean:.4f}", f"{worst:.4f}", f"{seconds:.4f}", ""])
    text = [
        "# Label maps",
        "",
        f"Machine: {machine()}, one thread. Command: `python benchmarks/labels.py`.",
        "",
        "An analytic phantom of 20 labels (ellipsoids, cones, oblique vessels) at 512 x 512, every "
        "fifth slice kept, four synthesized. `labels` sees four slices, the others two. MiB is "
        "what Python allocates; SimpleITK's own memory is not in it. The constants of "
        "`labels` were chosen on shapes of this kind: read it as a check of the mechanism, not as "
        "accuracy on patients.",
        "",
        table(("method", "Dice, mean", "Dice, worst label", "s a slice", "peak MiB"), rows),
    ]
    publish("labels", "\n".join(text))


if __name__ == "__main__":
    main()
