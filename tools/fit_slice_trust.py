"""Fit what tells the slices of one scan apart, of those that err much and those that err little.

    python tools/fit_slice_trust.py CALIBRATION.json

CALIBRATION.json is what ``tools/calibrate_flow.py`` writes and ``tools/ship_flow.py`` has put into
the package; the fit is added to it, to be shipped before ``tools/fit_transfer.py`` runs. Slices of
the training scans and of the validation scan are hidden and synthesized in gaps up to 15 mm.
Least squares on the logarithm of the mean absolute error, from whose series the mean is taken
first: how large the errors of a scan are is not asked here (on training scans they would be too
small), only which of its slices have the larger ones. One scan after the other is left out to see
what the fit is worth on a scan that it has not seen.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
from hidden import CURVES, Hidden, allowed, hide, require_shipped, scans

import hrinet
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.hrinet_flow import HrinetFlow
from hrinet.synthesize.slice_trust import SliceSigns
from hrinet.weights import packaged_weights
from hrinet.weights.flow import FlowGraphs, load_flow

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from trust import rank_correlation  # type: ignore[import-not-found]  # noqa: E402

FACTORS = (2, 3, 4, 6)
MOST_SLICES = 121
RIDGE = 1e-3
SIGNS = tuple(field.name for field in fields(SliceSigns))


def factors_of(slices: int, spacing_mm: float) -> list[int]:
    """The smallest and the largest factor that a scan allows."""
    factors = allowed(FACTORS, slices, spacing_mm)
    return sorted({factors[0], factors[-1]}) if factors else []


def look(one: Hidden) -> list[float]:
    """Signs, log expected and log found error of a slice."""
    signs = [getattr(one.made.signs, name) for name in SIGNS]
    means = (max(float(of[one.usable].mean()), 1e-3) for of in (one.made.error, one.error))
    return [*signs, *map(math.log, means)]


def slices_of(graphs: FlowGraphs, volume: hrinet.Volume, factor: int) -> np.ndarray:
    """What :func:`look` tells of every synthetic slice, shape (slice, sign and errors)."""
    threads = default_threads()
    with HrinetFlow(graphs, precision="f32").using(gaps=threads, threads=1) as running:
        return np.array(hide(running, volume, factor, look, threads=threads))


def fitted(series: list[np.ndarray]) -> np.ndarray:
    """Weights of the signs; every series counts alike."""
    left, right = [], []
    for rows in series:
        rows = (rows - rows.mean(0)) / np.sqrt(len(rows))
        left.append(rows[:, :-2])
        right.append(rows[:, -1] - rows[:, -2])
    a, b = np.concatenate(left), np.concatenate(right)
    return np.linalg.solve(a.T @ a + RIDGE * np.eye(len(SIGNS)), a.T @ b)


def rank(rows: np.ndarray, weights: np.ndarray) -> float:
    return rank_correlation(rows[:, -2] + rows[:, :-2] @ weights, rows[:, -1])


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION.json")
    parser.add_argument("--manifest", type=Path, default=data / "manifest.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    known = json.loads(arguments.calibration.read_text("utf-8"))
    graphs = load_flow(packaged_weights("hrinet-flow"))
    require_shipped(known, graphs.description, CURVES)
    found: dict[str, list[np.ndarray]] = {}
    for name, volume in scans(arguments.manifest):
        volume = volume.subset(range(min(len(volume), MOST_SLICES)))
        for factor in factors_of(len(volume), volume.geometry.spacing_mm):
            rows = slices_of(graphs, volume, factor)
            found.setdefault(name, []).append(rows)
            print(f"{name} x{factor}: {len(rows)} slices", flush=True)
    before, after = [], []
    for name, series in found.items():
        others = fitted([rows for other, all_ in found.items() if other != name for rows in all_])
        before += [rank(rows, np.zeros(len(SIGNS))) for rows in series]
        after += [rank(rows, others) for rows in series]
        print(
            f"{name}: {np.round(before[-len(series) :], 3)} -> {np.round(after[-len(series) :], 3)}"
        )
    weights = fitted([rows for series in found.values() for rows in series])
    known["slices"] = {
        **{name: round(float(w), 4) for name, w in zip(SIGNS, weights, strict=True)},
        "rank_before": round(float(np.mean(before)), 3),
        "rank_on_a_scan_left_out": round(float(np.mean(after)), 3),
    }
    print(known["slices"])
    arguments.calibration.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
