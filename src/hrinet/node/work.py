"""Filling the gaps of a series in a child process, whose crash harms nothing but its attempt."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ENTRY = "hrinet.node.work:interpolate_series"
"""What the child calls: module and function."""

_MAX_REASON = 1000
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One series to work on.

    Attributes:
        input: folder with its objects.
        output: folder to make, with the derived objects.
        series: Series Instance UID.
        options: ``method``, ``spacing``, ``factor`` of the rule.
    """

    input: Path
    output: Path
    series: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended.

    Attributes:
        outcome: ``done``; ``refused`` where the input is at fault, which no repetition changes;
            ``failed`` where another attempt may do; ``stopped`` where the node ends.
        reason: why not, one sentence.
    """

    outcome: Literal["done", "refused", "failed", "stopped"]
    reason: str = ""


class Worker:
    """Runs tasks, one at a time, each in its own process.

    Args:
        timeout_s: after which an attempt is given up.
        entry: what the child calls.
    """

    def __init__(self, *, timeout_s: float, entry: str = ENTRY) -> None:
        self._timeout = timeout_s
        self._entry = entry
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()

    def run(self, task: Task) -> Result:
        """Do a task."""
        request = json.dumps(
            {
                "entry": self._entry,
                "input": str(task.input),
                "output": str(task.output),
                "series": task.series,
                "options": dict(task.options),
                "parent": os.getpid(),
            }
        )
        with self._lock:
            if self._stopping.is_set():
                return Result("stopped")
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", "hrinet.node.work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Libraries print what they like; it may name the patient.
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            output, _ = child.communicate(request.encode(), timeout=self._timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return Result("failed", f"took longer than {self._timeout:.0f} s")
        finally:
            with self._lock:
                self._child = None
        if self._stopping.is_set() and child.returncode:
            return Result("stopped")
        return _result(output, child.returncode)

    def stop(self) -> None:
        """End the task at hand; it is done again when the node starts."""
        with self._lock:
            self._stopping.set()
            if self._child is not None:
                self._child.kill()


def _result(output: bytes, code: int) -> Result:
    try:
        answer = json.loads(output.decode().splitlines()[-1])
        outcome, reason = answer["outcome"], str(answer["reason"])
    except (ValueError, IndexError, KeyError, TypeError):
        answer = None
    if answer is not None and outcome in ("done", "refused", "failed"):
        return Result(outcome, reason[:_MAX_REASON])
    if code < 0:
        with contextlib.suppress(ValueError):
            return Result("failed", f"the work was killed by {signal.Signals(-code).name}")
    return Result("failed", f"the work ended with code {code} and without an answer")


def interpolate_series(task: Task) -> None:
    """Fill the gaps of a series: the work itself.

    Raises:
        HrinetError: if the input is at fault or the work fails.
    """
    from hrinet import job, pipeline
    from hrinet.plan.plan import Request
    from hrinet.plan.spacing import parse_spacing

    options = task.options
    pipeline.interpolate_file(
        task.input,
        pipeline.Outputs(volume=task.output),
        job.Options(
            request=Request(spacing=parse_spacing(options["spacing"]), factor=options["factor"]),
            method=options["method"],
        ),
        series=task.series,
        command="hrinet node",
    )


def _child() -> None:
    """Read a task, do it, answer with one line of JSON."""
    answer_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What the work prints is no answer.
    request = json.loads(sys.stdin.read())
    _die_with(request["parent"])
    outcome, reason = "done", ""
    try:
        from hrinet.errors import HrinetError

        module, _, name = request["entry"].partition(":")
        task = Task(
            input=Path(request["input"]),
            output=Path(request["output"]),
            series=request["series"],
            options=request["options"],
        )
        try:
            getattr(importlib.import_module(module), name)(task)
        except HrinetError as error:
            outcome = "refused" if error.exit_code == 2 else "failed"
            reason = _without_paths(str(error), task)
    except MemoryError:
        outcome, reason = "failed", "out of memory"
    except OSError as error:
        outcome, reason = "failed", f"{type(error).__name__}: {error.strerror}"
    except Exception as error:
        # Its text may quote the input, so only its kind is told.
        outcome, reason = "failed", f"internal error, {type(error).__name__}"
    answer_stream.write(json.dumps({"outcome": outcome, "reason": reason}) + "\n")
    answer_stream.close()


def _without_paths(text: str, task: Task) -> str:
    """A message with neither the UID of the series nor the store's paths."""
    for secret, shown in (
        (str(task.input), "the series"),
        (str(task.output), "the output"),
        (task.series, "the series"),
    ):
        text = text.replace(secret, shown)
    return text


def _die_with(parent: int) -> None:
    """End when the node is killed, so that no two children ever write at once; Linux only.

    The kernel's out-of-memory killer is pointed at this process rather than at the node.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


if __name__ == "__main__":
    _child()
