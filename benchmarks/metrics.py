"""What every measure costs, and what the one without reference notices.

Run: python benchmarks/metrics.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from common import ct, machine, publish, table

import hrinet
from hrinet.metrics.absolute_error import l1, l2, mean_absolute_error
from hrinet.metrics.bone import bone_volume_error
from hrinet.metrics.edges import edge_displacement_mm
from hrinet.metrics.emphysema import laa950_bias, lung_mask, perc15_bias
from hrinet.metrics.histogram import histogram_intersection
from hrinet.metrics.ma_features import ma_features
from hrinet.metrics.ms_ssim import ms_ssim
from hrinet.metrics.niqe import niqe
from hrinet.metrics.noise import noise_ratio
from hrinet.metrics.psnr import psnr
from hrinet.metrics.reformats import plane_ssim, through_plane_gradient_ratio
from hrinet.metrics.rmse import rmse_255
from hrinet.metrics.sharpness import gradient_energy, spectral_sharpness
from hrinet.metrics.slabs import slab_consistency
from hrinet.metrics.ssim import ssim
from hrinet.metrics.tissues import hu_bias

SERIES = "validation/lidc_0002"
OTHERS = ("test/lidc_0001", "test/aapm_L291", "cases/cptac_C3L-00189", "cases/totalseg_example20")
WIDE = (-1000.0, 1000.0)


def milliseconds(work: Callable[[], object], *, slices: int = 1, runs: int = 5) -> float:
    """The fastest of several runs, for one slice."""
    work()
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return 1000 * best / slices


def blocked(image: np.ndarray, step: float) -> np.ndarray:
    """Coefficients of 8 x 8 blocks rounded to multiples of a step, as JPEG does."""
    result = np.empty_like(image)
    for row in range(0, image.shape[0], 8):
        for column in range(0, image.shape[1], 8):
            block = np.s_[row : row + 8, column : column + 8]
            coefficients = cv2.dct(np.ascontiguousarray(image[block]))
            result[block] = cv2.idct(np.round(coefficients / step) * step)
    return result


def noticed(volume: hrinet.Volume) -> list[list[str]]:
    """NIQE of measured slices and of what was done to them."""
    rng = np.random.default_rng(0)
    chosen = range(10, len(volume) - 4, 12)
    slices = [volume.array[i].astype(np.float32) for i in chosen]
    apart = [(volume.array[i - 2].astype(np.float32) + volume.array[i + 2]) / 2 for i in chosen]
    images = {
        "measured": slices,
        f"mean of slices {4 * volume.geometry.spacing_mm:g} mm apart": apart,
    }
    for sigma in (0.5, 0.8, 1.2, 2.0):
        images[f"blurred, sigma {sigma:g} pixels"] = [
            cv2.GaussianBlur(image, (0, 0), sigma) for image in slices
        ]
    for sd in (10, 20, 40, 80):
        images[f"white noise of {sd} HU added"] = [
            image + rng.normal(0, sd, image.shape).astype(np.float32) for image in slices
        ]
    for step in (50, 100, 200, 400):
        images[f"8 x 8 blocks, steps of {step} HU"] = [blocked(image, step) for image in slices]
    return [[name, mean_niqe(each)] for name, each in images.items()]


def mean_niqe(slices: list[np.ndarray]) -> str:
    return f"{np.nanmean([niqe(image, value_range=WIDE) for image in slices]):.2f}"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    volume = hrinet.read(ct(SERIES))
    truth = volume.array[50:66]
    # What an interpolation would give: the mean of the neighbours.
    image = np.rint((volume.array[49:65].astype(np.float32) + volume.array[51:67]) / 2)
    image = image.astype(np.int16)
    a, b = image[8], truth[8]
    clipped_a, clipped_b = np.clip(a, *WIDE), np.clip(b, *WIDE)
    span = WIDE[1] - WIDE[0]
    spacing = volume.geometry.pixel_spacing
    positions = volume.geometry.spacing_mm * np.arange(len(truth))
    synthetic = np.arange(len(truth)) % 2 == 1
    mask = lung_mask(truth)
    grey = np.rint((clipped_b.astype(np.float64) - WIDE[0]) * (255 / span))
    one: dict[str, Callable[[], object]] = {
        "psnr": lambda: psnr(clipped_a, clipped_b, data_range=span),
        "ssim": lambda: ssim(clipped_a, clipped_b, data_range=span),
        "ms_ssim": lambda: ms_ssim(clipped_a, clipped_b, data_range=span),
        "rmse_255": lambda: rmse_255(a, b, value_range=WIDE),
        "mean_absolute_error": lambda: mean_absolute_error(a, b),
        "l1": lambda: l1(a, b),
        "l2": lambda: l2(a, b),
        "histogram_intersection": lambda: histogram_intersection(a, b, bins=200, value_range=WIDE),
        "gradient_energy": lambda: gradient_energy(a, pixel_spacing=spacing),
        "spectral_sharpness": lambda: spectral_sharpness(a),
        "niqe": lambda: niqe(a, value_range=WIDE),
        "ma, features alone": lambda: ma_features(grey),
        "edge_displacement_mm": lambda: edge_displacement_mm(a, b, pixel_spacing=spacing),
    }
    stack: dict[str, Callable[[], object]] = {
        "hu_bias": lambda: hu_bias(image, truth),
        "noise_ratio": lambda: noise_ratio(image, truth),
        "lung_mask": lambda: lung_mask(truth),
        "laa950_bias, mask given": lambda: laa950_bias(image, truth, mask=mask),
        "perc15_bias, mask given": lambda: perc15_bias(image, truth, mask=mask),
        "bone_volume_error": lambda: bone_volume_error(image, truth, spacing=(1, *spacing)),
        "plane_ssim, every 8th, one axis": lambda: plane_ssim(
            image, truth, synthetic, axis=1, value_range=WIDE
        ),
        "through_plane_gradient_ratio": lambda: through_plane_gradient_ratio(
            image, truth, synthetic, positions_mm=positions
        ),
        "slab_consistency, 2 slices a slab": lambda: slab_consistency(
            image,
            truth[::2],
            positions_mm=positions,
            original_positions_mm=positions[::2],
            thickness_mm=2 * volume.geometry.spacing_mm,
        ),
    }
    rows = [[name, f"{milliseconds(work):.1f}"] for name, work in one.items()]
    rows += [
        [f"{name} (stack)", f"{milliseconds(work, slices=len(truth), runs=3):.1f}"]
        for name, work in stack.items()
    ]
    measured = []
    for name in (SERIES, *OTHERS):
        other = hrinet.read(ct(name))
        step = max(1, len(other) // 12)
        measured.append(
            [
                name,
                f"{other.info.kernel}, {other.geometry.spacing_mm:g} mm",
                mean_niqe(list(other.array[::step])),
            ]
        )
    publish(
        "metrics",
        "\n".join(
            [
                "# Measures",
                "",
                f"Machine: {machine()}. Command: `python benchmarks/metrics.py`.",
                "",
                "## Cost",
                "",
                f"{SERIES}, {b.shape[0]} x {b.shape[1]} pixels, int16; the image is the mean of "
                "the slices before and after. Fastest of five runs; of three, over "
                f"{len(truth)} slices, where the measure is for stacks.",
                "",
                table(("measure", "ms a slice"), rows),
                "",
                "## What NIQE notices",
                "",
                f"Mean over every 12th slice of {SERIES}; HU from -1000 to 1000. The model was "
                "fitted on the training patients.",
                "",
                table(("slices", "NIQE"), noticed(volume)),
                "",
                "Measured slices of other scans, twelve of each:",
                "",
                table(("scan", "kernel, spacing", "NIQE"), measured),
            ]
        ),
    )


if __name__ == "__main__":
    main()
