"""How far off the self-test's extrapolation is: to the error in gaps that nobody hid a slice in.

Every d-th slice of a scan is kept: the scan of a user whose gaps are d slices wide. The self-test
hides every second of those and says what error to expect half-way across the gaps. There real
slices are at hand, so that what it says is compared with what is found. Slices as thick as they are
apart, and overlapping ones, are simulated by averaging two neighbours first.
Run: python benchmarks/selftest.py
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from common import RESULTS, ct, machine, publish, table

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.pipeline import interpolate
from hrinet.selftest.run import selftest
from hrinet.synthesize.registry import ranked_methods

CASES = (
    ("validation/lidc_0002", 1, (2, 4, 6)),
    ("validation/lidc_0002", 2, (2, 4)),
    ("test/lidc_0001", 1, (2, 4, 6)),
    ("test/lidc_0001", 2, (2, 4)),
    ("test/aapm_L291", 1, (2, 4, 6)),
    ("test/aapm_L291", 2, (2, 4)),
)
"""Series, how many neighbouring slices are averaged, every how many are kept."""

COUNTED = ("linear", "cubic", "flow", "hrinet-flow")
"""Methods whose extrapolations make the accuracy that the command states."""


def kept(volume: hrinet.Volume, every: int) -> hrinet.Volume:
    geometry = volume.geometry
    return hrinet.Volume(
        array=volume.array[::every],
        geometry=replace(geometry, origins=geometry.origins[::every]),
        info=volume.info,
    )


def found(volume: hrinet.Volume, thin: hrinet.Volume, every: int, method: str) -> float:
    """Mean absolute error half-way across the gaps of the thinned scan, HU."""
    made = interpolate(thin, factor=2, method=method, max_gap_mm=1000)
    truth = volume.array[every // 2 :: every]
    new = made.array[1::2]
    count = min(len(new), len(truth))
    return float(np.abs(np.subtract(new[:count], truth[:count], dtype=np.int32)).mean())


def measure(name: str, count: int, every: int) -> list[dict[str, Any]]:
    """One scan: what the self-test says and what is found, a row for every method."""
    volume = thickened(hrinet.read(ct(name)), count)
    thin = kept(volume, every)
    started = time.perf_counter()
    report = selftest(thin)
    seconds = time.perf_counter() - started
    gap = report["protocol"]["own_gap_mm"]
    rows = []
    for row in report["methods"]:
        truth = found(volume, thin, every, row["name"])
        rows.append(
            {
                "series": name,
                "averaged": count,
                "every": every,
                "slices": len(thin),
                "own_gap_mm": gap,
                "thickness_mm": thin.geometry.slice_thickness or gap,
                "seconds": round(seconds, 1),
                "method": row["name"],
                "own_growth": row["own_growth"],
                "tested_hu": row["mae_hu"],
                "expected_hu": row["expected_mae_hu"],
                "found_hu": round(truth, 3),
                "off_percent": round(100 * (row["expected_mae_hu"] / truth - 1), 2),
                "within": row["expected_low_hu"] <= truth <= row["expected_high_hu"],
            }
        )
    return rows


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """How far off the predictions were."""
    if not cases:
        return {}
    offs = np.abs([case["off_percent"] for case in cases])
    return {
        "patients": len({case["series"] for case in cases}),
        "series": sorted({case["series"] for case in cases}),
        "predictions": len(cases),
        "median_percent": round(float(np.median(offs)), 1),
        "largest_percent": round(float(offs.max()), 1),
        "within_interval_percent": round(100 * float(np.mean([c["within"] for c in cases])), 1),
    }


def text_of(cases: list[dict[str, Any]], accuracy: dict[str, Any]) -> str:
    methods = [method.name for method in ranked_methods()]
    scans: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = {}
    for case in cases:
        key = (case["series"], case["averaged"], case["every"])
        scans.setdefault(key, {})[case["method"]] = case
    rows = []
    for by_method in scans.values():
        first = next(iter(by_method.values()))
        head = (
            f"{first['series']}, {first['own_gap_mm']:g} mm gaps, {first['thickness_mm']:g} mm "
            f"thick ({first['slices']} slices)"
        )
        cells = [
            f"{case['tested_hu']:.1f}; {case['expected_hu']:.1f} / {case['found_hu']:.1f} "
            f"({case['off_percent']:+.0f} %)"
            for case in (by_method[method] for method in methods)
        ]
        rows.append([head, *cells, f"{first['seconds']:.0f}"])
    return "\n".join(
        [
            "# Self-test: error to expect against error found",
            "",
            f"Machine: {machine()}. Command: `python benchmarks/selftest.py`.",
            "",
            "Protocol: every d-th slice of a scan is kept; the self-test hides every second of "
            "those and extrapolates to the gaps between them; slices half-way across these gaps "
            "are then synthesized and compared with the real ones. Mean absolute error of whole "
            "512 x 512 slices, HU. A cell holds the error in gaps of twice the width; the error "
            "expected / the error found in the gaps themselves (how far off). Thicker slices are "
            "means of two neighbours. The coefficients were fitted on train/, validation/lidc_0002 "
            "and cases/totalseg_example20; the test patients took no part. Seconds are those of "
            "the self-test.",
            "",
            table(("scan", *methods, "s"), rows),
            "",
            ""
            if not accuracy
            else f"Test patients ({', '.join(accuracy['series'])}), {', '.join(COUNTED)}: "
            f"{accuracy['predictions']} predictions, off by {accuracy['median_percent']} % in the "
            f"median and {accuracy['largest_percent']} % at most; "
            f"{accuracy['within_interval_percent']} % of the errors found lie within the interval "
            "that was given.",
        ]
    )


def keep(known: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is known so far, in order, and return the accuracy."""
    order = [(series, count, every) for series, count, factors in CASES for every in factors]
    known.sort(key=lambda c: order.index((c["series"], c["averaged"], c["every"])))
    counted = [
        case for case in known if case["series"].startswith("test/") and case["method"] in COUNTED
    ]
    accuracy = summary(counted)
    lines = ",\n".join(json.dumps(case) for case in known)
    (RESULTS / "selftest.json").write_text(
        f'{{"accuracy": {json.dumps(accuracy)},\n"cases": [\n{lines}\n]}}\n', "utf-8"
    )
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--series", nargs="*", help="only these; the others' figures are kept from the last run"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    results = RESULTS / "selftest.json"
    known = json.loads(results.read_text("utf-8"))["cases"] if results.is_file() else []
    for name, count, factors in CASES:
        if arguments.series is not None and name not in arguments.series:
            continue
        for every in factors:
            key = (name, count, every)
            known = [
                case for case in known if (case["series"], case["averaged"], case["every"]) != key
            ]
            rows = measure(*key)
            known += rows
            print(key, [case["off_percent"] for case in rows], flush=True)
            keep(known)
    publish("selftest", text_of(known, keep(known)))


if __name__ == "__main__":
    main()
