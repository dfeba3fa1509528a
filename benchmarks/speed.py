"""Seconds, side by side in one run: methods against a copy, peers, and the whole command.

Run: python benchmarks/speed.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from common import ct, machine, peak_mb, publish, table

import hrinet
from hrinet.io.formats import open_scan, open_sink
from hrinet.io.loading import load
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request

REPEATS = 5


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def methods_against_a_copy(volume: hrinet.Volume) -> str:
    """Every method at x4 in memory, against copying its output array."""
    output = interpolate(volume, factor=4, method="linear").array
    target = np.empty_like(output)

    def copy_fresh() -> None:
        np.copyto(np.empty_like(output), output)

    copies = {
        "copy into new memory": seconds(copy_fresh),
        "copy into used memory": seconds(lambda: np.copyto(target, output)),
    }
    base = copies["copy into new memory"]
    synthetic = len(output) - len(volume)
    rows = [[name, f"{t:.3f}", "", f"{t / base:.2f}"] for name, t in copies.items()]
    for method in ("repeat", "linear", "cubic", "flow"):
        t = seconds(
            lambda m=method: interpolate(volume, factor=4, method=m),
            1 if method == "flow" else REPEATS,
        )
        rows.append([method, f"{t:.3f}", f"{t / synthetic * 1000:.2f}", f"{t / base:.2f}"])
    head = (f"{len(volume)} -> {len(output)} slices", "s", "ms a slice", "ratio to copy")
    return table(head, rows)


def flow_by_factor(volume: hrinet.Volume) -> str:
    """Flow is computed once a gap, so more slices a gap cost less each."""
    rows = []
    for factor in (2, 4, 8):
        count = (len(volume) - 1) * (factor - 1)
        t = seconds(lambda f=factor: interpolate(volume, factor=f, method="flow"), 1)
        rows.append([f"x{factor}", count, f"{t:.2f}", f"{t / count:.4f}"])
    return table(("flow", "synthetic slices", "s", "s a slice"), rows)


def peers(volume: hrinet.Volume) -> str:
    """Resampling the same volume x4 elsewhere, with what hidden slices say about the result."""
    from quality import thinned

    thin, count = thinned(volume, 4)
    truth = np.clip(volume.array[:count], -1000, 1000).astype(np.float32)
    synthetic = np.arange(count) % 4 != 0
    rows = []
    for name, work in contenders(thin, np.ascontiguousarray(thin.array)).items():
        elapsed = seconds(work, 1)
        found = np.clip(work()[synthetic], -1000, 1000).astype(np.float32)
        error = np.square(found - truth[synthetic]).mean(axis=(1, 2))
        psnr = float(np.mean(10 * np.log10(2000.0**2 / error)))
        rows.append([name, f"{elapsed:.2f}", f"{peak_of(name):.0f}", f"{psnr:.2f}"])
    return table((f"{len(thin)} -> {count} slices", "s", "MB", "PSNR, dB"), rows)


_PEAK = """
from common import peak_mb
from speed import peer_job
before = peer_job({name!r})
print(peak_mb() - before)
"""


def peak_of(name: str) -> float:
    """MB that one job takes on top of the volume read, in a fresh process."""
    output = subprocess.run(
        [sys.executable, "-c", _PEAK.format(name=name)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parent,
    )
    return float(output.stdout.split()[-1])


def peer_job(name: str) -> float:
    """One contender in memory; returns the peak before it began, MB."""
    from quality import thinned

    volume = hrinet.read(ct("test/lidc_0001"))
    thin, _ = thinned(volume, 4)
    kept = np.ascontiguousarray(thin.array)
    before = peak_mb()
    contenders(thin, kept)[name]()
    return before


def contenders(thin: hrinet.Volume, kept: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """The same x4 resampling by everyone."""
    import SimpleITK as sitk
    from scipy import ndimage

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(os.cpu_count() or 1)
    count = (len(kept) - 1) * 4 + 1

    def with_sitk(interpolator: int) -> np.ndarray:
        image = sitk.GetImageFromArray(kept)
        image.SetSpacing((1.0, 1.0, 4.0))
        size = (kept.shape[2], kept.shape[1], count)
        resampled = sitk.Resample(
            image, size, sitk.Transform(), interpolator, image.GetOrigin(), (1.0, 1.0, 1.0)
        )
        return sitk.GetArrayFromImage(resampled)

    def with_scipy(order: int) -> np.ndarray:
        return ndimage.zoom(kept, (count / len(kept), 1, 1), order=order)

    ours = {
        f"hrinet {m}": (lambda m=m: interpolate(thin, factor=4, method=m).array)
        for m in ("linear", "cubic", "flow")
    }
    return {
        **ours,
        "SimpleITK linear": lambda: with_sitk(sitk.sitkLinear),
        "SimpleITK B-spline": lambda: with_sitk(sitk.sitkBSpline),
        "scipy zoom, order 1": lambda: with_scipy(1),
        "scipy zoom, order 3": lambda: with_scipy(3),
    }


def whole_command(case: str, method: str, folder: Path) -> list[str]:
    """Read DICOM, synthesize x3, write .nii: the whole against its parts, each timed alone."""
    source = ct(case)
    options = Options(request=Request(factor=3), method=method)
    volume = hrinet.read(source)
    filled = interpolate(volume, factor=3, method="linear")

    def write() -> None:
        sink = open_sink(
            folder / "alone.nii",
            suffix=".nii",
            geometry=filled.geometry,
            dtype=filled.dtype,
            info=filled.info,
        )
        for values in filled.array:
            sink.write(values)
        sink.close()
        with (folder / "alone.nii").open("rb+") as file:
            os.fsync(file.fileno())

    repeats = 1 if method == "flow" else 3
    outputs = Outputs(volume=folder / "out.nii", overwrite=True)
    parts = [
        seconds(lambda: load(open_scan(source)), 3),
        seconds(lambda: interpolate(volume, factor=3, method=method), repeats),
        seconds(write, 3),
    ]
    whole = seconds(lambda: interpolate_file(source, outputs, options), repeats)
    return [
        f"{case} x3 {method}",
        *(f"{t:.2f}" for t in parts),
        f"{sum(parts):.2f}",
        f"{whole:.2f}",
        f"{whole / sum(parts):.2f}",
    ]


def start_up() -> str:
    """``hrinet --help``, whole process."""
    command = [sys.executable, "-c", "from hrinet.commands.app import main; main()", "--help"]
    bare = [sys.executable, "-c", "pass"]
    rows = [
        [name, f"{seconds(lambda c=c: subprocess.run(c, capture_output=True), 9):.3f}"]
        for name, c in (("hrinet --help", command), ("bare interpreter", bare))
    ]
    return table(("start", "s"), rows)


def main() -> None:
    volume = hrinet.read(ct("test/lidc_0001"))
    with tempfile.TemporaryDirectory() as folder:
        parts = [
            "# Speed",
            "",
            f"Machine: {machine()}. Command: `python benchmarks/speed.py`. Medians of wall time.",
            "",
            "## Methods in memory, x4, test/lidc_0001 (512 x 512, int16)",
            "",
            methods_against_a_copy(volume),
            "",
            flow_by_factor(volume),
            "",
            "## Against other libraries: every 4th slice of test/lidc_0001, x4",
            "",
            "PSNR of the synthetic slices on [-1000, 1000] HU; MB is what a fresh process takes on "
            "top of the scan at its peak, the result included.",
            "",
            peers(volume),
            "",
            "## The whole command: DICOM (JPEG-LS) in, .nii out",
            "",
            "'Sum' adds the three parts, each timed alone with all cores.",
            "",
            table(
                ("scan", "read", "compute", "write", "sum, s", "interpolate, s", "ratio"),
                [
                    whole_command("test/lidc_0001", method, Path(folder))
                    for method in ("flow", "cubic", "linear")
                ],
            ),
            "",
            "## Start-up",
            "",
            start_up(),
        ]
    publish("speed", "\n".join(parts))


if __name__ == "__main__":
    main()
