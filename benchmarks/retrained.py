"""What each ingredient of hrinet-flow is worth: a short training without one after another.

Run: python benchmarks/retrained.py --runs FOLDER, where the trainings are kept; again, it goes on.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ablation import (
    GAPS,
    SERIES,
    Variant,
    beside_the_first,
    hidden_gaps,
    no_thickness,
    synthesized,
)
from common import ct, machine, publish, table

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.networks.flow_net import FlowNet, FlowNetConfig
from hrinet.synthesize.engine import default_threads
from hrinet.train.flow.config import FlowTrainConfig
from hrinet.train.flow.loop import train_flow
from hrinet.volume import Volume
from hrinet.weights.files import read_weights

BUDGET: dict[str, Any] = {
    "steps": 600,
    "batch": 16,
    "crop": 96,
    "warm_up": 60,
    "average": 0.99,
    "precision": "bf16-mixed",
}
"""Less than a hundredth of what the shipped weights were given."""

CASES = (("x2", 1, 2), ("x4", 1, 4), ("x2, thick", 2, 2))
"""Name, how many slices each one is the mean of, and the factor."""

_WINDOW = (-1000.0, 1000.0)


AS_IT_IS = Variant("")


@dataclass(frozen=True)
class Training:
    """A training with something off.

    Attributes:
        name: what is off.
        fields: of :class:`FlowTrainConfig`, that turn it off.
        scored: how the network is asked afterwards.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    scored: Variant = AS_IT_IS

    @property
    def folder(self) -> str:
        """Name of the one that keeps it."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


TRAININGS = (
    Training("everything"),
    Training("everything, another seed", {"seed": 1}),
    Training("no motion (reach 0.01 pixels)", {"reach_px": 0.01}),
    Training("no loss of the motion's own", {"motion": 0.0}),
    Training("no structural similarity in the loss", {"similarity": 0.0}),
    Training("no thick slices", {"thick": 0.0}),
    Training(
        "slice thickness never told", {"unknown": 1.0}, Variant("", blind=no_thickness)
    ),  # The weights of what it was never told are random.
    Training("no other kernels, no noise", {"smooth": 0.0, "sharp": 0.0, "noise": 0.0}),
    Training("no larger pixels", {"coarse": 0.0}),
    Training("one block in the decoder instead of two", {"decoder_blocks": 1}),
)


def trained(training: Training, folder: Path) -> FlowNet:
    """Train, or take up what an earlier run left."""
    settings = BUDGET | training.fields
    config = FlowTrainConfig(
        **settings,
        manifest=str(ct("manifest.json")),
        output=str(folder),
        checkpoint_every=300,
    )
    weights = folder / "weights.safetensors"
    if not is_of(weights, settings):
        result = train_flow(config)
        if not result.is_finished:
            raise SystemExit(f"{training.name}: stopped after {result.step} steps")
    tensors, description = read_weights(weights)
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def is_of(weights: Path, settings: dict[str, Any]) -> bool:
    """Whether a finished training with these settings left the weights."""
    if not weights.exists():
        return False
    _, description = read_weights(weights)
    used = description.values["config"]
    return description.steps == settings["steps"] and settings.items() <= used.items()


def scores(
    network: FlowNet, asked: Variant, volume: Volume, averaged: int, factor: int
) -> tuple[float, float]:
    """Means of PSNR, dB, and SSIM over hidden slices."""
    volume = thickened(volume, averaged)
    pairs = [
        (
            np.clip(synthesized(network, asked, scene, t), *_WINDOW),
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
    volume = hrinet.read(ct(SERIES))
    found = {}
    for training in TRAININGS:
        network = trained(training, runs / training.folder)
        found[training.name] = [
            score
            for _, averaged, factor in CASES
            for score in scores(network, training.scored, volume, averaged, factor)
        ]
        print(training.name, found[training.name], flush=True)
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
                "with the defaults of `hrinet train hrinet-flow` and the same seed, without one "
                f"ingredient; the network alone, on {SERIES} ({GAPS} hidden slices a case; PSNR, "
                "dB, and SSIM on [-1000, 1000] HU; in brackets the difference from everything). "
                "Thick: each slice the mean of two neighbouring ones. The second row tells how "
                "much is chance. The shipped weights were trained on more than a hundred times as "
                "many crops: what is learnt late does not show here, and what the variations of "
                "the data are worth on scans unlike the training scans shows little.",
                "",
                table(head, beside_the_first(found)),
            ]
        ),
    )


if __name__ == "__main__":
    main()
