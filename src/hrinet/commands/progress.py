"""The progress bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Update(Protocol):
    """What to call after every step."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show that ``done`` of ``total`` are done, and what is being done if it changed."""
        ...


@contextmanager
def progress_bar(
    what: str,
    *,
    unit: str,
    forced: bool = False,
    hidden: bool = False,
    estimate_over_s: float = 30.0,
) -> Iterator[Update | None]:
    """Show steps done, their rate and the time left while the block runs.

    Args:
        what: is being done.
        unit: of the rate, such as ``slices``.
        forced: show it even where standard error is not a terminal.
        hidden: never show it.
        estimate_over_s: the rate is a mean over this time, s; longer where steps differ.

    Yields:
        What to call after every step, or None where nothing is shown.
    """
    if hidden or not (forced or sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second, or seconds a step where it is slower."""

        def render(self, task: Task) -> Text:
            speed = task.speed or 0.0
            slow = 0 < speed < 1
            return Text(f"{1 / speed:.1f} s/{unit}" if slow else f"{speed:.1f} {unit}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=not forced,
        speed_estimate_period=estimate_over_s,
    ) as bar:
        task = bar.add_task(what, total=None)
        first: list[int] = []

        def update(done: int, total: int, what: str = what) -> None:
            if not first:  # What an earlier run did counts for the bar, not for the speed.
                first.append(done)
                bar.reset(task, total=total, completed=done, description=what)
            bar.update(task, completed=done, total=total, description=what)

        yield update
