"""Batches of crops, gathered and varied on the device that trains.

The scans lie in the device's memory, so that a batch takes milliseconds. What is in it is chosen
elsewhere, see :mod:`hrinet.train.flow.choices`, by processes of their own if wanted.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hrinet.errors import InputError
from hrinet.networks.flow_net import Gaps
from hrinet.train.flow.choices import MOST_AVERAGED, REDUCED, Choices, Chooser, Extent
from hrinet.train.flow.config import FlowTrainConfig

_AHEAD = 6
"""Batches chosen in advance, a process."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan of evenly spaced slices.

    Attributes:
        extent: its size.
        array: shape (slice, row, column), int16, HU.
        collection: where it was published; empty if the manifest does not say.
        licence: of the scan; likewise.
    """

    extent: Extent
    array: NDArray[np.int16]
    collection: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step learns from.

    Attributes:
        gaps: the slices around each gap.
        t: shape (batch,), where the wanted slice lies.
        weights: shape (batch, 4), of the cubic there.
        target: shape (batch, 1, row, column), HU.
    """

    gaps: Gaps
    t: Tensor
    weights: Tensor
    target: Tensor


class Samples:
    """Batches from scans in the memory of a device; a context manager."""

    def __init__(
        self,
        scans: Sequence[Scan],
        config: FlowTrainConfig,
        *,
        device: torch.device,
        start: int = 0,
    ) -> None:
        """Copy the scans to the device.

        Args:
            scans: of one size of slice, at least 2 * crop.
            config: of the run.
            device: that trains.
            start: number of the first batch.

        Raises:
            InputError: if their sizes differ.
        """
        sizes = {scan.array.shape[1:] for scan in scans}
        if len(sizes) != 1:
            raise InputError(f"the scans have slices of {len(sizes)} sizes, expected one")
        rows, columns = sizes.pop()
        if min(rows, columns) < REDUCED * config.crop:
            raise InputError(
                f"the slices have {rows} x {columns} pixels, less than {REDUCED} crops of "
                f"{config.crop}; set crop to a smaller multiple of 16"
            )
        self._crop, self._device = config.crop, device
        count = sum(len(scan.array) for scan in scans)
        self._voxels = torch.empty((count, rows, columns), dtype=torch.int16, device=device)
        end = 0
        for scan in scans:  # one by one, for two copies may be more than the device holds
            start_of_scan, end = end, end + len(scan.array)
            self._voxels[start_of_scan:end] = torch.from_numpy(scan.array).to(device)
        extents = [scan.extent for scan in scans]
        self._chooser = Chooser(extents, config, rows=rows, columns=columns)
        self._workers = config.workers
        self._pool = (
            ProcessPoolExecutor(
                config.workers, multiprocessing.get_context("spawn"), _ignore_interrupts
            )
            if config.workers
            else None
        )
        self._pending: deque[Future[Choices]] = deque()
        self._next = start

    def __enter__(self) -> Samples:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def batch(self) -> Batch:
        """The next batch."""
        choices = self._choices()
        device = self._device
        numbers = np.column_stack([choices.offsets, choices.weights, choices.t, choices.thickness])
        numbers_there = torch.from_numpy(numbers).to(device, non_blocking=True)
        offsets, weights, single = torch.split(numbers_there, [4, 4, 2], dim=1)
        slices = self._gather(choices)  # (batch, 5, crop, crop)
        noisy = np.flatnonzero(choices.noise[:, 0])
        if noisy.size:
            random = torch.Generator(device).manual_seed(choices.seed)
            level, width = self._columns(choices.noise[noisy])
            at = torch.from_numpy(noisy).to(device, non_blocking=True)
            slices[at] += level * _grains((len(noisy), *slices.shape[1:]), width, random)
        filtered = np.flatnonzero(choices.kernel[:, 1])
        if filtered.size:
            width, amount = self._columns(choices.kernel[filtered])
            at = torch.from_numpy(filtered).to(device, non_blocking=True)
            before = slices[at]
            slices[at] = before + amount * (before - _blurred(before, width))
        flips = torch.from_numpy(choices.flips).to(device, non_blocking=True)[..., None, None, None]
        slices = torch.where(flips[0], slices.flip(-1), slices)
        slices = torch.where(flips[1], slices.flip(-2), slices)
        slices = torch.where(flips[2], slices.transpose(-1, -2), slices).contiguous()
        return Batch(
            gaps=Gaps(slices[:, :4], offsets, single[:, 1]),
            t=single[:, 0],
            weights=weights,
            target=slices[:, 4:],
        )

    def _columns(self, pairs: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Two numbers a sample, each of shape (sample, 1, 1, 1)."""
        there = torch.from_numpy(pairs).to(self._device, non_blocking=True)
        return there[:, 0, None, None, None], there[:, 1, None, None, None]

    def _choices(self) -> Choices:
        number = self._next
        self._next += 1
        if self._pool is None:
            return self._chooser.choose(number)
        while len(self._pending) <= _AHEAD * self._workers:
            ahead = number + len(self._pending)
            self._pending.append(self._pool.submit(self._chooser.choose, ahead))
        return self._pending.popleft().result()

    def _gather(self, choices: Choices) -> Tensor:
        """The crops, averaged over slices and reduced; shape (batch, 5, crop, crop), HU."""
        crop, device = self._crop, self._device
        shape = (len(choices.t), 5, crop, crop)
        result = torch.empty(shape, dtype=torch.float32, device=device)
        starts = torch.from_numpy(choices.starts).to(device, non_blocking=True)
        corner = torch.from_numpy(choices.corner).to(device, non_blocking=True)
        for reduced in (1, REDUCED):
            span = torch.arange(crop * reduced, device=device)
            for averaged in range(1, MOST_AVERAGED + 1):
                found = (choices.reduced == reduced) & (choices.averaged == averaged)
                if not found.any():
                    continue
                members = torch.from_numpy(np.flatnonzero(found)).to(device, non_blocking=True)
                z = starts[members][:, :, None] + torch.arange(averaged, device=device)
                y = corner[members, 0, None] + span
                x = corner[members, 1, None] + span
                values = self._voxels[
                    z[..., None, None], y[:, None, None, :, None], x[:, None, None, None, :]
                ]  # (member, 5, averaged, side, side)
                mean = values.to(torch.float32).mean(2)
                result[members] = mean if reduced == 1 else functional.avg_pool2d(mean, reduced)
        return result


def _ignore_interrupts() -> None:
    """Let Ctrl-C, which reaches all processes of a terminal, end the run through the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _grains(shape: tuple[int, ...], width: Tensor, random: torch.Generator) -> Tensor:
    """Noise of SD 1 and a given grain, independent from slice to slice."""
    white = torch.randn(shape, generator=random, device=random.device)
    grains = _blurred(white, width)
    return grains / grains.std(dim=(1, 2, 3), keepdim=True)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, of a width of its own for every sample.

    Args:
        images: shape (batch, slice, row, column).
        sigma: shape (batch, 1, 1, 1), pixels.
    """
    rows, columns = images.shape[-2:]
    x = torch.arange(-3, 4, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma).square())  # (batch, 1, 1, 7)
    kernel = (kernel / kernel.sum(-1, keepdim=True))[..., None]  # (batch, 1, 1, 7, 1)
    padded = functional.pad(images, (3, 3, 3, 3), "reflect")
    across = sum(kernel[..., k, :] * padded[:, :, k : k + rows] for k in range(7))
    assert isinstance(across, Tensor)
    both = sum(kernel[..., k, :] * across[..., k : k + columns] for k in range(7))
    assert isinstance(both, Tensor)
    return both
