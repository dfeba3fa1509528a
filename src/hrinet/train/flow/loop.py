"""The training of ``hrinet-flow``, on one CPU or GPU; run it with ``hrinet train hrinet-flow``."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import AdamW, Optimizer

from hrinet.errors import InputError, RequestError, RunError
from hrinet.networks.flow_net import FlowNet
from hrinet.train.checkpoint import (
    Snapshot,
    restore_snapshot,
    save_snapshot,
    take_snapshot,
)
from hrinet.train.flow.choices import fingerprint
from hrinet.train.flow.config import MAY_CHANGE, FlowTrainConfig
from hrinet.train.flow.export import export_flow
from hrinet.train.flow.objective import objective
from hrinet.train.flow.optimizer import Muon
from hrinet.train.flow.samples import Batch, Samples, Scan
from hrinet.train.flow.scans import load_scans
from hrinet.train.folders import make_folder, require_no_file
from hrinet.train.log import Progress, TrainingLog
from hrinet.train.memory import enough_memory, freed_memory_kept
from hrinet.train.processes import in_one_line
from hrinet.train.resume import require_same_data, snapshot_to_resume
from hrinet.train.stopping import Result, stopping
from hrinet.weights.files import read_weights

_BLOCK = re.compile(r"(decoder\.blocks|encoder\.texture)\.\d+\.")
"""Names of weights in blocks, of which there may be any number."""

_OUTLIER = 20.0
"""A gradient this many times the clip is of a batch that teaches nothing; it is left out."""

_MOST_OUTLIERS = 200
"""In a row; then the run has diverged. Of a short run it is half of its steps."""


def learning_rate(step: int, progress: float, config: FlowTrainConfig) -> float:
    """The rate of a step: a cosine down to 1 % of the peak, with a linear warm-up.

    Args:
        step: number of the step.
        progress: share of the schedule that is over, in [0, 1].
        config: of the run.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    warmth = min(1.0, (step + 1) / max(1, config.warm_up))
    return config.learning_rate * warmth * (0.01 + 0.99 * cosine)


def train_flow(config: FlowTrainConfig, *, progress: Progress | None = None) -> Result:
    """Train, or go on where an earlier run of the same configuration stopped.

    Ctrl-C and SIGTERM end it after the step at hand, with a checkpoint; a second one at once. What
    is exported is the moving average of the weights.

    Args:
        config: of the run.
        progress: called after every step; where a time was set, with a guess at the steps in all.

    Raises:
        InputError: if scans or a checkpoint cannot be used.
        RequestError: if the configuration does not fit the machine or the checkpoint.
        RunError: if it diverges, or a file cannot be written.
    """
    if not config.manifest:
        raise RequestError(
            "there is no manifest of scans to train on; pass --manifest JSON, which "
            "'hrinet manifest FOLDER' writes"
        )
    folder = config.output_folder()
    require_no_file(folder)
    snapshot = snapshot_to_resume(folder, config, may_change=MAY_CHANGE)
    fabric = _fabric(config)
    scans = load_scans(config.manifest)
    extents = [scan.extent for scan in scans]
    sources = [(scan.collection, scan.licence) for scan in scans]
    data = fingerprint(extents)
    if snapshot is not None:
        require_same_data(
            snapshot.facts.get("data", data), data, folder=folder, scans=f"{config.manifest} lists"
        )
    step, spent = 0, 0.0
    with enough_memory("the network", "use a machine or a device with more"):
        player = _Player(config, fabric)
        if snapshot is not None:
            restore_snapshot(
                snapshot, networks=player.networks, optimizers={"network": player.optimizer}
            )
            step, spent = snapshot.step, float(snapshot.facts["elapsed_s"])
        elif config.start_from:
            player.start_from(Path(config.start_from))
    make_folder(folder)

    with (
        TrainingLog(folder, step=step, tensorboard=False) as log,
        _samples(scans, config, fabric, start=step) as samples,
        stopping(fabric, config.max_minutes) as stop,
        freed_memory_kept(),
        enough_memory(
            f"{config.batch} crops of {config.crop} x {config.crop} pixels a step",
            "begin again in another output folder with a smaller batch",
        ),
    ):
        del scans  # The samples have a copy.
        began = since = time.monotonic()
        logged, elapsed, over = step, spent, config.schedule(step, spent)
        while over < 1:
            player.step(samples.batch(), step, over)
            step += 1
            now = time.monotonic()
            elapsed = spent + now - began
            over = config.schedule(step, elapsed)
            is_last = stop(step) or over >= 1
            is_saved = is_last or step % config.checkpoint_every == 0
            if is_saved or step % config.log_every == 0:
                rate = {"steps_per_second": (step - logged) / max(now - since, 1e-9)}
                log.write(step, 1, {**player.collect_figures(), **rate})
                logged, since = step, now
                player.check(step)
            if is_saved:
                facts = {
                    "config": asdict(config),
                    "data": data,
                    "elapsed_s": elapsed,
                }
                save_snapshot(folder, player.snapshot(step, facts))
            if progress is not None:
                in_all = config.steps if config.minutes is None else round(step / over)
                progress(step, max(step, in_all), "training")
            if is_last:
                break
    weights = export_flow(
        player.average, folder, config=config, extents=extents, sources=sources, step=step
    )
    return Result(
        step=step,
        steps=config.steps if config.minutes is None else None,
        weights=weights,
        signal=stop.signal,
        is_finished=over >= 1,
    )


