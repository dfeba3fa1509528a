"""Fit how errors grow with the gap, for the self-test: ``src/hrinet/selftest/growth.json``.

    python tools/fit_selftest.py measure [--series train/... ...]
    python tools/fit_selftest.py fit
    python benchmarks/selftest.py
    python tools/fit_selftest.py accuracy

``measure`` synthesizes the same slices of a scan in gaps of 2, 4, 8 ... slices with every method
and notes the mean absolute error. Thick and overlapping slices are simulated by averaging
neighbouring ones. ``fit`` finds the coefficients of :mod:`hrinet.selftest.growth` by least squares,
every patient with the same weight, and their spread by leaving one patient out at a time. Both are
deterministic. ``accuracy`` copies from ``benchmarks/results/selftest.json`` how far off the whole
self-test was on the test patients, so that it can state its own error.

Test patients take no part in the fit. hrinet-flow and the taps of flow were trained on patients of
``train/``, whose errors are a little too small; the fit uses only the ratio of errors at different
gaps of one scan.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.rounding import store
from hrinet.selftest.growth import COEFFICIENTS, OTHER, WIDEST_MM, saturated
from hrinet.synthesize.interpolator import Gap, Multithreaded
from hrinet.synthesize.padding import without_padding
from hrinet.synthesize.registry import ranked_methods

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))

MEASURED = ROOT / "benchmarks" / "results" / "selftest_growth.json"
"""What ``measure`` found; ``fit`` needs no scans."""

WIDTHS = (2, 4, 6, 8, 12, 16, 24)
"""Of the gaps, in slices; the hidden slice lies half-way."""

CENTRES = 8
"""Hidden slices of a scan, spread over it; the same ones for all widths that reach so far."""

SERIES = (
    ("validation/lidc_0002", (1, 2)),
    ("cases/totalseg_example20", (1,)),
    ("train/readii_R01-001", (1, 2, 4)),
    ("train/mirp_LIDC-0314", (1, 2, 4)),
    ("train/rider_0117", (1,)),
    ("train/ohif_NLST", (1, 2)),
    ("train/ohif_ACRIN-NSCLC-042", (1,)),
    ("train/cptac_C3N-00247", (1, 2)),
    ("train/readii_4DLung_P113", (1, 2)),
    ("train/cmb-crc_01068", (1,)),
    ("train/acrin_flt_001_b", (1,)),
    ("train/acrin_flt_013", (1,)),
    ("train/tcga_AY-4070", (1,)),
    ("train/mirp_CRLM-1006", (1,)),
)
"""And how many neighbouring slices are averaged."""

POOLED = ("linear", "cubic", "flow", "hrinet-flow")
"""What the coefficients for all other methods are fitted on."""


def measure(name: str, count: int) -> list[dict[str, Any]]:
    """Errors of every method at every width on one scan."""
    volume = hrinet.read(DATA / name)
    volume = thickened(
        replace(volume, array=without_padding(volume.array, volume.padding_hu)), count
    )
    geometry, array = volume.geometry, volume.array
    spacing = geometry.spacing_mm
    thickness = geometry.slice_thickness or spacing
    last = len(array) - 1
    centres = np.linspace(0, last, 2 * CENTRES + 1).round().astype(int)[1::2].tolist()
    found = []
    with ExitStack() as stack:
        ready = {}
        for method in ranked_methods():
            interpolator = method.make()
            if isinstance(interpolator, Multithreaded):
                interpolator = stack.enter_context(interpolator.using(gaps=1, threads=2))
            ready[method.name] = interpolator
        for width in WIDTHS:
            if width * spacing > WIDEST_MM:
                continue
            errors: dict[str, dict[str, float]] = {method: {} for method in ready}
            for centre in centres:
                start = centre - width // 2
                around = [start + step * width for step in (-1, 0, 1, 2)]
                there = [n for n in around if 0 <= n <= last]
                if start < 0 or start + width > last:
                    continue
                gap = Gap(
                    slices=tuple(array[n] for n in there),
                    positions_mm=tuple(n * spacing for n in there),
                    left=there.index(start),
                    pixel_spacing_mm=geometry.pixel_spacing,
                    slice_thickness_mm=thickness,
                )
                for method, interpolator in ready.items():
                    stored = np.empty(array.shape[1:], array.dtype)
                    store(next(iter(interpolator.synthesize(gap, (0.5,)))), stored)
                    off = np.abs(np.subtract(stored, array[centre], dtype=np.float32))
                    errors[method][str(centre)] = round(float(off.mean(dtype=np.float64)), 4)
            found.append(
                {
                    "series": name,
                    "averaged": count,
                    "spacing_mm": round(spacing, 6),
                    "thickness_mm": round(thickness, 6),
                    "width": width,
                    "errors": errors,
                }
            )
            means = {m: round(float(np.mean(list(e.values()))), 1) for m, e in errors.items() if e}
            print(f"{name} x{count}, {width * spacing:g} mm: {means}", flush=True)
    return found


def growth(narrow: dict[str, float], wide: dict[str, float]) -> float | None:
    """log2 of wide over narrow, on the slices that both have."""
    shared = sorted(narrow.keys() & wide.keys())
    if len(shared) < 3:
        return None
    return float(np.log2(sum(wide[n] for n in shared) / sum(narrow[n] for n in shared)))


def samples(measured: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """(patient, overlap, growth from w to 2w, growth from 2w to 4w) wherever they are known."""
    errors = {
        (entry["series"], entry["averaged"], entry["width"]): entry["errors"].get(method, {})
        for entry in measured
    }
    result = []
    for entry in measured:
        key, width = (entry["series"], entry["averaged"]), entry["width"]
        here, double, fourfold = (errors.get((*key, n * width), {}) for n in (1, 2, 4))
        p = growth(here, double)
        if p is not None:
            u = min(entry["thickness_mm"] / (width * entry["spacing_mm"]), 2.0)
            result.append(
                {"patient": entry["series"], "u": u, "p": p, "q": growth(double, fourfold)}
            )
    return result


def law(data: list[dict[str, Any]], *, with_own: bool) -> dict[str, float]:
    """Least squares, patients weighted alike, and the spread on patients left out."""
    data = [entry for entry in data if not with_own or entry["q"] is not None]
    patients = np.array([entry["patient"] for entry in data])
    weight = np.array([1 / np.sqrt((patients == patient).sum()) for patient in patients])
    u, p = (np.array([entry[name] for entry in data]) for name in ("u", "p"))
    f, half = (np.array([saturated(value) for value in values]) for values in (u, u / 2))
    columns = [np.ones(len(u)), f]
    if with_own:
        columns = [
            np.ones(len(u)),
            f - half,
            np.array([entry["q"] for entry in data]),
        ]
    design = np.stack(columns, axis=1)

    def solve(chosen: np.ndarray) -> np.ndarray:
        w = weight[chosen, None]
        return np.linalg.lstsq(design[chosen] * w, p[chosen] * w[:, 0], rcond=None)[0]

    off = np.empty(len(p))
    for patient in sorted(set(patients)):
        out = patients == patient
        off[out] = p[out] - design[out] @ solve(~out)
    solution = solve(np.ones(len(p), bool))
    spread = np.log(2) * np.sqrt(np.average(off**2, weights=weight**2))
    return {
        "constant": round(float(solution[0]), 4),
        "overlap": round(float(solution[1]), 4),
        "own": round(float(solution[2]), 4) if with_own else 0.0,
        "spread": round(float(spread), 4),
    }


def fit(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """All that goes into ``growth.json`` but the accuracy."""
    by_method = {method.name: samples(measured, method.name) for method in ranked_methods()}
    by_method[OTHER] = [entry for name in POOLED for entry in by_method[name]]
    return {
        "fitted_on": sorted({entry["series"] for entry in measured}),
        "samples": len(by_method[POOLED[0]]),
        "methods": {
            name: {
                "with_own": law(data, with_own=True),
                "without": law(data, with_own=False),
            }
            for name, data in by_method.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("measure", "fit", "accuracy"))
    parser.add_argument("--measured", type=Path, default=MEASURED, metavar="JSON")
    parser.add_argument("--series", nargs="*", help="measure only these again")
    arguments = parser.parse_args()
    if arguments.step == "accuracy":
        content = json.loads(COEFFICIENTS.read_text("utf-8"))
        results = json.loads((ROOT / "benchmarks/results/selftest.json").read_text("utf-8"))
        content["accuracy"] = results["accuracy"]
        COEFFICIENTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return
    if arguments.step == "measure":
        cv2.setNumThreads(1)
        known = []
        if arguments.measured.is_file():
            known = json.loads(arguments.measured.read_text("utf-8"))
        for name, counts in SERIES:
            if arguments.series and name not in arguments.series:
                continue
            known = [entry for entry in known if entry["series"] != name]
            known += [entry for count in counts for entry in measure(name, count)]
            lines = ",\n".join(json.dumps(entry) for entry in known)
            arguments.measured.write_text(f"[\n{lines}\n]\n", "utf-8")
        return
    content = fit(json.loads(arguments.measured.read_text("utf-8")))
    if COEFFICIENTS.is_file():
        before = json.loads(COEFFICIENTS.read_text("utf-8"))
        content["accuracy"] = before.get("accuracy", {})
    COEFFICIENTS.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    for name, laws in content["methods"].items():
        print(name, laws)


if __name__ == "__main__":
    main()
