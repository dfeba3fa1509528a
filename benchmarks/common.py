"""What the benchmarks share: data, machine line, tables."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

import hrinet
from hrinet.synthesize.engine import default_threads

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def ct(relative: str) -> Path:
    """A folder of the test data, or exit with a sentence."""
    root = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    path = root / relative
    if not path.exists():
        sys.exit(f"{path} is missing: set HRINET_TEST_DATA to the folder with the test data")
    return path


def machine() -> str:
    """Processor, cores and versions, for the head of every table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return (
        f"{model}, {default_threads()} cores; hrinet {hrinet.__version__}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
    )


def peak_mb() -> float:
    """Peak resident size of this process, MB.

    Linux keeps it per program image; ``ru_maxrss`` would include the process that started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers are formatted by the caller."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = (
        "|"
        + "|".join(
            ("-" * (width + 2)) if i == 0 else ("-" * (width + 1) + ":")
            for i, width in enumerate(widths)
        )
        + "|"
    )
    return "\n".join([line(list(head)), rule, *(line(row) for row in cells)])


def publish(name: str, text: str) -> None:
    """Print a result and keep it under ``results/``."""
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
