"""All benchmarks, one after the other; results go to benchmarks/results.

Run: make bench
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    *("quality.py", "trust.py", "network.py", "speed.py", "memory.py", "labels.py"),
    *("best.py", "selftest.py", "metrics.py", "projection.py", "surface.py", "derived.py"),
    *("family.py", "training.py", "ablation.py", "mixing.py"),
)


def main() -> None:
    folder = Path(__file__).resolve().parent
    for script in SCRIPTS:
        subprocess.run([sys.executable, str(folder / script)], check=True, cwd=folder)


if __name__ == "__main__":
    main()
