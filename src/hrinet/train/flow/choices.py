"""Which slices, crops and variations a batch consists of; no voxel is touched here.

A sample is five slices of one scan: the four around a gap and the one to predict. Its variations
stand for what a user's scans have and the training scans may lack:

* thick: each slice is the mean of several thin ones, of which the next one shares a part, as where
  the slice thickness exceeds the spacing; then neighbours have noise in common.
* coarse: crops reduced by area, as of a large field of view.
* smooth and sharp: softer and harder reconstruction kernels.
* noise: a lower dose.
* edge and uneven: a missing outer slice, or one at another distance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import InputError
from hrinet.synthesize.cubic import cubic_weights
from hrinet.train.flow.config import FlowTrainConfig

FACTORS = (2, 3, 4, 5, 6, 8)
FACTOR_SHARES = (0.42, 0.2, 0.16, 0.05, 0.12, 0.05)
"""Half of the users' scans need x2 to x4; x2 is where interpolation is already good."""

MOST_AVERAGED = 4
"""Slices that a thick one is the mean of, at the most."""

_LEAST_SLICES = 3 * FACTORS[0] + 2
"""Of the smallest sample that does not depend on a rare variation: x2, two slices averaged."""

REDUCED = 2
"""How many times larger the pixels of a coarse sample are."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What has to be known of a scan to choose from it.

    Attributes:
        patient: whose it is; patients, not scans, are sampled evenly.
        slices: how many.
        spacing_mm: of the slices.
        thickness_mm: of a slice, or None.
    """

    patient: str
    slices: int
    spacing_mm: float
    thickness_mm: float | None = None


def fingerprint(extents: Sequence[Extent]) -> str:
    """SHA-256 of which scans there are, without telling whose."""
    content = json.dumps([astuple(extent) for extent in extents])
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """A batch; every array's first axis is the sample.

    Attributes:
        starts: shape (batch, 5), first thin slice of each of the five, counted over all scans.
        averaged: shape (batch,), thin slices a slice.
        reduced: shape (batch,), how many times larger the pixels are.
        corner: shape (batch, 2), row and column of the crop.
        offsets: shape (batch, 4), positions of the slices; the inner ones lie at 0 and 1.
        thickness: shape (batch,), of the slices over the width of the gap; 0 if unknown.
        t: shape (batch,), position of the wanted one.
        weights: shape (batch, 4), of the cubic there.
        kernel: shape (batch, 2), width of a Gaussian in pixels, and how much of what it takes away
            is added; less than 0 softens.
        noise: shape (batch, 2), SD of added noise in HU, and its width in pixels.
        flips: shape (3, batch), mirror columns, rows, swap both.
        seed: of the noise.
    """

    starts: NDArray[np.int64]
    averaged: NDArray[np.int64]
    reduced: NDArray[np.int64]
    corner: NDArray[np.int64]
    offsets: NDArray[np.float32]
    thickness: NDArray[np.float32]
    t: NDArray[np.float32]
    weights: NDArray[np.float32]
    kernel: NDArray[np.float32]
    noise: NDArray[np.float32]
    flips: NDArray[np.bool_]
    seed: int


@dataclass(frozen=True, slots=True)
class _Position:
    starts: list[int]
    offsets: list[float]
    thickness: float
    t: float
    weights: list[float]


