"""Weights for use: ``weights.safetensors`` and the ``weights.json`` that describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hrinet
from hrinet.networks.generator import Generator
from hrinet.train.cache import Cache
from hrinet.train.config import TrainConfig, config_json
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
    averaged: int = 0,
    started_from: Mapping[str, Any] | None = None,
) -> Path:
    """Write the generator's weights and what they are.

    Of the training data the description tells the number of scans and patients, and the
    collections and their licences where the manifest named them; never a name.

    Args:
        generator: trained.
        folder: where to.
        config: of the run.
        cache: of the run.
        step: number of steps done; ``steps_planned`` beside it tells whether that was all.
        averaged: number of steps, the last ones, in the moving average that the generator is; 0 if
            it is no average.
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
        "averaged": averaged,
        "seed": config.seed,
        **({"started_from": dict(started_from)} if started_from else {}),
        "scans": len(scans),
        "patients": len({scan.patient for scan in scans}),
        "collections": attribution((scan.collection, scan.licence) for scan in scans),
        "config": {key: value for key, value in values.items() if key not in _PRIVATE},
        "hrinet_version": hrinet.__version__,
    }
    save_weights(path, generator.state_dict(), description)
    return path


def attribution(sources: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """How many scans came from which collection under which licence.

    Args:
        sources: collection and licence of every scan; those that say neither are left out.
    """
    scans = Counter(source for source in sources if any(source))
    return [
        {"collection": collection, "licence": licence, "scans": count}
        for (collection, licence), count in sorted(scans.items())
    ]
