"""What a run may begin with besides random weights: a model, or another run's stage 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrinet.errors import InputError, RequestError
from hrinet.networks.generator import Generator
from hrinet.train import Window
from hrinet.train.checkpoint import Snapshot, checkpoints, load_snapshot, restore_snapshot
from hrinet.train.config import MAY_CHANGE, TrainConfig
from hrinet.train.resume import averaged_before, require_same_config, require_same_data
from hrinet.train.steps import Players
from hrinet.weights.files import read_weights
from hrinet.weights.find import find_weights
from hrinet.weights.generator import require_family

_OF_STAGE_2 = frozenset(
    {
        *("name", "d2", "alternating", "content", "receptive_field", "patchgan_width", "norm"),
        *("form", "stage1_steps", "stage2_steps", "scale", "run_length", "runs", "d2_adam_betas"),
        *("beta", "epsilon", "penalty", "start_from", "stage1_from"),
    }
)
"""Fields that stage 1 does not see; its length is compared after ``scale``."""

_OF_STAGE_1 = ("generator", "d1", "average")
"""Networks that stage 1 has trained."""

_ADVICE = "set it alike, or leave stage1_from empty"


def start_from_weights(generator: Generator, path: Path, *, window: Window) -> dict[str, Any]:
    """Begin with a trained model of the family, of the same mixing or with the trunk of one size.

    A model that mixes three sizes takes a one-size model's EN1..EN5, DE5..DE1 and N/16 bottleneck
    over, and the weights that lead from its new, deeper blocks into DE5 become zero. So it begins
    as the same function as the one-size model (Chen et al. 2016, Net2Net, arXiv 1511.05641), and
    training opens the deeper maps.

    Args:
        generator: filled in place.
        path: of the weights; see :func:`hrinet.weights.find.find_weights`.
        window: HU that are 0 and 1 in the slices to train on.

    Returns:
        What it began with, for the description of the new weights: name, SHA-256, steps, and what
        that model in turn began with.

    Raises:
        InputError: the weights cannot be read, do not fit, or are of another window.
    """
    path = find_weights(path)
    tensors, description = read_weights(path)
    require_family(description, path)
    found = description.values.get("window_hu")
    if found != list(window):
        raise InputError(
            f"{path}: was trained with window_hu {found}, but the cache holds slices of "
            f"{list(window)}; start from other weights, or set window_hu and build another cache"
        )
    own = generator.state_dict()
    try:
        if description.model.get("mixing") == "one" and len(generator.bottlenecks) > 1:
            tensors = _deepened(tensors, own)
        generator.load_state_dict(tensors)
    except (RuntimeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: does not fit the generator of this configuration; start_from takes weights "
            "of the family, of the same width"
        ) from error
    began = {
        "name": description.name,
        "sha256": description.sha256,
        "steps": description.steps,
        "batch": description.values.get("config", {}).get("batch"),
    }
    if description.values.get("started_from"):
        began["started_from"] = description.values["started_from"]
    return began


def start_from_stage1(players: Players, config: TrainConfig, data: dict[str, Any]) -> Snapshot:
    """Begin stage 2 where stage 1 of another run ended.

    Stage 1 knows neither D2 nor supervised steps nor the content loss of stage 2, so that models
    which differ in these alone share it: it gives the same bits as training it anew. That is so of
    their average too if ``average`` is alike; if it is not, averaging begins with stage 2.

    Args:
        players: generator and D1, with their optimizers, are filled in place, and the average
            if both runs have the same.
        config: of the new run; ``stage1_from`` is the other run's folder.
        data: identity of the new run's data.

    Returns:
        The checkpoint.

    Raises:
        InputError: there is no checkpoint of the end of stage 1, or it saw other scans.
        RequestError: stage 1 was trained otherwise.
    """
    folder = Path(config.stage1_from)
    name = f"checkpoint-{config.first_steps:09d}.safetensors"
    if name not in {path.name for path in checkpoints(folder)}:
        raise InputError(
            f"{folder}: has no {name}, where stage 1 of {config.first_steps} steps ends; train it "
            "with stage2_steps=0"
        )
    snapshot = load_snapshot(folder / name)
    saved = require_same_config(
        snapshot, config, folder=folder, may_change=MAY_CHANGE | _OF_STAGE_2, advice=_ADVICE
    )
    if saved.first_steps != config.first_steps:
        raise RequestError(
            f"{folder}: stage 1 has {saved.first_steps} steps, expected {config.first_steps}; "
            f"{_ADVICE}"
        )
    found = snapshot.facts["data"]
    require_same_data(
        {key: found[key] for key in ("cache", "pairs")},
        {key: data[key] for key in ("cache", "pairs")},
        folder=folder,
        scans=f"{config.cache} holds",
        advice=_ADVICE,
    )
    averaged = averaged_before(snapshot, config)
    if averaged:
        players.begin_average(averaged)
    networks = {key: net for key, net in players.networks().items() if key in _OF_STAGE_1}
    restore_snapshot(
        snapshot,
        networks=networks,
        optimizers={key: players.optimizers[key] for key in networks if key != "average"},
    )
    return snapshot


def _deepened(shallow: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A one-size model's weights among those of a three-size model, as the same function."""
    filled = dict(own)
    for name, tensor in shallow.items():
        if not name.startswith("decoder.blocks."):
            filled[name] = tensor  # EN1..EN5 and the bottleneck of N/16 have the same names
            continue
        number, _, rest = name.removeprefix("decoder.blocks.").partition(".")
        to = f"decoder.blocks.{int(number) + 2}.{rest}"  # DE7 and DE6 come before
        if name == "decoder.blocks.0.0.weight":
            weight = torch.zeros_like(own[to])
            weight[:, -tensor.shape[1] :] = tensor  # the mixed map comes after the upsampled one
            tensor = weight
        filled[to] = tensor
    for name, tensor in filled.items():
        if own[name].shape != tensor.shape:
            raise ValueError(name)
    return filled
