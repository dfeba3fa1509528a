"""The progress bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def slice_progress(
    *, forced: bool = False, hidden: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Show slices done, slices a second and time left while the block runs.

    Args:
        forced: show it even where standard error is not a terminal.
        hidden: never show it.

    Yields:
        A callback for (slices done, slices in all), or None where nothing is shown.
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
        """Slices a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.1f} slices/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not forced) as bar:
        task = bar.add_task("slices", total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