class Chooser:
    """Chooses batches; holds no voxels, so that it can be sent to another process."""

    def __init__(
        self, scans: Sequence[Extent], config: FlowTrainConfig, *, rows: int, columns: int
    ) -> None:
        """Look at what there is to choose from.

        Args:
            scans: in the order in which their slices are counted.
            config: of the run.
            rows: of every slice.
            columns: likewise.

        Raises:
            InputError: if no scan has enough slices.
        """
        most = max(scan.slices for scan in scans)
        if most < _LEAST_SLICES:
            raise InputError(
                f"the longest scan has {most} slices, expected one of {_LEAST_SLICES} or more"
            )
        self._scans, self._config = tuple(scans), config
        self._size = rows, columns
        self._first = np.cumsum([0, *(scan.slices for scan in scans)])
        patients = sorted({scan.patient for scan in scans})
        self._of_patient = [
            [index for index, scan in enumerate(scans) if scan.patient == patient]
            for patient in patients
        ]
        counts = [sum(scans[index].slices for index in group) for group in self._of_patient]
        # Between evenly over patients and evenly over slices.
        self._up_to = np.cumsum(np.sqrt(counts)) / np.sqrt(counts).sum()
        self._up_to_factor = np.cumsum(FACTOR_SHARES)

    def choose(self, step: int) -> Choices:
        """The batch of a step: the same for the same seed, number and scans."""
        config = self._config
        count = config.batch
        rng = np.random.default_rng([config.seed, step])
        averaged = np.ones(count, np.int64)
        positions = []
        for sample in range(count):
            position = None
            while position is None:
                averaged[sample] = stride = 1
                if rng.random() < config.thick:
                    averaged[sample] = 2 + int(rng.random() * (MOST_AVERAGED - 1))
                    stride = 1 + int(rng.random() * averaged[sample])
                position = self._position(rng, int(averaged[sample]), stride)
            positions.append(position)
        reduced = np.where(rng.random(count) < config.coarse, REDUCED, 1)
        side = config.crop * reduced
        room = np.stack([size - side + 1 for size in self._size], axis=1)
        kind = rng.random(count)
        is_smooth = kind < config.smooth
        is_sharp = ~is_smooth & (kind < config.smooth + config.sharp)
        width = np.where(is_smooth, rng.uniform(0.35, 1.1, count), rng.uniform(0.5, 0.9, count))
        amount = np.where(is_smooth, -1.0, np.where(is_sharp, rng.uniform(0.2, 0.9, count), 0.0))
        # Averaging thin slices has averaged their noise too, so thick ones get none.
        is_noisy = (rng.random(count) < config.noise) & (averaged == 1)
        level = np.where(is_noisy, rng.uniform(3, 25, count), 0.0)
        return Choices(
            starts=np.array([position.starts for position in positions]),
            averaged=averaged,
            reduced=reduced,
            corner=(rng.random((count, 2)) * room).astype(np.int64),
            offsets=np.array([position.offsets for position in positions], np.float32),
            thickness=np.array([position.thickness for position in positions], np.float32),
            t=np.array([position.t for position in positions], np.float32),
            weights=np.array([position.weights for position in positions], np.float32),
            kernel=np.stack([width, amount], axis=1).astype(np.float32),
            noise=np.stack([level, rng.uniform(0.3, 0.8, count)], axis=1).astype(np.float32),
            flips=rng.random((3, count)) < 0.5,
            seed=int(rng.integers(2**62)),
        )

    def _position(self, rng: np.random.Generator, averaged: int, stride: int) -> _Position | None:
        """A gap of a random scan, or None if the scan drawn has none like it."""
        config = self._config
        group = self._of_patient[int(np.searchsorted(self._up_to, rng.random()))]
        which = group[int(rng.random() * len(group))]
        scan = self._scans[which]
        factor = FACTORS[min(int(np.searchsorted(self._up_to_factor, rng.random())), 5)]
        gap = factor * stride
        if gap * scan.spacing_mm > config.largest_gap_mm and rng.random() < 0.9:
            return None
        before = after = gap
        if rng.random() < config.uneven:
            before = stride * (1 + int(rng.random() * 2 * factor))
            after = stride * (1 + int(rng.random() * 2 * factor))
        kept = [0, 1, 2, 3]
        if rng.random() < config.edge / 2:
            before = 0
            kept.remove(0)
        if rng.random() < config.edge / 2:
            after = 0
            kept.remove(3)
        span = before + gap + after + averaged
        if span > scan.slices:
            return None
        start = int(self._first[which]) + before + int(rng.random() * (scan.slices - span + 1))
        inner = stride * (1 + int(rng.random() * (factor - 1)))
        starts = [start - before, start, start + gap, start + gap + after, start + inner]
        t = inner / gap
        offsets = [-before / gap or -1.0, 0.0, 1.0, 1.0 + (after / gap or 1.0)]
        weights = [0.0] * 4
        known = cubic_weights([offsets[index] for index in kept], kept.index(1), t)
        for index, weight in zip(kept, known, strict=True):
            weights[index] = weight
        thickness = 0.0
        if scan.thickness_mm is not None and rng.random() >= config.unknown:
            thickness = ((averaged - 1) + scan.thickness_mm / scan.spacing_mm) / gap
        if rng.random() < 0.5:  # upside down
            starts[:4] = starts[3::-1]
            offsets = [1 - offset for offset in offsets[::-1]]
            weights.reverse()
            t = 1 - t
        return _Position(starts, offsets, thickness, t, weights)
