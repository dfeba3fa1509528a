"""What a run tells while it goes on: ``log.jsonl``, TensorBoard, the progress bar."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from hrinet.io.staging import Staging

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done)."""

LOG_NAME = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of ``log.jsonl``, in order; damaged lines and what is no record are left out."""
    path = folder / LOG_NAME
    if not path.exists():
        return []
    records = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_record(record):
            records.append(record)
    return records


class TrainingLog:
    """Figures by step, a JSON object a line, and TensorBoard's files if it is installed.

    Use as a context manager. Lines of steps that a resumed run does again are removed first, so
    that no step stands in the log twice.

    Args:
        folder: of the run.
        step: number of steps already done.
        tensorboard: whether to write for TensorBoard too.
    """

    def __init__(self, folder: Path, *, step: int, tensorboard: bool) -> None:
        kept = [record for record in read_log(folder) if record["step"] <= step]
        path = folder / LOG_NAME
        with Staging(overwrite=True) as staging:
            text = "".join(json.dumps(record) + "\n" for record in kept)
            staging.path(path).write_text(text, "utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = _summary_writer(folder / "tensorboard", step) if tensorboard else None

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, step: int, stage: int, figures: Mapping[str, float]) -> None:
        """Add the figures of the steps since the last call."""
        record = {"step": step, "stage": stage, **figures}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)


def _is_record(record: object) -> bool:
    return isinstance(record, dict) and all(
        type(record.get(name)) is int and 0 <= record[name] < 2**63 for name in ("step", "stage")
    )


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        board = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        return None
    return board.SummaryWriter(str(folder), purge_step=step + 1)
