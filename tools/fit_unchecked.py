"""Fit how far off the calibration is where a scan cannot be checked: where it has only two slices.

    python tools/fit_unchecked.py CALIBRATION.json

CALIBRATION.json is what ``tools/fit_transfer.py`` has left; two factors are added to it, to be
shipped once more. Pairs of slices of the validation scan are taken for scans of their own, and the
slices between them are synthesized. The network errs by more there than it expects, for it learnt
mostly from gaps with two slices on either side.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import cv2
import numpy as np
from hidden import CURVES, require_shipped

import hrinet
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.hrinet_flow import HrinetFlow
from hrinet.synthesize.interpolator import Gap
from hrinet.weights import packaged_weights
from hrinet.weights.flow import FlowGraphs, load_flow

ROOT = Path(__file__).resolve().parent.parent
SERIES = "validation/lidc_0002"
FACTORS = (2, 3, 4, 6)
PAIRS = 8
EVERY = 97


def wanted(graphs: FlowGraphs, volume: hrinet.Volume, factor: int) -> tuple[float, float]:
    """Factors on expected error and half width that make both right for one width of gap."""
    geometry = volume.geometry
    method = HrinetFlow(graphs, precision="f32")
    t = [step / factor for step in range(1, factor)]
    expected, found, shares = [], [], []
    with method.using(gaps=1, threads=default_threads()) as running:
        for first in np.linspace(0, len(volume) - 1 - factor, PAIRS).astype(int):
            pair = (first, first + factor)
            gap = Gap(
                slices=tuple(volume.array[index] for index in pair),
                positions_mm=tuple(float(geometry.positions_mm[index]) for index in pair),
                left=0,
                pixel_spacing_mm=geometry.pixel_spacing,
                slice_thickness_mm=geometry.slice_thickness,
            )
            for step, made in enumerate(running.unscaled(gap, t), 1):
                error = np.abs(np.rint(made.values) - volume.array[first + step])
                expected.append(made.error.mean())
                found.append(error.mean())
                shares.append((error / np.maximum(made.half_width, 1e-3)).ravel()[::EVERY])
    ratio = float(np.mean(found) / np.mean(expected))
    return ratio, float(np.quantile(np.concatenate(shares), 0.9))


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    known = json.loads(arguments.calibration.read_text("utf-8"))
    graphs = load_flow(packaged_weights("hrinet-flow"))
    require_shipped(known, graphs.description, (*CURVES, "slices"))
    volume = hrinet.read(data / SERIES)
    factors = []
    for factor in FACTORS:
        factors.append(wanted(graphs, volume, factor))
        print(
            f"{SERIES}, pairs x{factor}: error {factors[-1][0]:.3f}, interval {factors[-1][1]:.3f}"
        )
    means = np.exp(np.log(factors).mean(0))
    known["unchecked"] = [round(float(value), 3) for value in means]
    print(known["unchecked"])
    arguments.calibration.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
