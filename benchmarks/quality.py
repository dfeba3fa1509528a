"""How near the synthetic slices are to hidden real ones, for every method.

Every r-th slice of a series is kept, the others are hidden and synthesized; only synthetic slices
are scored, at full size. Run: python benchmarks/quality.py
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from common import RESULTS, ct, machine, publish, table

import hrinet
from hrinet.geometry import Geometry
from hrinet.metrics.psnr import mean_squared_error
from hrinet.metrics.reformats import plane_ssim
from hrinet.metrics.ssim import ssim_map
from hrinet.pipeline import interpolate
from hrinet.synthesize.registry import ranked_methods

SERIES = ("validation/lidc_0002", "test/lidc_0001", "test/aapm_L291")
FACTORS = (2, 3, 4, 6)
WIDE = (-1000.0, 1000.0)
SOFT = (-160.0, 240.0)
PLANE_STEP = 8
"""Every 8th coronal and sagittal plane is scored."""


def thinned(volume: hrinet.Volume, factor: int) -> tuple[hrinet.Volume, int]:
    """Every factor-th slice, and how many slices of the original they span."""
    kept = list(range(0, len(volume), factor))
    geometry = volume.geometry
    thin = Geometry(
        origins=geometry.origins[kept],
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        pixel_spacing=geometry.pixel_spacing,
        rows=geometry.rows,
        columns=geometry.columns,
        slice_thickness=geometry.slice_thickness,
    )
    return hrinet.Volume(array=volume.array[kept], geometry=thin), kept[-1] + 1


def psnr_of(image: np.ndarray, truth: np.ndarray, window: tuple[float, float]) -> float:
    low, high = window
    error = mean_squared_error(np.clip(image, low, high), np.clip(truth, low, high))
    return float(10 * np.log10((high - low) ** 2 / error))


def axial_ssim(image: np.ndarray, truth: np.ndarray, synthetic: np.ndarray) -> float:
    def one(index: int) -> float:
        a, b = (np.clip(volume[index], *WIDE).astype(np.float64) for volume in (image, truth))
        return float(ssim_map(a, b, data_range=WIDE[1] - WIDE[0]).mean())

    with ThreadPoolExecutor() as pool:
        return float(np.mean(list(pool.map(one, np.flatnonzero(synthetic)))))


def score(volume: hrinet.Volume, factor: int, method: str) -> list[float]:
    """PSNR wide, PSNR soft, MAE, SSIM axial, coronal, sagittal."""
    thin, count = thinned(volume, factor)
    result = interpolate(thin, factor=factor, method=method, max_gap_mm=1000)
    truth = volume.array[:count]
    synthetic = np.array([entry.is_synthetic for entry in result.provenance])
    image_s, truth_s = result.array[synthetic], truth[synthetic]
    per_slice = [
        [
            psnr_of(a, b, WIDE),
            psnr_of(a, b, SOFT),
            float(np.abs(np.subtract(a, b, dtype=np.int32)).mean()),
        ]
        for a, b in zip(image_s, truth_s, strict=True)
    ]
    return [
        *np.mean(per_slice, axis=0).tolist(),
        axial_ssim(result.array, truth, synthetic),
        *(
            plane_ssim(result.array, truth, synthetic, axis=axis, value_range=WIDE, step=PLANE_STEP)
            for axis in (1, 2)
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=SERIES)
    parser.add_argument("--factors", nargs="*", type=int, default=FACTORS)
    parser.add_argument(
        "--methods", nargs="*", help="only these; the others' figures are kept from the last run"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    parts = [
        "# Quality of synthetic slices",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/quality.py`.",
        "",
        "Protocol: every r-th slice kept, the others hidden and synthesized; synthetic slices "
        "only; whole 512 x 512 slices; PSNR and MAE are means over slices; PSNR wide clips to "
        "[-1000, 1000] HU, soft to [-160, 240] HU; SSIM (Gaussian window) on [-1000, 1000] HU, in "
        "coronal and sagittal planes (every 8th) over the pixels that lie on synthetic slices. "
        "Methods were fitted on other patients; nothing was tuned on the test series. In brackets: "
        "difference from cubic.",
    ]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    kept = RESULTS / "quality.json"
    before = json.loads(kept.read_text("utf-8")) if arguments.methods is not None else {}
    for name in arguments.series:
        volume = hrinet.read(ct(name))
        spacing = volume.geometry.spacing_mm
        rows = []
        for factor in arguments.factors:
            case = f"x{factor} ({factor * spacing:g} mm)"
            scores = {
                m.name: (
                    score(volume, factor, m.name)
                    if arguments.methods is None or m.name in arguments.methods
                    else before[name][case][m.name]
                )
                for m in ranked_methods()
            }
            found.setdefault(name, {})[case] = scores
            for method, values in scores.items():
                cubic = scores["cubic"]
                wide, soft, mae, *similarity = values
                rows.append(
                    [
                        f"x{factor} ({factor * spacing:g} mm) {method}",
                        f"{wide:.2f} ({wide - cubic[0]:+.2f})",
                        f"{soft:.2f} ({soft - cubic[1]:+.2f})",
                        f"{mae:.2f} ({mae - cubic[2]:+.2f})",
                        *(f"{value:.4f}" for value in similarity),
                    ]
                )
        head = (
            "factor (gap), method",
            "PSNR wide, dB",
            "PSNR soft, dB",
            "MAE, HU",
            "SSIM axial",
            "SSIM coronal",
            "SSIM sagittal",
        )
        info = f"{len(volume)} slices every {spacing:g} mm, kernel {volume.info.kernel}"
        parts += ["", f"## {name} ({info})", "", table(head, rows)]
    publish("quality", "\n".join(parts))
    (RESULTS / "quality.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
