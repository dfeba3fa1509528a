"""How a training run ends: done, out of time, or asked to by a signal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric

from hrinet.train.processes import mean_over_processes

_AGREE_EVERY = 10
"""Steps between questions to the other processes whether to stop; each costs a round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended.

    Attributes:
        step: number of steps done, those of earlier runs included.
        steps: number of steps in all, or None if a time was set instead.
        weights: the exported file.
        signal: what stopped it, or None.
        is_finished: whether there is nothing left to do.
        is_main: whether this is the process that should say so.
    """

    step: int
    steps: int | None
    weights: Path
    signal: int | None
    is_finished: bool
    is_main: bool = True


class Stopping:
    """Whether to stop after a step: asked for by a signal, or out of time.

    Attributes:
        signal: that was received, or None.
    """

    def __init__(self, fabric: Fabric, max_minutes: float | None) -> None:
        self.signal: int | None = None
        self._fabric = fabric
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes

    def __call__(self, step: int) -> bool:
        """Whether that step was the last; every process has to ask after every step."""
        is_wanted = self.signal is not None
        if self._end is not None and time.monotonic() >= self._end:
            is_wanted = True
        if self._fabric.world_size == 1:
            return is_wanted
        if step % _AGREE_EVERY:
            return False
        # All stop after the same step, or some would wait for the others for ever.
        asked = torch.tensor(float(is_wanted), device=self._fabric.device)
        return bool(mean_over_processes(self._fabric, asked) > 0)


@contextmanager
def stopping(fabric: Fabric, max_minutes: float | None) -> Iterator[Stopping]:
    """Let Ctrl-C and SIGTERM ask for an end while the block runs; a second one ends it at once.

    Args:
        fabric: of the run.
        max_minutes: after which to stop, counted from here, or None.
    """
    stop = Stopping(fabric, max_minutes)
    before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        for each, handler in before.items():  # the next one does not wait for the step
            signal.signal(each, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
