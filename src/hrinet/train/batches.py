"""What one step of training sees: micro-batches as tensors, prepared a step ahead.

A step takes ``d2_steps + 1`` draws of pairs: one for each update of D2 and the last for the
generator. The draws of step s are numbers ``s * (d2_steps + 1)`` and following in every model and
stage, so that the rows of an ablation see the same pairs, and what a step sees follows from its
number alone.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hrinet.train.cache import Cache
from hrinet.train.config import TrainConfig
from hrinet.train.sampling import PairSampler, RunSampler, sample_generator

Kind: TypeAlias = Literal["stage1", "unsupervised", "supervised"]
"""Of a step: stage 1, or step I or step II of Algorithm 1."""


def kind_of(config: TrainConfig, step: int) -> Kind:
    """What a step is: in stage 2 even ones are unsupervised, odd ones supervised (Algorithm 1)."""
    number = step - config.first_steps
    if number < 0:
        return "stage1"
    return "supervised" if config.alternating and number % 2 else "unsupervised"


class Pairs(NamedTuple):
    """Unrelated slices, and how to mix them.

    Attributes:
        first: shape (batch, 1, row, column), [0, 1].
        second: likewise.
        a: shape (batch,), uniform in [0, 1); a = 1 is ``first``.
        seed: of the gradient penalty's random points in the whole draw.
        position: of the first sample in the whole draw.
    """

    first: Tensor
    second: Tensor
    a: Tensor
    seed: int
    position: int


@dataclass(frozen=True, eq=False, kw_only=True)
class StepData:
    """Everything that a step needs; each list is of micro-batches.

    Attributes:
        pairs: for the generator and D1; empty in a supervised step.
        d2: for each update of D2; empty without them.
        runs: shape (batch, n, 1, row, column) each; empty but in a supervised step.
    """

    pairs: list[Pairs] = field(default_factory=list)
    d2: list[list[Pairs]] = field(default_factory=list)
    runs: list[Tensor] = field(default_factory=list)


class Batches:
    """The data of every step, for one process.

    A step's samples are divided first between processes, then into micro-batches; each part is to
    the samplers a rank of its own. So the division changes nothing but the order of sums.
    """

    def __init__(self, config: TrainConfig, cache: Cache, *, rank: int, processes: int) -> None:
        self._config = config
        self._cache = cache
        self._pairs = [
            PairSampler(
                cache=cache,
                batch=config.batch // (processes * config.accumulate),
                seed=config.seed,
                rank=rank * config.accumulate + part,
                world_size=processes * config.accumulate,
                flips=config.flips,
            )
            for part in range(config.accumulate)
        ]
        self._runs: list[RunSampler] = []
        if config.alternating and config.second_steps:
            # A run fills a micro-batch as n pairs do, so there may be fewer parts than of pairs.
            parts = math.gcd(config.accumulate, config.runs // processes)
            self._runs = [
                RunSampler(
                    cache=cache,
                    batch=config.runs // (processes * parts),
                    seed=config.seed,
                    rank=rank * parts + part,
                    world_size=processes * parts,
                    flips=config.flips,
                    length=config.run_length,
                )
                for part in range(parts)
            ]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides on the data besides the step: samplers, seed, fingerprint of the cache."""
        cached = {"size": self._cache.size, "window": list(self._cache.window)}
        # Every part says the same but for its batch, and "global_batch" is of all parts.
        return {
            "cache": cached,
            "pairs": self._pairs[0].identity,
            "runs": self._runs[0].identity if self._runs else None,
        }

    def load(self, step: int) -> StepData:
        """The data of a step, on the CPU."""
        kind = kind_of(self._config, step)
        if kind == "supervised":
            return StepData(runs=[torch.from_numpy(s.sample(step).slices) for s in self._runs])
        updates = self._config.d2_steps
        draw = step * (updates + 1)
        has_d2 = kind == "unsupervised" and self._config.d2
        return StepData(
            pairs=self._draw(draw + updates),
            d2=[self._draw(draw + update) for update in range(updates)] if has_d2 else [],
        )

    def _draw(self, draw: int) -> list[Pairs]:
        seed = self._config.seed
        of_draw = sample_generator(seed=seed, stream="penalty", number=draw)
        penalty_seed = int(of_draw.integers(2**62))
        parts = []
        for sampler in self._pairs:
            batch = sampler.sample(draw)
            first = (draw * sampler.world_size + sampler.rank) * sampler.batch
            numbers = range(first, first + sampler.batch)
            a = [sample_generator(seed=seed, stream="a", number=n).random() for n in numbers]
            parts.append(
                Pairs(
                    torch.from_numpy(batch.first),
                    torch.from_numpy(batch.second),
                    torch.from_numpy(np.asarray(a, np.float32)),
                    penalty_seed,
                    sampler.rank * sampler.batch,
                )
            )
        return parts


class Prefetched:
    """Batches that are read by a thread of their own while the step before computes.

    Use as a context manager, which ends the thread.
    """

    def __init__(self, batches: Batches, *, stop: int) -> None:
        """Read ahead of every step asked for, but never step ``stop`` or later."""
        self._batches = batches
        self._stop = stop
        self._reader = ThreadPoolExecutor(1, "hrinet-batches")
        self._next: tuple[int, Future[StepData]] | None = None

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.shutdown(cancel_futures=True)

    def load(self, step: int) -> StepData:
        """See :meth:`Batches.load`."""
        if self._next is not None and self._next[0] == step:
            data = self._next[1].result()
        else:
            data = self._batches.load(step)
        if step + 1 < self._stop:
            self._next = (step + 1, self._reader.submit(self._batches.load, step + 1))
        return data
