"""What each ingredient of hrinet-flow is worth: a short training without one after another.

Run: python benchmarks/retrained.py --runs FOLDER, where the trainings are kept; again, it goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ablation import GAPS, SERIES, Variant, hidden_gaps, synthesized
from common import ct, machine, publish, table

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.networks.flow_net import FlowNet, FlowNetConfig
from hrinet.synthesize.engine import default_threads
from hrinet.train.flow.config import FlowTrainConfig
from hrinet.train.flow.loop import train_flow
from hrinet.weights.files import read_weights

BUDGET: dict[str, Any] = {
    **{"steps": 600, "batch": 16, "crop": 96, "warm_up": 60, "average": 0.99},
    "precision": "bf16-mixed",
}
"""A hundredth of what the shipped weights were given."""

CASES = (("x2", 1, 2), ("x4", 1, 4), ("x2, thick", 2, 2))
"""Name, how many slices each one is the mean of, and the factor."""

_WINDOW = (-1000.0, 1000.0)


@dataclass(frozen=True)
class Training:
    """A training with something off.

    Attributes:
        name: what is off.
        fields: of :class:`FlowTrainConfig`, that turn it off.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


TRAININGS = (
    Training("everything"),
    Training("no motion (reach 0.01 pixels)", {"reach_px": 0.01}),
    Training("no loss of the motion's own", {"motion": 0.0}),
    Training("no structural similarity in the loss", {"similarity": 0.0}),
    Training("no thick slices", {"thick": 0.0}),
    Training("slice thickness never told", {"unknown": 1.0}),
    Training("no other kernels, no noise", {"smooth": 0.0, "sharp": 0.0, "noise": 0.0}),
    Training("no larger pixels", {"coarse": 0.0}),
    Training("one block in the decoder instead of two", {"decoder_blocks": 1}),
)


def trained(training: Training, folder: Path) -> FlowNet:
    """Train, or take up what an earlier run left."""
    config = FlowTrainConfig(
        **{**BUDGET, **training.fields},
        manifest=str(ct("manifest.json")),
        output=str(folder),
        checkpoint_every=300,
    )
    weights = folder / "weights.safetensors"
    if not weights.exists():
        train_flow(config)
    tensors, description = read_weights(weights)
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def scores(network: FlowNet, averaged: int, factor: int) -> tuple[float, float]:
    """Means of PSNR, dB, and SSIM over the hidden slices of the validation scan."""
    volume = thickened(hrinet.read(ct(SERIES)), averaged)
    pairs = [
        (
            np.clip(synthesized(network, Variant(""), scene, t), *_WINDOW),
            np.clip(true.astype(np.float64), *_WINDOW),
        )
        for scene, t, true in hidden_gaps(volume, factor)
    ]
    return (
        float(np.mean([psnr(*pair, data_range=2000) for pair in pairs])),
        float(np.mean([ssim(*pair, data_range=2000) for pair in pairs])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the trainings")
    runs = parser.parse_args().runs
    cv2.setNumThreads(1)
    torch.set_num_threads(default_threads())
    found = {}
    for number, training in enumerate(TRAININGS):
        network = trained(training, runs / str(number))
        found[training.name] = [
            score for _, averaged, factor in CASES for score in scores(network, averaged, factor)
        ]
        print(training.name, found[training.name], flush=True)
    whole = found[TRAININGS[0].name]
    rows = [
        [
            name,
            *(
                f"{value:.{digits}f} ({value - full:+.{digits}f})"
                for value, full, digits in zip(values, whole, (2, 4) * len(CASES), strict=True)
            ),
        ]
        for name, values in found.items()
    ]
    head = ["trained with", *(f"{what}, {name}" for name, *_ in CASES for what in ("PSNR", "SSIM"))]
    budget = "{steps} steps of {batch} crops of {crop} x {crop} pixels".format(**BUDGET)
    publish(
        "retrained",
        "\n".join(
            [
                "# What the ingredients of hrinet-flow are worth in a short training",
                "",
                f"Machine: {machine()}. Command: `python benchmarks/retrained.py --runs FOLDER`.",
                "",
                f"Each row was trained from random weights on the training scans for {budget}, "
                "with the same seed, without one ingredient; the network alone, on "
                f"{SERIES} ({GAPS} hidden slices a case; PSNR, dB, and SSIM on [-1000, 1000] HU; "
                "in brackets the difference from everything). Thick: each slice the mean of two "
                "neighbouring ones. The shipped weights were trained on a hundred times as many "
                "crops: what is learnt late does not show here, and what the variations of the "
                "data are worth on scans unlike the training scans shows little.",
                "",
                table(head, rows),
            ]
        ),
    )


if __name__ == "__main__":
    main()
