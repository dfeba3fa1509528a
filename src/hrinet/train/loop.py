"""The training of a model: two stages, of which the second alternates (thesis 3.2, Algorithm 1).

Run it with ``hrinet train``, or :func:`train`. What a step computes is in
:mod:`hrinet.train.steps`, what it sees in :mod:`hrinet.train.batches`; this is the order of things.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from hrinet.errors import HrinetError, InputError, RequestError
from hrinet.train.batches import Batches, Prefetched, kind_of
from hrinet.train.cache import Cache
from hrinet.train.caching import build_cache
from hrinet.train.checkpoint import Snapshot, restore_snapshot, save_snapshot, take_snapshot
from hrinet.train.config import MAY_CHANGE, TrainConfig, config_json
from hrinet.train.export import export_weights
from hrinet.train.folders import make_folder, require_no_file
from hrinet.train.guards import Guards, check_finite
from hrinet.train.log import Progress, TrainingLog
from hrinet.train.manifest import load_manifest
from hrinet.train.memory import TooLittleMemoryError, enough_memory, freed_memory_kept
from hrinet.train.processes import first_does, in_one_line
from hrinet.train.resume import (
    averaged_before,
    require_average,
    require_same_data,
    require_same_past,
    snapshot_to_resume,
)
from hrinet.train.start import start_from_stage1, start_from_weights
from hrinet.train.steps import Players, d2_step, supervised_step, unsupervised_step
from hrinet.train.stopping import Result, stopping
from hrinet.train.strips import draw_strip, save_strip, strip_pair
from hrinet.weights.find import find_weights


def train(config: TrainConfig, *, progress: Progress | None = None) -> Result:
    """Train a model, or go on where an earlier run of the same configuration stopped.

    Ctrl-C and SIGTERM end it after the step at hand, with a checkpoint; a second one at once.
    With several processes the same call runs in each; only the first writes files.

    Args:
        config: of the run.
        progress: called after every step, in the first process.

    Raises:
        InputError: if the cache or a checkpoint cannot be used.
        RequestError: if the configuration does not fit the cache, the machine or the checkpoint.
        RunError: if a guard stops it, or a file cannot be written.
    """
    fabric = _launch(config)
    try:
        with _deterministic(config.deterministic), freed_memory_kept():
            return _train(config, fabric, progress if fabric.is_global_zero else None)
    except HrinetError as error:
        if fabric.is_global_zero:
            raise
        if isinstance(error, TooLittleMemoryError):  # which the first may not have met
            raise SystemExit(f"process {fabric.global_rank}: {error}") from None
        raise SystemExit(error.exit_code) from None  # else the first process says why
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _train(config: TrainConfig, fabric: Fabric, progress: Progress | None) -> Result:
    # Training draws from generators of its own; these are for whatever else may draw.
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)
    torch.manual_seed(config.seed)
    folder = config.output_folder()
    for needed in (folder, folder / "strips"):  # before hours of building a cache
        require_no_file(needed)
    snapshot = snapshot_to_resume(folder, config, may_change=MAY_CHANGE)
    if snapshot is None and config.start_from:
        find_weights(Path(config.start_from))
    with enough_memory("reading the scans into the cache", "use a machine with more"):
        cache = _open_cache(config, fabric, progress)
    with enough_memory("the networks", "set width to less, or use a machine with more"):
        begun = _begin(config, fabric, cache, snapshot)
    batches, players, guards = begun.batches, begun.players, begun.guards
    start, started_from = begun.step, begun.started_from
    # From here on no process reads old checkpoints, which the first one removes.
    first_does(fabric, lambda: make_folder(folder))

    def save(done: int) -> None:
        check_finite(done, players.networks())
        facts = {
            "config": config_json(config),
            "data": batches.identity,
            "low_checks": guards.low_checks,
            "averaged": players.averaged,
            "started_from": started_from,
        }
        networks, optimizers = players.networks(), players.optimizers

        def write() -> Path:
            snapshot = take_snapshot(
                step=done, networks=networks, optimizers=optimizers, facts=facts
            )
            return save_snapshot(folder, snapshot)

        first_does(fabric, write)

    with enough_memory(*_too_large(config)), ExitStack() as stack:
        pair = strip_pair(cache, seed=config.seed)
        first, second = (torch.from_numpy(image).to(fabric.device) for image in pair)
        log: TrainingLog | None = None
        if fabric.is_global_zero:
            log = stack.enter_context(
                TrainingLog(folder, step=start, tensorboard=config.tensorboard)
            )
        stop = stack.enter_context(stopping(fabric, config.max_minutes))
        ahead = stack.enter_context(Prefetched(batches, stop=config.steps))
        step, logged, since = start, start, time.monotonic()
        while step < config.steps:
            data = ahead.load(step)
            kind = kind_of(config, step)
            if kind == "stage1":
                unsupervised_step(players, data.pairs, with_d2=False)
            elif kind == "unsupervised":  # Step I
                players.begin_stage2()
                for update in data.d2:  # five updates of D2 for one of the generator
                    d2_step(players, update)
                unsupervised_step(players, data.pairs, with_d2=True)
            else:  # Step II
                supervised_step(players, data.runs)
            step += 1

            is_last = stop(step) or step == config.steps
            is_saved = is_last or _is_due(step, config.checkpoint_every, config.first_steps)
            if is_saved or _is_due(step, config.log_every):
                figures = players.collect_figures()
                now = time.monotonic()
                if log is not None:
                    rate = {"steps_per_second": (step - logged) / max(now - since, 1e-9)}
                    log.write(step, 1 if kind == "stage1" else 2, {**figures, **rate})
                guards.check(step, figures)
                since, logged = now, step
            is_shown = is_last or _is_due(step, config.strip_every, config.first_steps)
            if fabric.is_global_zero and is_shown:
                strip = draw_strip(
                    players.result, first, second, slices=config.run_length, window=cache.window
                )
                save_strip(strip, folder / "strips" / f"step-{step:09d}.png")
            if is_saved:
                save(step)
            if progress is not None:
                progress(step, config.steps, _WORDS[kind])
            if is_last:
                break
        weights = folder / "weights.safetensors"
        if fabric.is_global_zero:
            weights = export_weights(
                players.result,
                folder,
                config=config,
                cache=cache,
                step=step,
                averaged=players.averaged,
                started_from=started_from,
            )
        return Result(
            step=step,
            steps=config.steps,
            weights=weights,
            signal=stop.signal,
            is_finished=step == config.steps,
            is_main=fabric.is_global_zero,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """What a run holds before its first step.

    Attributes:
        batches: what it sees.
        players: its networks and their optimizers.
        guards: what stops it.
        step: number of steps that were done.
        started_from: description of the weights that it began with.
    """

    batches: Batches
    players: Players
    guards: Guards
    step: int
    started_from: dict[str, Any] | None


def _begin(config: TrainConfig, fabric: Fabric, cache: Cache, snapshot: Snapshot | None) -> _Begun:
    """Make the networks, and put them where the checkpoint or other weights leave off."""
    folder = config.output_folder()
    batches = Batches(config, cache, rank=fabric.global_rank, processes=fabric.world_size)
    players = Players.of(config, fabric)
    guards = Guards(config)
    start = 0
    started_from: dict[str, Any] | None = None
    if snapshot is not None:
        require_same_data(
            *_comparable(snapshot.facts["data"], batches.identity),
            folder=folder,
            scans=f"{config.cache} holds",
        )
        require_same_past(snapshot, config, folder=folder)
        if snapshot.step > config.first_steps:
            players.begin_stage2()
        averaged = averaged_before(snapshot, config)
        if averaged:
            players.begin_average(averaged)
        restore_snapshot(snapshot, networks=players.networks(), optimizers=players.optimizers)
    elif config.stage1_from:
        snapshot = start_from_stage1(players, config, batches.identity)
    elif config.start_from:
        started_from = start_from_weights(
            players.generator, Path(config.start_from), window=cache.window
        )
    if snapshot is not None:
        start = snapshot.step
        started_from = snapshot.facts.get("started_from")
        guards.low_checks = int(snapshot.facts["low_checks"])
    if players.average is None:
        players.begin_average()
    require_average(config, folder=folder, averaged=players.averaged, step=start)
    return _Begun(batches, players, guards, start, started_from)


def _too_large(config: TrainConfig) -> tuple[str, str]:
    """What a step takes memory for, and what to do about it."""
    more = (
        parts
        for parts in range(config.accumulate + 1, config.batch + 1)
        if config.batch % (config.processes * parts) == 0
    )
    parts = next(more, None)
    advice = (
        f"set accumulate to {parts} or more, which leaves the result as it is"
        if parts
        else "set size to less, or use a machine with more"
    )
    return f"a step of {config.batch} pairs of {config.size} x {config.size} pixels", advice


_WORDS = {"stage1": "stage 1", "unsupervised": "stage 2", "supervised": "stage 2"}


def _is_due(step: int, every: int, also: int = -1) -> bool:
    return step % every == 0 or step == also


def _launch(config: TrainConfig) -> Fabric:
    """Start the processes; each of them gets here."""
    has_gpu = config.accelerator in ("auto", "cuda") and torch.cuda.is_available()
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_gpu and torch.cuda.is_bf16_supported() else "32-true"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.processes > 1 else "auto",
            precision=precision,
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise RequestError(
            f"accelerator {config.accelerator!r} with {config.devices} devices cannot be had here "
            f"({in_one_line(error)}); set accelerator and devices to what there is"
        ) from error
    fabric.launch()
    return fabric


def _open_cache(config: TrainConfig, fabric: Fabric, progress: Progress | None) -> Cache:
    """The cached slices, built first where a manifest is given."""

    def shown(done: int, scans: int) -> None:
        if progress is not None:
            progress(done, scans, "reading scans")

    def built() -> Cache:
        if config.manifest:
            manifest = load_manifest(config.manifest)
            build_cache(
                manifest,
                config.cache,
                size=config.size,
                window=config.window_hu,
                progress=shown,
            )
        cache = Cache.open(config.cache)
        if config.manifest and cache.skipped:
            lost = cache.skipped[0]
            raise InputError(
                f"{config.manifest} lists {lost.path}, which cannot be used ({lost.reason}); put "
                "it right, or take it out of the manifest"
            )
        if cache.size != config.size:
            raise RequestError(
                f"{config.cache}: holds slices of {cache.size} x {cache.size} pixels, but size is "
                f"{config.size}; set size to {cache.size} or build another cache"
            )
        if cache.window != config.window_hu:
            raise RequestError(
                f"{config.cache}: holds slices of the window {list(cache.window)} HU, but "
                f"window_hu is {list(config.window_hu)}; set window_hu to the former or build "
                "another cache"
            )
        return cache

    return first_does(fabric, built) or Cache.open(config.cache)


def _comparable(found: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """What two runs say of their data; without that of runs where one of them has no stage 2."""
    if found["runs"] is None or wanted["runs"] is None:
        return [{**identity, "runs": None} for identity in (found, wanted)]
    return [found, wanted]


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Let kernels give the same bits every time, or the fastest be chosen, while the block runs."""
    was, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # costs time, tells nothing
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=warned)
        memory.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
