"""Sample strips: how one unrelated pair is interpolated as training goes on (Figure 4-9)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hrinet.errors import InputError, RunError
from hrinet.io.staging import Staging
from hrinet.losses.supervised_loss import supervised_alphas
from hrinet.networks.generator import Generator
from hrinet.train import UnitArray, Window, to_hu
from hrinet.train.cache import Cache
from hrinet.train.sampling import PairSampler

SHOWN_HU = (-1000.0, 1000.0)
"""Black and white; the whole window would leave soft tissue a uniform gray."""


def strip_pair(cache: Cache, *, seed: int) -> tuple[UnitArray, UnitArray]:
    """The pair that every strip of a run shows, of the validation scans if there are any.

    Returns:
        Two slices of shape (1, 1, size, size), [0, 1].
    """
    try:
        sampler = PairSampler(cache=cache, batch=1, seed=seed, split="validation", flips=False)
    except InputError:
        sampler = PairSampler(cache=cache, batch=1, seed=seed, flips=False)
    batch = sampler.sample(0)
    return batch.first, batch.second


@torch.no_grad()
def draw_strip(
    generator: Generator, first: Tensor, second: Tensor, *, slices: int, window: Window
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The first image, the interpolations between, the second; left to right.

    Args:
        generator: as it is now.
        first: shape (1, 1, row, column), [0, 1].
        second: likewise.
        slices: in the strip, the two ends included.
        window: HU of 0 and 1.

    Returns:
        Gray levels, shape (row, slices * column).
    """
    a = supervised_alphas(slices).to(first.device)[None]  # (1, slices - 2)
    between = generator.interpolate(first, second, a)[0]  # (slices - 2, 1, row, column)
    images = torch.cat([first, between.to(first.dtype), second])[:, 0]  # (slices, row, column)
    values = to_hu(images.float().cpu().numpy(), window)
    low, high = SHOWN_HU
    gray = np.clip((values - low) / (high - low), 0, 1) * 255
    return np.hstack(list(np.rint(np.nan_to_num(gray)).astype(np.uint8)))


def save_strip(strip: np.ndarray[tuple[int, int], np.dtype[np.uint8]], path: Path) -> None:
    """Write a PNG, complete or not at all.

    Raises:
        RunError: if its folder cannot be made. What the run has written so far stays.
    """
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, expected a folder" if path.parent.is_file() else error.strerror
        raise RunError(
            f"{path.parent}: {reason}; move it away and give the same command again, which goes on "
            "from the last checkpoint, if there is one"
        ) from error
    with Staging(overwrite=True) as staging:
        Image.fromarray(strip).save(staging.path(path), format="PNG")
