"""Weights for use: ``weights.safetensors`` and the ``weights.json`` that describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hrinet
from hrinet.networks.generator import Generator
from hrinet.train.cache import Cache
from hrinet.train.config import TrainConfig, config_json
from hrinet.train.manifest import load_manifest
from hrinet.weights.files import save_weights

_PRIVATE = ("cache", "manifest", "output", "start_from", "stage1_from")
"""Fields of the configuration that tell of the machine, not of the weights."""


def export_weights(
    generator: Generator,
    folder: Path,
    *,
    config: TrainConfig,
    cache: Cache,
    step: int,
    started_from: Mapping[str, Any] | None = None,
) -> Path:
    """Write the generator's weights and what they are.

    Of the training data the description tells the number of scans and patients and, with a
    manifest, the collections and their licences; never a name.

    Args:
        generator: trained.
        folder: where to.
        config: of the run.
        cache: of the run.
        step: number of steps done; ``steps_planned`` beside it tells whether that was all.
        started_from: what the run began with, if not with random weights.

    Returns:
        The path of the safetensors file.
    """
    path = folder / "weights.safetensors"
    values = config_json(config)
    scans = cache.of_split("train")
    description = {
        "name": config.name,
        "model": asdict(config.model()),
        "window_hu": list(cache.window),
        "size": cache.size,
        "steps": step,
        "steps_planned": config.steps,
        "seed": config.seed,
        **({"started_from": dict(started_from)} if started_from else {}),
        "scans": len(scans),
        "patients": len({scan.patient for scan in scans}),
        "collections": attribution(config.manifest),
        "config": {key: value for key, value in values.items() if key not in _PRIVATE},
        "hrinet_version": hrinet.__version__,
    }
    save_weights(path, generator.state_dict(), description)
    return path


def attribution(manifest: str) -> list[dict[str, Any]]:
    """The training collections of a manifest with their licences; none without a manifest."""
    if not manifest:
        return []
    entries = load_manifest(manifest).of_split("train")
    scans = Counter((entry.collection, entry.licence) for entry in entries)
    return [
        {"collection": collection, "licence": licence, "scans": count}
        for (collection, licence), count in sorted(scans.items())
    ]
