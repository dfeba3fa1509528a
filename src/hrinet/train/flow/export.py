"""Weights of ``hrinet-flow`` for use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import hrinet
from hrinet.networks.flow_net import FlowNet
from hrinet.train.export import attribution
from hrinet.train.flow.choices import Extent
from hrinet.train.flow.config import FlowTrainConfig
from hrinet.weights.files import save_weights

_PRIVATE = ("manifest", "output", "start_from")
"""Fields of the configuration that tell of the machine, not of the weights."""


def export_flow(
    network: FlowNet,
    folder: Path,
    *,
    config: FlowTrainConfig,
    extents: Sequence[Extent],
    sources: Sequence[tuple[str, str]],
    step: int,
) -> Path:
    """Write ``weights.safetensors`` and the ``weights.json`` that describes it.

    Args:
        network: the moving average.
        folder: where to.
        config: of the run.
        extents: of the scans trained on.
        sources: collection and licence of each.
        step: number of steps done.

    Returns:
        The path of the safetensors file.
    """
    path = folder / "weights.safetensors"
    description = {
        "name": config.name,
        "model": network.describe(),
        "steps": step,
        "steps_planned": step if config.minutes is not None else config.steps,
        "scans": len(extents),
        "patients": len({extent.patient for extent in extents}),
        "scans_of_known_thickness": sum(extent.thickness_mm is not None for extent in extents),
        "collections": attribution(sources),
        "config": {key: value for key, value in asdict(config).items() if key not in _PRIVATE},
        "hrinet_version": hrinet.__version__,
    }
    save_weights(path, network.state_dict(), description)
    return path
