"""Batches for Algorithm 1: pairs of unrelated slices (step I) and runs of one scan (step II).

A sample depends on the seed and its number in the whole run of training alone. Rank r of w ranks
takes the samples ``(step * w + r) * batch ...`` of each step, so ranks never share a sample, any
division of one global batch gives the same training, and a resumed run needs no more than the step.
The bits come from NumPy's Philox, a counter-based generator (Salmon et al., SC 2011).
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import InputError, RequestError
from hrinet.geometry import UNIFORM_TOLERANCE
from hrinet.train import UnitArray, from_stored
from hrinet.train.cache import Cache, CachedVolume
from hrinet.train.manifest import Split

SAMPLER_SCHEMA = "hrinet-sampler-1"
"""Part of every state: raise it when the same seed and step give other samples."""

BatchT_co = TypeVar("BatchT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Taken:
    """Where one slice, or the first slice of a run, came from.

    Attributes:
        patient: whose.
        path: of the scan, relative to the manifest.
        index: of the slice in the scan.
        spacing_mm: median distance between the slices of the scan, mm.
        is_flipped_horizontally: whether columns were reversed.
        is_flipped_vertically: whether rows were reversed.
    """

    patient: str
    path: str
    index: int
    spacing_mm: float
    is_flipped_horizontally: bool
    is_flipped_vertically: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class PairBatch:
    """Unrelated slices, two by two.

    Attributes:
        first: shape (batch, 1, size, size), [0, 1].
        second: likewise.
        taken: where the two slices of each sample came from.
    """

    first: UnitArray
    second: UnitArray
    taken: tuple[tuple[Taken, Taken], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunBatch:
    """Runs of consecutive slices at even distances.

    Attributes:
        slices: shape (batch, n, 1, size, size), [0, 1].
        taken: where the first slice of each run came from.
    """

    slices: UnitArray
    taken: tuple[Taken, ...]


def sample_generator(*, seed: int, stream: str, number: int) -> np.random.Generator:
    """The random numbers that belong to one sample; also for what the loop draws (such as a).

    Args:
        seed: of the training.
        stream: what they are for; streams are independent of each other.
        number: of the sample, counted over all steps and ranks.
    """
    key = np.random.SeedSequence([seed, *stream.encode()]).generate_state(2, np.uint64)
    # The highest word counts samples, so that each has 2^192 blocks before it meets the next.
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))


def run_starts(volume: CachedVolume, length: int) -> NDArray[np.intp]:
    """First slices of all runs that are evenly spaced, with no flagged gap in them.

    Even means what :attr:`hrinet.geometry.Geometry.is_uniform` does, applied to the run: no origin
    lies more than 1 % of the spacing off the line of equal steps from the first to the last.

    Args:
        volume: the scan.
        length: number of slices, 2 or more.

    Returns:
        Increasing indices; empty if the scan has no such run.
    """
    count = volume.slices - length + 1
    if count < 1:
        return np.zeros(0, np.intp)
    starts = np.arange(count)
    runs = np.array(volume.origins)[starts[:, None] + np.arange(length)]
    fraction = np.linspace(0.0, 1.0, length)[:, None]
    grid = runs[:, :1] * (1 - fraction) + runs[:, -1:] * fraction
    error = np.linalg.norm(runs - grid, axis=2).max(axis=1)
    positions = np.array(volume.positions_mm)
    spacing = (positions[starts + length - 1] - positions[starts]) / (length - 1)
    flagged = np.zeros(volume.slices, np.intp)
    flagged[np.array(volume.flagged_gaps, dtype=np.intp) + 1] = 1
    before = np.cumsum(flagged)  # flagged gaps up to and including the one before a slice
    is_whole = before[starts + length - 1] == before[starts]
    return np.flatnonzero(is_whole & (error <= UNIFORM_TOLERANCE * spacing))


class Sampler(Protocol[BatchT_co]):
    """Anything that makes batches by step."""

    def sample(self, step: int) -> BatchT_co:
        """The batch of a step."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What decides on the batches besides the step and the rank; JSON."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class _BalancedSampler(ABC):
    """Draws a patient, one of their scans, and a place in it, each with equal probability.

    Attributes:
        cache: where the slices come from.
        batch: samples a step of this rank.
        seed: of the training, 0 or more.
        split: whose scans to draw from; no other scan is ever opened.
        rank: of this process.
        world_size: number of processes.
        flips: whether to flip at random, horizontally and vertically.

    Raises:
        RequestError: if batch, seed, rank or world_size make no sense.
        InputError: if the split has nothing to draw.
    """

    cache: Cache
    batch: int
    seed: int
    split: Split = "train"
    rank: int = 0
    world_size: int = 1
    flips: bool = True
    _scans: tuple[tuple[tuple[CachedVolume, NDArray[np.intp]], ...], ...] = field(
        init=False, repr=False
    )

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if self.batch < 1 or self.seed < 0 or not 0 <= self.rank < self.world_size:
            raise RequestError(
                f"batch {self.batch}, seed {self.seed}, rank {self.rank} of {self.world_size}: "
                "expected a batch of 1 or more, a seed of 0 or more and a rank below world_size"
            )
        by_patient: dict[str, list[tuple[CachedVolume, NDArray[np.intp]]]] = {}
        for volume in self.cache.of_split(self.split):
            places = self._places(volume)
            if len(places):
                by_patient.setdefault(volume.patient, []).append((volume, places))
        if not by_patient:
            raise InputError(f"{self.cache.folder}: {self._what_lacks()} in split {self.split}")
        object.__setattr__(self, "_scans", tuple(tuple(scans) for scans in by_patient.values()))

    @abstractmethod
    def _places(self, volume: CachedVolume) -> NDArray[np.intp]:
        """Indices of a volume at which a sample may begin."""

    @abstractmethod
    def _what_lacks(self) -> str:
        """What a cache without any place to sample from lacks, in words."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Whom samples are drawn from, each as often as the others."""
        return tuple(scans[0][0].patient for scans in self._scans)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides on the samples besides the step and the rank; JSON."""
        pixels = [
            [volume.patient, volume.path, volume.pixels_sha256, places.tolist()]
            for scans in self._scans
            for volume, places in scans
        ]
        return {
            "schema": SAMPLER_SCHEMA,
            "kind": self.kind,
            "seed": self.seed,
            "global_batch": self.batch * self.world_size,
            "flips": self.flips,
            "split": self.split,
            "data": hashlib.sha256(json.dumps(pixels).encode()).hexdigest(),
        }

    def _generators(self, step: int) -> Iterator[np.random.Generator]:
        if step < 0:
            raise RequestError(f"step is {step}, expected 0 or more")
        first = (step * self.world_size + self.rank) * self.batch
        for number in range(first, first + self.batch):
            yield sample_generator(seed=self.seed, stream=self.kind, number=number)

    def _draw(self, generator: np.random.Generator) -> tuple[CachedVolume, int]:
        scans = self._scans[generator.integers(len(self._scans))]
        volume, places = scans[generator.integers(len(scans))]
        return volume, int(places[generator.integers(len(places))])

    def _fill(
        self,
        output: UnitArray,
        volume: CachedVolume,
        index: int,
        generator: np.random.Generator,
    ) -> Taken:
        """Write the slices from ``index`` on, flipped alike, to an array (n, size, size)."""
        horizontally, vertically = (
            bool(bit) and self.flips for bit in generator.integers(2, size=2)
        )
        stored = self.cache.stored(volume)[index : index + len(output)]
        if horizontally:
            stored = stored[:, :, ::-1]
        if vertically:
            stored = stored[:, ::-1]
        from_stored(stored, out=output)
        return Taken(
            volume.patient, volume.path, index, volume.spacing_mm, horizontally, vertically
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PairSampler(_BalancedSampler):
    """Step I: any two slices of any patients, drawn and flipped independently of each other."""

    kind: ClassVar[str] = "pairs"

    def _places(self, volume: CachedVolume) -> NDArray[np.intp]:
        return np.arange(volume.slices)

    def _what_lacks(self) -> str:
        return "there is no scan"

    def sample(self, step: int) -> PairBatch:
        """The pairs of a step.

        Raises:
            InputError: if a file of the cache is damaged.
        """
        size = self.cache.size
        images = np.empty((2, self.batch, 1, size, size), np.float32)
        taken = []
        for position, generator in enumerate(self._generators(step)):
            first = self._draw(generator)
            second = self._draw(generator)
            if second == first:  # a pair is two slices: take the next one
                second = (first[0], (first[1] + 1) % first[0].slices)
            taken.append(
                (
                    self._fill(images[0, position], *first, generator),
                    self._fill(images[1, position], *second, generator),
                )
            )
        return PairBatch(first=images[0], second=images[1], taken=tuple(taken))


@dataclass(frozen=True, eq=False, kw_only=True)
class RunSampler(_BalancedSampler):
    """Step II: consecutive slices of one scan at even distances, all flipped alike.

    Patients without such a run are never drawn; see :attr:`patients`.

    Attributes:
        length: number of slices of a run, n in Algorithm 1; 3 or more, so that one lies inside.
    """

    kind: ClassVar[str] = "runs"
    length: int = 7

    def __post_init__(self) -> None:
        if self.length < 3:
            raise RequestError(f"length is {self.length}, expected 3 or more slices")
        super().__post_init__()

    def _places(self, volume: CachedVolume) -> NDArray[np.intp]:
        return run_starts(volume, self.length)

    def _what_lacks(self) -> str:
        return f"no scan has {self.length} consecutive slices at even distances"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides on the samples besides the step and the rank; JSON."""
        common = super().identity
        data = common.pop("data")  # last, as the length decides on it too
        return {**common, "length": self.length, "data": data}

    def sample(self, step: int) -> RunBatch:
        """The runs of a step.

        Raises:
            InputError: if a file of the cache is damaged.
        """
        size = self.cache.size
        slices = np.empty((self.batch, self.length, 1, size, size), np.float32)
        taken = []
        for position, generator in enumerate(self._generators(step)):
            volume, start = self._draw(generator)
            taken.append(self._fill(slices[position, :, 0], volume, start, generator))
        return RunBatch(slices=slices, taken=tuple(taken))


