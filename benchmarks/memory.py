"""Peak resident size of the streaming command, as the output grows four- and fivefold.

Run: python benchmarks/memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ct, machine, publish, table

import hrinet
from hrinet.geometry import Geometry

_RUN = """
import json, sys, time
from common import peak_mb
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
from pathlib import Path
source, output, method = sys.argv[1:4]
started = time.perf_counter()
interpolate_file(
    source, Outputs(volume=Path(output), overwrite=True),
    Options(method=method, request=Request(factor=5)),
)
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "peak_mb": peak_mb(),
}))
"""


SLICES = 101, 501
NETWORK_SLICES = 51, 201
"""Fewer, for a network takes minutes where the others take seconds."""


def make_scan(path: Path, slices: int) -> None:
    """A 512 x 512 scan of any length: real slices, there and back again."""
    base = hrinet.read(ct("test/lidc_0001"))
    order = np.abs((np.arange(slices) + len(base) - 1) % (2 * len(base) - 2) - len(base) + 1)
    geometry = Geometry(
        origins=np.array([[0.0, 0.0, 2.5 * k] for k in range(slices)]),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing=base.geometry.pixel_spacing,
        rows=512,
        columns=512,
        slice_thickness=base.geometry.slice_thickness,
    )
    hrinet.write(hrinet.Volume(array=base.array[order], geometry=geometry), path, overwrite=True)


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source_suffix, suffix, method in (
            (".nii", ".nii", "linear"),
            (".nii.gz", ".nii.gz", "linear"),
            (".nii", ".nii", "cubic"),
            (".nii", ".nii", "flow"),
            (".nii", ".nii", "hrinet-flow"),
        ):
            peaks = []
            for slices in NETWORK_SLICES if method == "hrinet-flow" else SLICES:
                # Names that differ in more than the suffix: each has a sidecar.
                source = folder / f"{source_suffix[-2:]}{slices}{source_suffix}"
                if not source.exists():
                    make_scan(source, slices)
                output = folder / f"out{suffix}"
                finished = subprocess.run(
                    [sys.executable, "-c", _RUN, source, output, method],
                    capture_output=True,
                    text=True,
                    check=True,
                    cwd=Path(__file__).parent,
                )
                result = json.loads(finished.stdout)
                peaks.append(result["peak_mb"])
                rows.append(
                    [
                        f"{method}, {source_suffix} -> {suffix}",
                        f"{slices} -> {(slices - 1) * 5 + 1}",
                        f"{result['seconds']:.1f}",
                        f"{result['peak_mb']:.0f}",
                        "" if len(peaks) == 1 else f"{peaks[1] / peaks[0]:.2f}",
                    ]
                )
                output.unlink()
    text = [
        "# Memory",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/memory.py`.",
        "",
        "Peak resident size of the whole process (interpreter and libraries included) at "
        "512 x 512, int16, x5, from file to file, all cores.",
        "",
        table(("method", "slices", "s", "peak MB", "ratio"), rows),
    ]
    publish("memory", "\n".join(text))


if __name__ == "__main__":
    main()
