"""Checkpoints: one safetensors file each, complete or not there, that can execute nothing.

Tensors are named ``network/<name>/<parameter>``, ``optimizer/<name>/<index>/<state>`` and
``random/<generator>``; everything else is JSON in the file's metadata. The two newest are kept, so
that there is one to go back to.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from hrinet.errors import InputError, RunError
from hrinet.io.staging import Staging

CHECKPOINT_SCHEMA = "hrinet-checkpoint-1"

_KEPT = 2
_FILE = re.compile(r"checkpoint-(\d{9})\.safetensors")
_LEFTOVER = re.compile(r"\.checkpoint-\d{9}\.safetensors\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """Where a run stood.

    Attributes:
        step: number of steps done.
        tensors: weights, states of optimizers and of random generators; see the module.
        facts: the rest, JSON.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def take_snapshot(
    *,
    step: int,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    facts: Mapping[str, Any],
) -> Snapshot:
    """Copy everything that :func:`restore_snapshot` needs to the CPU.

    Training itself draws only from generators that follow from seed and step; the states of
    torch's, NumPy's and Python's global ones are there for whatever else runs in the process.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"network/{name}/{key}"] = value
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = torch.as_tensor(value)
    tensors["random/torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    _, words, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors["random/numpy"] = torch.from_numpy(np.asarray(words, np.int64))
    return Snapshot(
        step=step,
        tensors={
            # A copy, for the next step changes weights in place.
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        },
        facts={
            **facts,
            "numpy": [int(position), int(has_gauss), float(gauss)],
            "python": random.getstate(),
        },
    )


def restore_snapshot(
    snapshot: Snapshot, *, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> None:
    """Put everything back, in place.

    Raises:
        InputError: if the snapshot is of other networks.
    """
    try:
        for name, network in networks.items():
            network.load_state_dict(_below(snapshot, f"network/{name}/"))
        for name, optimizer in optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(snapshot, f"optimizer/{name}/").items():
                index, _, part = key.partition("/")
                states.setdefault(int(index), {})[part] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states, "param_groups": groups})
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"the checkpoint of step {snapshot.step} is of other networks; train into another "
            "output folder"
        ) from error
    torch.set_rng_state(snapshot.tensors["random/torch"])
    if torch.cuda.is_available() and "random/cuda" in snapshot.tensors:
        torch.cuda.set_rng_state(snapshot.tensors["random/cuda"])
    words = snapshot.tensors["random/numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, *snapshot.facts["numpy"]))
    version, internal, gauss = snapshot.facts["python"]
    random.setstate((version, tuple(internal), gauss))


def save_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Write a checkpoint and remove all but the newest two.

    Raises:
        RunError: if it cannot be written, as on a full disk; the ones before are kept.
    """
    path = folder / f"checkpoint-{snapshot.step:09d}.safetensors"
    facts = {"schema": CHECKPOINT_SCHEMA, "step": snapshot.step, **snapshot.facts}
    try:
        with Staging(overwrite=True) as staging:
            content = save(snapshot.tensors, {"hrinet": json.dumps(facts)})
            staging.path(path).write_bytes(content)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be written: {error}") from error
    for old in checkpoints(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    for left in folder.iterdir():
        if _LEFTOVER.fullmatch(left.name):  # of a process that was killed
            left.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first.

    Raises:
        InputError: if the folder cannot be looked into.
    """
    try:
        there = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted((path for path in there if _FILE.fullmatch(path.name)), reverse=True)


def load_snapshot(path: Path) -> Snapshot:
    """Read a checkpoint.

    Raises:
        InputError: if it is damaged, or of another version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            facts = json.loads((file.metadata() or {})["hrinet"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        schema, step = facts.pop("schema"), facts.pop("step")
    except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is no checkpoint, or a damaged one") from error
    if schema != CHECKPOINT_SCHEMA or not isinstance(step, int):
        raise InputError(f"{path}: is a checkpoint of version {schema!r}, not {CHECKPOINT_SCHEMA}")
    return Snapshot(step=step, tensors=tensors, facts=facts)


def newest_snapshot(folder: Path) -> Snapshot | None:
    """The newest checkpoint that can be read, or None if there are none.

    Raises:
        InputError: if there are some and all are damaged.
    """
    problem: InputError | None = None
    for path in checkpoints(folder):
        try:
            return load_snapshot(path)
        except InputError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def _below(snapshot: Snapshot, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in snapshot.tensors.items()
        if name.startswith(prefix)
    }
