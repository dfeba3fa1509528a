"""Several processes: what the first does for all, and how the end of one ends the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hrinet.errors import RunError

Made = TypeVar("Made")


def mean_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean of what every process has; all have to call it.

    Raises:
        RunError: in the first process, if another one is gone.
        SystemExit: in the others, which leave it to the first or to the one that is gone to say
            why.
    """
    if fabric.world_size == 1:
        return values
    try:
        return cast(Tensor, fabric.all_reduce(values, reduce_op="mean"))
    except RuntimeError as error:  # of every backend
        if not fabric.is_global_zero:
            if "timed out" in str(error).lower():
                raise  # for the first is still at work, and will not say so
            raise SystemExit(1) from None
        raise RunError(
            "another process of the training ended early, for a reason that it may have given "
            f"above ({in_one_line(error)}); the same command goes on from the last checkpoint"
        ) from error


def first_does(fabric: Fabric, work: Callable[[], Made]) -> Made | None:
    """Let the first process do something while the others wait; if it fails, all of them end.

    Args:
        fabric: of the run; every process has to call this.
        work: called in the first process.

    Returns:
        What ``work`` returned, in the first process; None in the others.

    Raises:
        Exception: what ``work`` raised, in the first process.
        SystemExit: in the others if it raised anything.
    """
    if fabric.world_size == 1:
        return work()
    made, failure = None, None
    if fabric.is_global_zero:
        try:
            made = work()
        except Exception as error:
            failure = error
    failed = torch.tensor(float(failure is not None), device=fabric.device)
    try:
        has_failed = bool(mean_over_processes(fabric, failed) > 0)
    except RunError:
        if failure is None:
            raise
        has_failed = True  # and its reason is the better one
    if failure is not None:
        raise failure
    if has_failed:
        # The status of the run is the first process's. With another one than 0 here, Fabric would
        # kill the first, perhaps before it has said why.
        raise SystemExit(0)
    return made


def in_one_line(error: Exception) -> str:
    """What an error of a library says, without its line breaks."""
    return " ".join(str(error).split())