class SampleStream(Generic[BatchT_co]):
    """A sampler with a position: batch after batch, saved and restored with a checkpoint.

    Args:
        sampler: makes the batches.
        step: of the next batch.
    """

    def __init__(self, sampler: Sampler[BatchT_co], *, step: int = 0) -> None:
        self._sampler = sampler
        self._step = step

    def __iter__(self) -> Iterator[BatchT_co]:
        return self

    def __next__(self) -> BatchT_co:
        batch = self._sampler.sample(self._step)
        self._step += 1
        return batch

    @property
    def step(self) -> int:
        """Step of the next batch."""
        return self._step

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs; JSON, and the same on every rank.

        There is no generator state in it: the numbers of a sample follow from seed and step.
        """
        return {**self._sampler.identity, "step": self._step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a stream was when it gave ``state``.

        Raises:
            RequestError: if the sampler would not give the same batches, naming what differs.
        """
        expected = self._sampler.identity
        for name, value in expected.items():
            if state.get(name) != value:
                raise RequestError(
                    f"the saved sampler has {name} {state.get(name)!r}, this one {value!r}; resume "
                    "with the same data and options, or start anew"
                )
        step = state.get("step")
        if not isinstance(step, int) or step < 0:
            raise RequestError(f"the saved sampler has step {step!r}, expected a whole number")
        self._step = step
