"""The trained generators of the family, run on whole slices.

The two slices of a gap are encoded once; every position mixes their feature maps and decodes them.
A generator knows nothing outside the window of HU that it was trained on. There, and nowhere else,
the result is that of the cubic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from hrinet.networks.mixing import alpha_from_position
from hrinet.networks.padding import crop_to
from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.fallback import blend, outside_window
from hrinet.synthesize.interpolator import Gap, WeightsId
from hrinet.synthesize.torch_device import find_device
from hrinet.train import to_hu, to_unit
from hrinet.types import SliceArray
from hrinet.weights.generator import TrainedGenerator

_MOST_GAPS = 4
"""Gaps at the same time, however many cores: each takes about 80 MB at 512 x 512. Two gaps of one
thread each were measured to be 15 % faster than one of two."""

_OVERSHOOT = 0.01
"""How far the generator may leave its window before its output counts as saturated, of [0, 1]."""


class Family:
    """A trained generator, with the cubic outside its window."""

    def __init__(self, trained: TrainedGenerator, *, device: str = "cpu") -> None:
        """Take a generator over.

        Args:
            trained: for gray images; its network is changed to compute faster.
            device: of PyTorch.

        Raises:
            RequestError: if there is no such device.
        """
        self._device = find_device(device)
        self.engine = "cpu" if device == "cpu" else f"torch {device}"
        self.precision = "f32"
        # Channels last is the faster layout on a CPU, by a tenth to a half.
        self._network = trained.network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self._network.modules():
            if isinstance(module, torch.nn.LeakyReLU):
                module.inplace = True  # A sixth of the time went into fresh memory.
        self._window = trained.window_hu
        self.weights = WeightsId(trained.description.name, trained.description.sha256)
        self.name = trained.description.name

    def gaps_at_once(self, threads: int) -> int:
        """One a core, up to a limit; see :class:`hrinet.synthesize.interpolator.Multithreaded`."""
        return min(threads, _MOST_GAPS)

    @contextmanager
    def using(self, *, gaps: int, threads: int) -> Iterator[Family]:
        """Let PyTorch use so many threads in each gap until the context ends."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield self
        finally:
            torch.set_num_threads(before)

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield one float32 slice for every t; see :class:`Interpolator`."""
        inner = gap.slices[gap.left], gap.slices[gap.left + 1]
        outside = outside_window(inner[0], self._window) | outside_window(inner[1], self._window)
        first, second = self._encode(inner)
        rows, columns = inner[0].shape
        for position, cubic in zip(t, Cubic().synthesize(gap, t), strict=True):
            unit = self._decode(first, second, position, rows, columns)
            saturated = (unit < -_OVERSHOOT) | (unit > 1 + _OVERSHOOT)
            yield blend(to_hu(unit, self._window), cubic, outside | saturated)

    def _encode(
        self, pair: tuple[SliceArray, SliceArray]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The feature maps of two slices, each (1, channel, row / k, column / k)."""
        multiple = self._network.multiple
        rows, columns = pair[0].shape
        below, right = -rows % multiple, -columns % multiple
        # As in training, what is added to make the size fit is air; centred as crop_to expects.
        padded = np.zeros((2, 1, rows + below, columns + right), np.float32)
        top, left = below // 2, right // 2
        for index, values in enumerate(pair):
            unit = to_unit(values, self._window)
            unit[~np.isfinite(values)] = 0.0
            padded[index, 0, top : top + rows, left : left + columns] = unit
        with torch.inference_mode():
            maps = self._network.encode(torch.from_numpy(padded).to(self._device))
            return tuple(m[:1] for m in maps), tuple(m[1:] for m in maps)

    def _decode(
        self,
        first: tuple[Tensor, ...],
        second: tuple[Tensor, ...],
        position: float,
        rows: int,
        columns: int,
    ) -> SliceArray:
        """The slice at one position, shape (row, column), around [0, 1].

        One at a time: all of a gap at once was not faster, and takes memory for each.
        """
        with torch.inference_mode():
            a = torch.tensor(
                [alpha_from_position(position)], dtype=torch.float32, device=self._device
            )
            image = self._network.decode(self._network.mix(first, second, a))
            return np.asarray(crop_to(image, rows, columns)[0, 0].cpu().numpy())
