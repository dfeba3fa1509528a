"""What the tests of training share; run as a script it trains, and kills itself if told to.

``python train_tools.py '{"cache": ..., "output": ...}' [STEP]``
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hrinet
from conftest import make_geometry
from hrinet.train.cache import Cache
from hrinet.train.caching import build_cache
from hrinet.train.config import TrainConfig, config_json, config_of, load_config
from hrinet.train.fields import recipe_names
from hrinet.train.manifest import Entry, Manifest

SIZE = 64
FAMILY_RECIPES = [name for name in recipe_names() if name != "hrinet-flow"]
TINY = {
    "size": SIZE,
    "width": 2,
    "patchgan_width": 4,
    "receptive_field": 16,
    "stage1_steps": 4,
    "stage2_steps": 6,
    "batch": 4,
    "runs": 2,
    "d2_steps": 2,
    "learning_rate": 1e-3,
    "accelerator": "cpu",
    "checkpoint_every": 3,
    "log_every": 2,
    "tensorboard": False,
}


def make_cache(root: Path) -> Cache:
    """Blobs that wander from slice to slice; three patients to train on, one to validate."""
    entries = []
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for number, patient in enumerate("abcv"):
        rng = np.random.default_rng(number)
        geometry = make_geometry(3.0 * np.arange(12), rows=SIZE, columns=SIZE)
        centre, speed = rng.uniform(16, 48, (6, 2)), rng.uniform(-1, 1, (6, 2))
        array = np.full(geometry.shape, -1000.0)
        for index in range(12):
            for y, x in centre + speed * index:
                array[index] += 900 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 50)
        name = f"{patient}.nii"
        volume = hrinet.Volume(array=array.clip(-1024, 3071).astype(np.int16), geometry=geometry)
        hrinet.write(volume, root / name)
        split = "validation" if patient == "v" else "train"
        entries.append(
            Entry(path=name, patient=patient, split=split, collection="made", licence="CC0")
        )
    return build_cache(Manifest(root=root, entries=tuple(entries)), root / "cache", size=SIZE)


def tiny(cache: Cache, output: Path, recipe: str = "hrinet-mse", **changes: Any) -> TrainConfig:
    """A recipe, made tiny."""
    changes = {**TINY, "cache": str(cache.folder), "output": str(output), **changes}
    if recipe.startswith("receptive-field"):
        changes["receptive_field"] = load_config(recipe).receptive_field
    return config_of({**config_json(load_config(recipe)), **changes}, subject=recipe)


def train_elsewhere(config: TrainConfig, *, kill_at: int | None = None) -> int:
    """Train in a process of its own; returns its exit status, negative for a signal."""
    command = [sys.executable, __file__, json.dumps(config_json(config))]
    if kill_at is not None:
        command.append(str(kill_at))
    source = str(Path(hrinet.__file__).parents[1])
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, here])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode > 0:
        raise AssertionError(done.stderr)
    return done.returncode


if __name__ == "__main__":
    import torch

    from hrinet.errors import HrinetError, RunError
    from hrinet.train import loop

    torch.set_num_threads(1)
    given = config_of(json.loads(sys.argv[1]), subject="test")
    check_finite = loop.check_finite

    def note_weights(step: int, networks: dict[str, torch.nn.Module]) -> None:
        """Leave a hash of what this process has, whenever something is saved."""
        check_finite(step, networks)
        digest = hashlib.sha256(str(step).encode())
        for network in networks.values():
            for parameter in network.parameters():
                digest.update(parameter.detach().numpy().tobytes())
        name = f"rank-{os.environ.get('LOCAL_RANK', 0)}.txt"
        (given.output_folder() / name).write_text(digest.hexdigest())

    loop.check_finite = note_weights
    fatal = int(sys.argv[2]) if len(sys.argv) > 2 else None

    def progress(done: int, total: int, what: str) -> None:
        if done == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.train(given, progress=progress)

    def note_end(name: str, config: TrainConfig) -> None:
        """Leave how a training ends in this process that only the first one has reason to end."""
        # A port of its own: the other process must not find the store of the training before, which
        # the first one may not have closed yet, and wait in it for ever.
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
        try:
            loop.train(config)
        except (HrinetError, SystemExit) as error:
            name = f"{name}-{os.environ.get('LOCAL_RANK', 0)}.txt"
            (given.output_folder() / name).write_text(repr(error))

    def fill_the_disk(folder: Path, snapshot: object) -> Path:
        raise RunError("no space left")

    if given.devices > 1:
        elsewhere = str(given.output_folder() / "failed")
        note_end("missing", replace(given, manifest="none.json", output=elsewhere))
        loop.save_snapshot = fill_the_disk
        note_end("full", replace(given, output=elsewhere))
