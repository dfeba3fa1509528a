"""Fit the NIQE model on the training patients and put it into the package.

    python tools/fit_niqe.py [--slices 40] [--output FILE]

Reads the folder ``train`` of the test data (``HRINET_TEST_DATA``), whose patients alone may leave
traces in what ships. From every scan up to a number of slices are taken, evenly spread; from every
slice the patches at least 75 % as sharp as its sharpest.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import hrinet
from hrinet.metrics.niqe import NiqeModel, fit_features
from hrinet.metrics.niqe_model import PATCH, SHARPEST_SHARE, packaged_model_path, save_model

WINDOW = (-1000.0, 1000.0)


def sharp_features(volume: hrinet.Volume, slices: int) -> tuple[np.ndarray, int]:
    """Features of the sharp patches of a scan, and the number of slices that had any."""
    count = min(slices, len(volume))
    chosen = np.unique(np.linspace(0, len(volume) - 1, count).round().astype(int))
    found = []
    for index in chosen:
        values, sharpness = fit_features(volume.array[index], value_range=WINDOW)
        if len(values):
            values = values[sharpness >= SHARPEST_SHARE * sharpness.max()]
            found.append(values[np.isfinite(values).all(axis=1)])
    return (np.concatenate(found) if found else np.zeros((0, 36))), len(found)


def fit(root: Path, series: Sequence[dict[str, Any]], *, slices: int) -> NiqeModel:
    """Fit on all series of the training split."""
    features, told = [], []
    for entry in series:
        volume = hrinet.read(root / "train" / entry["name"])
        values, used = sharp_features(volume, slices)
        features.append(values)
        told.append(
            {
                "collection": entry["collection"],
                "licence": entry["licence"],
                "slices": used,
                "patches": len(values),
            }
        )
        print(f"{entry['name']:32} {used:4} slices {len(values):5} patches")
    provenance = {
        "made_by": "tools/fit_niqe.py",
        "hrinet": hrinet.__version__,
        "window_hu": list(WINDOW),
        "patch_pixels": PATCH,
        "sharpest_share": SHARPEST_SHARE,
        "most_slices_of_a_scan": slices,
        "patients": len(told),
        "slices": sum(entry["slices"] for entry in told),
        "patches": sum(entry["patches"] for entry in told),
        "licence": "Apache-2.0",
        "note": "Pixels went through JPEG-LS with a largest error of 0 to 6 HU.",
        "scans": told,
    }
    return NiqeModel.fitted(np.concatenate(features), value_range=WINDOW, provenance=provenance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=40, help="most slices of a scan")
    parser.add_argument("--output", type=Path, default=packaged_model_path())
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    default = Path(__file__).resolve().parents[2] / "shared" / "ct"
    root = Path(os.environ.get("HRINET_TEST_DATA", default))
    manifest = json.loads((root / "manifest.json").read_text("utf-8"))
    series = [entry for entry in manifest if entry["split"] == "train"]
    model = fit(root, series, slices=arguments.slices)
    save_model(model, arguments.output)
    size = arguments.output.stat().st_size / 1e3
    print(f"{model.provenance['patches']} patches; {arguments.output} ({size:.0f} kB)")


if __name__ == "__main__":
    main()
