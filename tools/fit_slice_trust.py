"""Fit what tells the slices of one scan apart, of those that err much and those that err little.

    python tools/fit_slice_trust.py CALIBRATION.json

CALIBRATION.json is what ``tools/calibrate_flow.py`` writes and ``tools/ship_flow.py`` has put into
the package; the fit is added to it, to be shipped before ``calibrate_flow.py --transfer``. Slices
of the training scans and of the validation scan are hidden and synthesized in gaps up to 15 mm.
Least squares on the logarithm of the mean absolute error, from whose series the mean is taken
first: how large the errors of a scan are is not asked here (on training scans they would be too
small), only which of its slices have the larger ones. One scan after the other is left out to see
what the fit is worth on a scan that it has not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

import hrinet
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.hrinet_flow import HrinetFlow
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.padding import seen_by_neighbours, without_padding
from hrinet.synthesize.slice_trust import SliceSigns, roughness
from hrinet.train.manifest import load_manifest
from hrinet.weights import packaged_weights
from hrinet.weights.flow import load_flow

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from quality import thinned  # type: ignore[import-not-found]  # noqa: E402
from trust import rank_correlation  # type: ignore[import-not-found]  # noqa: E402

FACTORS = (2, 3, 4, 6)
LARGEST_GAP_MM = 15.0
LEAST_GAPS = 8
MOST_SLICES = 121
UNEVEN_MM = 0.1
VALIDATION = "lidc_0002"
RIDGE = 1e-3


def factors_of(slices: int, spacing_mm: float) -> list[int]:
    """The smallest and the largest factor that a scan allows."""
    allowed = [f for f in FACTORS if f * spacing_mm <= LARGEST_GAP_MM and slices // f >= LEAST_GAPS]
    return sorted({allowed[0], allowed[-1]}) if allowed else []


def slices_of(volume: hrinet.Volume, factor: int) -> np.ndarray:
    """Of every synthetic slice: noise, loss, middle, log expected and log found error.

    The first three are those that the method itself takes; both errors are of voxels that no
    padding touches.
    """
    padding = volume.padding_hu
    thin, _ = thinned(volume, factor)
    rough = [roughness(without_padding(slice_, padding)) for slice_ in thin.array]
    positions = thin.geometry.positions_mm
    t = [step / factor for step in range(1, factor)]
    method = HrinetFlow(load_flow(packaged_weights("hrinet-flow")), precision="f32")
    rows = []
    with method.using(gaps=1, threads=default_threads()) as running:  # without a check on the scan
        for left in range(len(thin) - 1):
            around = range(max(left - 1, 0), min(left + 3, len(thin)))
            first = left - around[0]
            slices = [thin.array[index] for index in around]
            gap = Gap(
                slices=tuple(seen_by_neighbours(slices, first, padding)),
                positions_mm=tuple(float(positions[index]) for index in around),
                left=first,
                pixel_spacing_mm=thin.geometry.pixel_spacing,
                slice_thickness_mm=thin.geometry.slice_thickness,
            )
            for step, made in enumerate(running.synthesize_with_error(gap, t), 1):
                signs = SliceSigns.of(
                    measured=(rough[left] + rough[left + 1]) / 2,
                    own=roughness(made.values),
                    expected=float(made.expected_error.mean()),
                    t=step / factor,
                )
                truth = volume.array[left * factor + step]
                near = (truth, *slices[first : first + 2])
                inside = np.all([one != padding for one in near], axis=0)
                if not inside.any():
                    continue
                expected = made.expected_error[inside].mean()
                found = np.abs(np.rint(made.values) - truth)[inside].mean()
                rows.append(
                    [signs.noise, signs.loss, signs.middle, np.log(expected), np.log(found)]
                )
    return np.array(rows)


def fitted(series: list[np.ndarray]) -> np.ndarray:
    """Weights of the three signs; every series counts alike."""
    left, right = [], []
    for rows in series:
        rows = (rows - rows.mean(0)) / np.sqrt(len(rows))
        left.append(rows[:, :3])
        right.append(rows[:, 4] - rows[:, 3])
    a, b = np.concatenate(left), np.concatenate(right)
    return np.linalg.solve(a.T @ a + RIDGE * np.eye(3), a.T @ b)


def rank(rows: np.ndarray, weights: np.ndarray) -> float:
    return rank_correlation(rows[:, 3] + rows[:, :3] @ weights, rows[:, 4])


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION.json")
    parser.add_argument("--manifest", type=Path, default=data / "manifest.json")
    arguments = parser.parse_args()
    known = json.loads(arguments.calibration.read_text("utf-8"))
    shipped = load_flow(packaged_weights("hrinet-flow")).description.values["calibration"]
    if "transfer" in known or "slices" in {**known, **shipped}:
        parser.error("there is such a fit already; begin with calibrate_flow.py and ship_flow.py")
    found: dict[str, list[np.ndarray]] = {}
    manifest = load_manifest(arguments.manifest)
    for entry in (*manifest.of_split("train"), *manifest.of_split("validation")):
        volume = hrinet.read(manifest.root / entry.path)
        if np.ptp(np.diff(volume.geometry.positions_mm)) > UNEVEN_MM:
            continue  # Every r-th slice of an uneven scan is another test.
        volume = volume.subset(range(min(len(volume), MOST_SLICES)))
        for factor in factors_of(len(volume), volume.geometry.spacing_mm):
            rows = slices_of(volume, factor)
            found.setdefault(Path(entry.path).name, []).append(rows)
            print(f"{entry.path} x{factor}: {len(rows)} slices", flush=True)
    before, after = [], []
    for name, series in found.items():
        others = fitted([rows for other, all_ in found.items() if other != name for rows in all_])
        before += [rank(rows, np.zeros(3)) for rows in series]
        after += [rank(rows, others) for rows in series]
        print(
            f"{name}: {np.round(before[-len(series) :], 3)} -> {np.round(after[-len(series) :], 3)}"
        )
    weights = fitted([rows for series in found.values() for rows in series])
    level = np.concatenate(found[VALIDATION])  # where the calibration holds as it is
    known["slices"] = {
        **{
            n: round(float(w), 4) for n, w in zip(("noise", "loss", "middle"), weights, strict=True)
        },
        "offset": round(float(-(level[:, :3] @ weights).mean()), 4),
        "rank_before": round(float(np.mean(before)), 3),
        "rank_on_a_scan_left_out": round(float(np.mean(after)), 3),
    }
    print(known["slices"])
    arguments.calibration.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
