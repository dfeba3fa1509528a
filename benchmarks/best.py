"""What ``--quality best`` gains over the standard, and what it costs."""

from __future__ import annotations

import time

import cv2
import numpy as np
from common import ct, machine, publish, table

import hrinet
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.pipeline import interpolate
from hrinet.volume import Volume

SERIES = ("validation/lidc_0002", "test/lidc_0001", "test/aapm_L291")
FACTORS = (2, 3, 4, 6)
SLICES = 25
"""Of each scan, from its middle: the work of "best" is long."""

_WINDOW = (-1000.0, 1000.0)


def middle(volume: Volume) -> Volume:
    start = (len(volume) - SLICES) // 2
    return volume.subset(range(start, start + SLICES))


def scores(volume: Volume, factor: int, quality: str) -> list[float]:
    """PSNR, SSIM and seconds a synthetic slice."""
    kept = volume.subset(range(0, len(volume), factor))
    started = time.perf_counter()
    made = interpolate(kept, factor=factor, method="hrinet-flow", quality=quality)
    seconds = time.perf_counter() - started
    hidden = [k for k in range(len(made)) if k % factor]
    pairs = [(np.clip(made.array[k], *_WINDOW), np.clip(volume.array[k], *_WINDOW)) for k in hidden]
    return [
        float(np.mean([psnr(a, b, data_range=2000) for a, b in pairs])),
        float(np.mean([ssim(a, b, data_range=2000) for a, b in pairs])),
        seconds / len(hidden),
    ]


def main() -> None:
    cv2.setNumThreads(1)
    rows = []
    for name in SERIES:
        volume = middle(hrinet.read(ct(name)))
        for factor in FACTORS:
            standard, best = (scores(volume, factor, quality) for quality in ("standard", "best"))
            gap = factor * volume.geometry.spacing_mm
            rows.append(
                [
                    f"{name} x{factor} ({gap:g} mm)",
                    f"{standard[0]:.2f}",
                    f"{best[0]:.2f} ({best[0] - standard[0]:+.2f})",
                    f"{standard[1]:.4f}",
                    f"{best[1]:.4f}",
                    f"{standard[2]:.2f}",
                    f"{best[2]:.2f} ({best[2] / standard[2]:.1f}x)",
                ]
            )
    head = (
        "series, factor (gap)",
        "PSNR standard, dB",
        "PSNR best, dB",
        "SSIM standard",
        "SSIM best",
        "s a slice, standard",
        "s a slice, best",
    )
    parts = [
        "# What --quality best gains",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/best.py`.",
        "",
        f"Method hrinet-flow on the {SLICES} slices in the middle of each scan; every r-th kept, "
        "the others hidden and synthesized; synthetic slices only, whole slices, [-1000, 1000] HU. "
        "Seconds include compiling the graphs and the self-check.",
        "",
        table(head, rows),
    ]
    publish("best", "\n".join(parts))


if __name__ == "__main__":
    main()
