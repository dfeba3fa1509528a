"""Weights for use: ``weights.safetensors`` and the ``weights.json`` that describes them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hrinet
from hrinet.errors import HrinetError, InputError
from hrinet.io.staging import Staging
from hrinet.networks.family import ModelConfig, build
from hrinet.networks.generator import Generator
from hrinet.train.cache import Cache
from hrinet.train.config import TrainConfig, config_json
from hrinet.train.manifest import load_manifest

WEIGHTS_SCHEMA = "hrinet-weights-1"

_PRIVATE = ("cache", "manifest", "output")
"""Fields of the configuration that tell of the machine, not of the weights."""


def export_weights(
    generator: Generator, folder: Path, *, config: TrainConfig, cache: Cache, step: int
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

    Returns:
        The path of the safetensors file.
    """
    from safetensors.torch import save

    path = folder / "weights.safetensors"
    state = generator.state_dict()
    weights = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    values = config_json(config)
    scans = cache.of_split("train")
    with Staging(overwrite=True) as staging:
        content = save(weights, {"schema": WEIGHTS_SCHEMA})
        staging.path(path).write_bytes(content)
        description = {
            "schema": WEIGHTS_SCHEMA,
            "name": config.name,
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "model": asdict(config.model()),
            "window_hu": list(cache.window),
            "size": cache.size,
            "steps": step,
            "steps_planned": config.steps,
            "seed": config.seed,
            "scans": len(scans),
            "patients": len({scan.patient for scan in scans}),
            "collections": _collections(config.manifest),
            "config": {key: value for key, value in values.items() if key not in _PRIVATE},
            "hrinet_version": hrinet.__version__,
        }
        text = json.dumps(description, indent=1) + "\n"
        staging.path(path.with_suffix(".json")).write_text(text, "utf-8")
    return path


def load_weights(path: Path) -> tuple[Generator, dict[str, Any]]:
    """Build the generator that a pair of files describes, on the CPU, ready for use.

    Args:
        path: of the safetensors file; the JSON lies beside it.

    Returns:
        The generator and its description.

    Raises:
        InputError: if a file is missing or damaged, or the two do not belong together.
    """
    from safetensors.torch import load

    beside = path.with_suffix(".json")
    try:
        description = json.loads(beside.read_text("utf-8"))
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"{beside}: is no JSON; expected a description of weights") from None
    if not isinstance(description, dict) or description.get("schema") != WEIGHTS_SCHEMA:
        raise InputError(f"{beside}: is no description of weights of version {WEIGHTS_SCHEMA}")
    found = hashlib.sha256(content).hexdigest()
    if found != description.get("sha256"):
        raise InputError(
            f"{path}: has SHA-256 {found}, but {beside.name} says {description.get('sha256')}; "
            "fetch both again"
        )
    try:
        generator = build(ModelConfig(**description["model"])).generator
        generator.load_state_dict(load(content))
    except (HrinetError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: does not fit the model in {beside.name}") from error
    return generator.eval().requires_grad_(False), description


def _collections(manifest: str) -> list[dict[str, Any]]:
    if not manifest:
        return []
    entries = load_manifest(manifest).of_split("train")
    scans = Counter((entry.collection, entry.licence) for entry in entries)
    return [
        {"collection": collection, "licence": licence, "scans": count}
        for (collection, licence), count in sorted(scans.items())
    ]
