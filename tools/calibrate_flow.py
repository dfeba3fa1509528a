"""Measure how large the errors of hrinet-flow are where it says that they are so large.

    python tools/calibrate_flow.py RUN_FOLDER OUT.json [--series validation/lidc_0002 ...]
    python tools/ship_flow.py RUN_FOLDER OUT.json
    python tools/fit_slice_trust.py OUT.json
    python tools/ship_flow.py RUN_FOLDER OUT.json
    python tools/fit_transfer.py OUT.json
    python tools/fit_unchecked.py OUT.json
    python tools/ship_flow.py RUN_FOLDER OUT.json

Slices of scans that took no part in the training are hidden and synthesized. The voxels are put in
order of the error that the network itself expects; of every 200th part the mean absolute error and
its 90th percentile are taken, and made to increase (isotonic regression). ``tools/ship_flow.py``
puts the result into the description of the weights. The tools that follow run the method in the
package: what tells slices of a scan apart, and by how much the method's check on the scan's own
slices, which hides them in gaps of twice the width, overstates the errors.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

import hrinet
from hrinet.networks.flow_net import FlowNet, FlowNetConfig, Gaps
from hrinet.synthesize.cubic import cubic_weights
from hrinet.synthesize.trust import REFERENCE_GAP_MM
from hrinet.weights.files import read_weights

FACTORS = (2, 3, 4, 5, 6)
BINS = 200
POWER_BINS = 40
LEAST_VOXELS = 200
EVERY = 97
"""Of the voxels of a slice one in so many is looked at; neighbours err alike."""

ROOT = Path(__file__).resolve().parent.parent


def samples(network: FlowNet, series: Path, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """(log of the expected error, absolute error) of voxels of hidden slices."""
    volume = hrinet.read(series)
    array = volume.array.astype(np.float32)
    spacing = volume.geometry.spacing_mm
    thickness = (volume.geometry.slice_thickness or 0.0) / (factor * spacing)
    expected, found = [], []
    for first in range(0, len(array) - factor, factor):
        numbers = [first - factor, first, first + factor, first + 2 * factor]
        there = [slot for slot in range(4) if 0 <= numbers[slot] < len(array)]
        filled = [first if n < 0 else first + factor if n >= len(array) else n for n in numbers]
        slices = torch.from_numpy(array[filled])[None]
        gaps = Gaps(slices, torch.tensor([[-1.0, 0.0, 1.0, 2.0]]), torch.tensor([thickness]))
        with torch.inference_mode():
            context = network.encoder(slices)
            for inner in range(1, factor):
                t = inner / factor
                weights = torch.zeros(1, 4)
                known = cubic_weights([float(slot - 1) for slot in there], there.index(1), t)
                weights[0, there] = torch.tensor(known)
                made = network.decoder(gaps, context, torch.tensor([t]), weights)
                stored = made.values[0, 0].round().numpy()
                error = np.abs(stored - array[first + inner]).ravel()[:: EVERY * (factor - 1)]
                found.append(error)
                expected.append(made.log_error[0, 0].numpy().ravel()[:: EVERY * (factor - 1)])
    return np.concatenate(expected), np.concatenate(found)


def increasing(values: np.ndarray) -> np.ndarray:
    """The nearest sequence that never falls (pool adjacent violators)."""
    levels: list[list[float]] = []
    for value in values:
        levels.append([float(value), 1.0])
        while len(levels) > 1 and levels[-2][0] > levels[-1][0]:
            (a, m), (b, n) = levels[-2], levels.pop()
            levels[-1] = [(a * m + b * n) / (m + n), m + n]
    return np.concatenate([np.full(int(count), level) for level, count in levels])


def gap_power(parts: list[tuple[np.ndarray, np.ndarray]], widths: list[float]) -> float:
    """By which power of the gap errors grow faster than the network says (least squares).

    Among voxels of which the network says the same: that it expects more in wider gaps is in the
    curves already.
    """
    expected = np.concatenate([part[0] for part in parts])
    edges = np.quantile(expected, np.linspace(0, 1, POWER_BINS + 1))[1:-1]
    logs = np.log(np.array(widths) / REFERENCE_GAP_MM)
    above = below = 0.0
    bins = [np.searchsorted(edges, part[0]) for part in parts]
    for number in range(POWER_BINS):
        column = [part[1][bin_ == number] for part, bin_ in zip(parts, bins, strict=True)]
        there = np.array([one.size >= LEAST_VOXELS and one.any() for one in column])
        if there.sum() < 2:
            continue
        weights = np.array([one.sum() for one in column])[there]
        errors = np.log(
            [one.mean() for one, is_there in zip(column, there, strict=True) if is_there]
        )
        off = logs[there] - np.average(logs[there], weights=weights)
        above += float((weights * off * errors).sum())
        below += float((weights * off * off).sum())
    return above / below if below else 0.0


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("output", type=Path, metavar="OUT.json")
    parser.add_argument("--series", nargs="*", default=["validation/lidc_0002"])
    arguments = parser.parse_args()
    tensors, description = read_weights(arguments.run / "weights.safetensors")
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    network.eval()
    parts, widths = [], []
    for name in arguments.series:
        spacing = hrinet.read(data / name).geometry.spacing_mm
        for factor in FACTORS:
            parts.append(samples(network, data / name, factor))
            widths.append(factor * spacing)
            print(f"{name} x{factor}: {parts[-1][0].size} voxels", flush=True)
    power = gap_power(parts, widths)
    for index, (expected, found) in enumerate(parts):
        parts[index] = expected, found / (widths[index] / REFERENCE_GAP_MM) ** power
    expected, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    bins = np.array_split(np.argsort(expected), BINS)
    log_error = np.array([expected[part].mean() for part in bins])
    keep = np.concatenate([[True], np.diff(log_error) > 1e-4])
    mean = increasing(np.array([found[part].mean() for part in bins]))
    high = increasing(np.array([np.quantile(found[part], 0.9) for part in bins]))
    result = {
        "log_error": [round(float(v), 4) for v in log_error[keep]],
        "expected_error": [round(float(v), 3) for v in mean[keep]],
        "half_width": [round(float(v), 3) for v in high[keep]],
        "gap_power": round(power, 4),
        "largest_gap_mm": max(widths),
        "series": [Path(name).name for name in arguments.series],
        "factors": list(FACTORS),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
