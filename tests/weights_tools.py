"""Weights for tests: a small generator, and files as ``hrinet train`` leaves them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("yaml")  # of the recipes

from hrinet.networks.family import ModelConfig, build, model_config
from hrinet.networks.generator import Generator
from hrinet.train.config import config_json, load_config
from hrinet.weights.description import Precision
from hrinet.weights.files import save_weights


def small_config(name: str = "hrinet-mse") -> ModelConfig:
    return replace(model_config(name), size=64, width=4, patchgan_width=2)


def small_generator(name: str = "hrinet-mse", *, level: float = 0.5) -> Generator:
    """Random weights, but the output stays near ``level``, well inside [0, 1] if that is."""
    generator = build(small_config(name), seed=5).generator
    last = [m for m in generator.decoder.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.mul_(0.3)
        last.bias.fill_(level)
    return generator.eval().requires_grad_(False)


def save_small(
    path: Path, name: str = "hrinet-mse", *, precision: Precision = "float32", **changes: Any
) -> Generator:
    """Write ``path`` and its JSON; returns the generator."""
    generator = small_generator(name)
    config = config_json(load_config(name, ["size=64", "width=4", "scale=0.01"]))
    description = {
        "name": name,
        "model": asdict(small_config(name)),
        "window_hu": [-1024.0, 3071.0],
        "size": 64,
        "steps": 6000,
        "steps_planned": 10000,
        "seed": 0,
        "scans": 7,
        "patients": 6,
        "collections": [
            {"collection": "one", "licence": "CC BY 4.0", "scans": 4},
            {"collection": "two", "licence": "CC0", "scans": 3},
        ],
        "config": {k: v for k, v in config.items() if k not in ("cache", "manifest", "output")},
        "hrinet_version": "0",
        **changes,
    }
    save_weights(path, generator.state_dict(), description, precision=precision)
    return generator