class _Player:
    """The network that learns, its moving average, and what a step does to them."""

    def __init__(self, config: FlowTrainConfig, fabric: Fabric) -> None:
        torch.manual_seed(config.seed)
        self._config, self._fabric = config, fabric
        self.network, self.average = FlowNet(config.network()), FlowNet(config.network())
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)
        for each in (self.network, self.average):
            each.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = {"network": self.network, "average": self.average}
        self.optimizer = _optimizer(self.network, config)
        self._parameters: list[Tensor] = list(self.network.parameters())
        self._averages: list[Tensor] = list(self.average.parameters())
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._nothing = torch.zeros((), device=fabric.device)
        self._outliers = torch.zeros((), device=fabric.device)

    def start_from(self, path: Path) -> None:
        """Take weights of an earlier training over, of as many blocks or fewer."""
        tensors, _ = read_weights(path)
        for name, parameter in self.network.named_parameters():
            if name not in tensors and _BLOCK.match(name):
                is_last = ".second." in name  # of zeros, what enters a block leaves it
                tensors[name] = torch.zeros_like(parameter) if is_last else parameter.detach()
        try:
            self.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(f"{path}: does not fit the network of this configuration") from error
        self.average.load_state_dict(self.network.state_dict())

    def step(self, batch: Batch, step: int, over: float) -> None:
        """Learn from a batch.

        Args:
            batch: of the device.
            step: number of the step.
            over: share of the schedule that is over.
        """
        config, parameters = self._config, self._parameters
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, over, config)
        loss, figures = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        usable = norm < _OUTLIER * config.clip  # false for NaN
        for parameter in parameters:  # without asking the device, which would wait for it
            assert parameter.grad is not None
            parameter.grad = torch.where(usable, parameter.grad, self._nothing)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        share = min(config.average, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, parameters, 1 - share)
        self._outliers = torch.where(usable, 0.0, self._outliers + 1)
        for name, value in {**figures, "norm": norm}.items():
            self._sums[name] = self._sums.get(name, self._nothing) + value.detach()
        self._summed += 1

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with self._fabric.autocast():
            prediction = self.network(batch.gaps, batch.t, batch.weights)
        with torch.autocast(self._fabric.device.type, enabled=False):
            share = batch.t[:, None, None, None]
            before, after = batch.gaps.slices[:, 1:2], batch.gaps.slices[:, 2:3]
            return objective(
                prediction,
                batch.target,
                (1 - share) * before + share * after,
                similarity=self._config.similarity,
                motion=self._config.motion,
            )

    def collect_figures(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        means = {name: float(total) / self._summed for name, total in self._sums.items()}
        self._sums, self._summed = {}, 0
        return means

    def check(self, step: int) -> None:
        """Stop a run that has diverged.

        Raises:
            RunError: saying so.
        """
        in_a_row = int(self._outliers)
        if in_a_row > min(_MOST_OUTLIERS, self._config.steps // 2):
            raise RunError(
                f"training broke down by step {step}: the gradients of {in_a_row} steps in a row "
                "were out of all proportion; begin again in another output folder "
                "with a lower learning_rate; start_from takes trained weights over"
            )

    def snapshot(self, step: int, facts: dict[str, Any]) -> Snapshot:
        """Everything that a later run needs to go on."""
        optimizers = {"network": self.optimizer}
        return take_snapshot(step=step, networks=self.networks, optimizers=optimizers, facts=facts)


def _optimizer(network: FlowNet, config: FlowTrainConfig) -> Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "muon":
        return Muon(network, lr=rate, weight_decay=decay)
    return AdamW(network.parameters(), lr=rate, weight_decay=decay)


def _samples(
    scans: Sequence[Scan], config: FlowTrainConfig, fabric: Fabric, *, start: int
) -> Samples:
    megabytes = sum(scan.array.nbytes for scan in scans) / 1e6
    with enough_memory(
        f"the scans of {config.manifest}, {megabytes:.0f} MB, on the device that trains",
        "take some out of the manifest",
    ):
        return Samples(scans, config, device=fabric.device, start=start)


def _fabric(config: FlowTrainConfig) -> Fabric:
    precision: Any = config.precision
    if precision == "auto":
        has_gpu = config.accelerator in ("auto", "cuda") and torch.cuda.is_available()
        precision = "bf16-mixed" if has_gpu and torch.cuda.is_bf16_supported() else "32-true"
    try:
        fabric = Fabric(accelerator=config.accelerator, devices=1, precision=precision)
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise RequestError(
            f"accelerator {config.accelerator!r} cannot be had here ({in_one_line(error)}); set "
            "accelerator to what there is"
        ) from error
    fabric.launch()
    return fabric
