"""Going on where an earlier run stopped: only with its own configuration and data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hrinet.errors import InputError, RequestError
from hrinet.train.checkpoint import Snapshot, checkpoints, newest_snapshot
from hrinet.train.fields import changed_fields, make_config

if TYPE_CHECKING:
    from hrinet.train.config import TrainConfig
    from hrinet.train.flow.config import FlowTrainConfig

    Config = TypeVar("Config", TrainConfig, FlowTrainConfig)

ADVICE = "change it back, or set output to another folder"
"""To who goes on with something else than the run had."""


def snapshot_to_resume(
    folder: Path, config: Config, *, may_change: Collection[str]
) -> Snapshot | None:
    """The checkpoint to go on from, if there is one and it is of this configuration.

    Args:
        folder: of the run.
        config: of the run.
        may_change: fields in which the two may differ.

    Raises:
        InputError: if all checkpoints are damaged.
        RequestError: if the configuration forbids to go on, or the checkpoint is of another.
    """
    if config.resume == "never":
        if checkpoints(folder):
            raise RequestError(
                f"{folder}: holds checkpoints and resume is 'never'; remove them or set output to "
                "another folder"
            )
        snapshot = None
    else:
        snapshot = newest_snapshot(folder)
    if snapshot is None and (folder / "weights.safetensors").exists():
        raise RequestError(
            f"{folder}: holds trained weights without the checkpoints to go on from, and beginning "
            "anew would replace them; set output to another folder"
        )
    if snapshot is not None:
        require_same_config(snapshot, config, folder=folder, may_change=may_change, advice=ADVICE)
    return snapshot


def require_same_config(
    snapshot: Snapshot,
    config: Config,
    *,
    folder: Path,
    may_change: Collection[str],
    advice: str,
) -> Config:
    """Refuse a checkpoint that was trained otherwise.

    Args:
        snapshot: the checkpoint.
        config: what it has to be of.
        folder: where the checkpoint lies, for messages.
        may_change: fields in which the two may differ.
        advice: what to do, for messages.

    Returns:
        The checkpoint's own configuration.

    Raises:
        RequestError: naming the first field that differs.
    """
    values: Mapping[str, Any] = snapshot.facts["config"]
    if values.get("training", config.training) != config.training:
        raise RequestError(f"{folder}: holds a training of another kind; {advice}")
    saved = make_config(type(config), values, subject=f"{folder}: the checkpoint")
    for name in changed_fields(saved, config, may_change=may_change):
        raise RequestError(
            f"{folder}: was trained with {name} {getattr(saved, name)!r}, not "
            f"{getattr(config, name)!r}; {advice}"
        )
    return saved


def require_same_past(snapshot: Snapshot, config: TrainConfig, *, folder: Path) -> None:
    """Refuse stages of other lengths, unless every step that is done would have been the same.

    The learning rate is constant, so that a run may be made longer at any time: it goes on as if it
    had been that long from the beginning.

    Args:
        snapshot: to go on from.
        config: of the run that goes on.
        folder: where the checkpoint lies, for messages.

    Raises:
        RequestError: if stage 1 would have ended elsewhere, or the run is already over.
    """
    values: Mapping[str, Any] = snapshot.facts["config"]
    saved = make_config(type(config), values, subject=f"{folder}: the checkpoint")
    ends = saved.first_steps, config.first_steps
    if ends[0] != ends[1] and snapshot.step > min(ends):
        raise RequestError(
            f"{folder}: was trained with a stage 1 of {ends[0]} steps, not {ends[1]}, and has done "
            f"{snapshot.step}; {ADVICE}"
        )
    if snapshot.step > config.steps:
        raise RequestError(
            f"{folder}: has done {snapshot.step} steps, more than the {config.steps} that "
            f"stage1_steps, stage2_steps and scale give; {ADVICE}"
        )


def averaged_before(snapshot: Snapshot, config: TrainConfig) -> int:
    """Number of steps in a checkpoint's moving average, if this run is to go on with it.

    An average with another factor begins anew, so that one factor is true of all that it holds.

    Args:
        snapshot: to go on from.
        config: of the run that goes on.
    """
    same = snapshot.facts["config"].get("average", 0.0) == config.average
    return int(snapshot.facts.get("averaged", 0)) if same else 0


def require_average(config: TrainConfig, *, folder: Path, averaged: int, step: int) -> None:
    """Refuse a run that would call its last weights an average.

    Args:
        config: of the run.
        folder: of the run, for messages.
        averaged: number of steps in the average that it goes on with.
        step: number of steps done.

    Raises:
        RequestError: if an average is asked for, and no step is left to be in it.
    """
    if config.average > 0 and not averaged and step == config.steps:
        raise RequestError(
            f"{folder}: has done all its {step} steps, and none is left for an average of "
            f"{config.average:g}; set average back to what it was, or make the run longer"
        )


def require_same_data(
    found: object, wanted: object, *, folder: Path, scans: str, advice: str = ADVICE
) -> None:
    """Refuse a checkpoint that was trained on other scans.

    Args:
        found: what the checkpoint says of its data.
        wanted: what the run would say.
        folder: where the checkpoint lies, for messages.
        scans: what names the scans of the run, for messages.
        advice: what to do, for messages.

    Raises:
        InputError: if they differ.
    """
    if found != wanted:
        raise InputError(f"{folder}: was trained on other scans than {scans}; {advice}")
