"""What the tests of ``hrinet-flow`` share: small networks, gaps, calibrations, a phantom."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hrinet
from conftest import make_geometry
from hrinet.networks.flow_net import FlowNet, FlowNetConfig, Gaps
from hrinet.synthesize.cubic import cubic_weights
from hrinet.train.manifest import Entry, Manifest, save_manifest
from hrinet.weights.files import save_weights
from hrinet.weights.graphs import export_graphs

SMALL = FlowNetConfig(coarse_width=6, fine_width=4, decoder_width=5, reach_px=8.0)
CALIBRATION = {
    "log_error": [0.0, 2.0, 4.0],
    "expected_error": [1.0, 7.0, 60.0],
    "half_width": [2.0, 15.0, 130.0],
    "gap_power": 0.3,
    "largest_gap_mm": 12.0,
    "series": ["one"],
}
TINY = {
    "coarse_width": 6,
    "fine_width": 4,
    "decoder_width": 6,
    "reach_px": 8.0,
    "batch": 4,
    "crop": 32,
    "steps": 6,
    "warm_up": 2,
    "accelerator": "cpu",
    "precision": "32-true",
    "checkpoint_every": 3,
    "log_every": 3,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On networks as small as these, threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def perturbed(config: FlowNetConfig = SMALL, *, by: float = 0.05, seed: int = 3) -> FlowNet:
    """Random weights everywhere, those that begin as zero too."""
    torch.manual_seed(seed)
    network = FlowNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += by * torch.randn_like(parameter)
    return network.eval().requires_grad_(False)


def make_gaps(
    offsets: list[float],
    *,
    kept: tuple[int, ...] = (0, 1, 2, 3),
    t: float = 0.4,
    rows: int = 32,
    columns: int = 48,
    thickness: float = 0.0,
    seed: int = 0,
) -> tuple[Gaps, torch.Tensor, torch.Tensor]:
    """One gap of smooth random slices, its position and the cubic's weights."""
    random = torch.Generator().manual_seed(seed)
    small = torch.randn(1, 4, rows // 4, columns // 4, generator=random)
    slices = 300 * torch.nn.functional.interpolate(small, size=(rows, columns), mode="bicubic")
    slices = slices + 15 * torch.randn(slices.shape, generator=random)
    if 0 not in kept:
        slices[:, 0] = slices[:, 1]
    if 3 not in kept:
        slices[:, 3] = slices[:, 2]
    weights = torch.zeros(1, 4)
    known = cubic_weights([offsets[index] for index in kept], kept.index(1), t)
    weights[0, list(kept)] = torch.tensor(known)
    gaps = Gaps(slices, torch.tensor([offsets]), torch.tensor([thickness]))
    return gaps, torch.tensor([t]), weights


def save_flow(path: Path, network: FlowNet, **changes: Any) -> None:
    """Write weights, graphs and JSON as ``tools/ship_flow.py`` does."""
    description = {
        "name": "hrinet-flow",
        "model": network.describe(),
        "steps": 7,
        "steps_planned": 7,
        "scans": 3,
        "patients": 2,
        "scans_of_known_thickness": 3,
        "collections": [{"collection": "one", "licence": "CC0", "scans": 3}],
        "calibration": CALIBRATION,
    }
    graphs = {
        part: hashlib.sha256(graph.read_bytes()).hexdigest()
        for part, graph in zip(("encoder", "decoder"), export_graphs(network, path), strict=True)
    }
    save_weights(path, network.state_dict(), {**description, "graphs": graphs, **changes})


def make_scans(root: Path, *, spacing_mm: float = 2.0) -> Path:
    """A manifest of two scans of 64 x 64 pixels, in which soft discs move and change size."""
    rows, columns = np.mgrid[:64, :64]
    entries = []
    for number, patient in enumerate("ab"):
        rng = np.random.default_rng(number)
        geometry = make_geometry(spacing_mm * np.arange(16), rows=64, columns=64, thickness=3.0)
        array = np.full(geometry.shape, -1000.0)
        centre, speed = rng.uniform(12, 52, (5, 2)), rng.uniform(-1.2, 1.2, (5, 2))
        for index in range(16):
            for y, x in centre + speed * index:
                array[index] += 1000 / (1 + np.exp(np.hypot(rows - y, columns - x) - 9))
        array += rng.normal(0, 8, array.shape)
        volume = hrinet.Volume(array=array.clip(-1024, 3071).astype(np.int16), geometry=geometry)
        hrinet.write(volume, root / f"{patient}.nrrd")
        entries.append(
            Entry(path=f"{patient}.nrrd", patient=patient, split="train", collection="made")
        )
    save_manifest(Manifest(root=root, entries=tuple(entries)), root / "manifest.json")
    return root / "manifest.json"


def told(path: Path) -> Any:
    """The JSON beside a file of weights."""
    return json.loads(path.with_suffix(".json").read_text("utf-8"))
