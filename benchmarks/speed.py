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
from common import ct, machine, publish, table

import hrinet
from hrinet.io.formats import open_scan, open_sink
from hrinet.io.loading import load
from hrinet.pipeline import Options, Outputs, interpolate, interpolate_file
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
    import SimpleITK as sitk
    from scipy import ndimage

    factor = 4
    kept = volume.array[::factor]
    count = (len(kept) - 1) * factor + 1
    truth = np.clip(volume.array[:count], -1000, 1000).astype(np.float32)
    synthetic = np.arange(count) % factor != 0

    def with_sitk(interpolator: int) -> np.ndarray:
        image = sitk.GetImageFromArray(kept)
        image.SetSpacing((1.0, 1.0, float(factor)))
        resampled = sitk.Resample(
            image,
            (kept.shape[2], kept.shape[1], count),
            sitk.Transform(),
            interpolator,
            image.GetOrigin(),
            (1.0, 1.0, 1.0),
            image.GetDirection(),
        )
        return sitk.GetArrayFromImage(resampled)

    from quality import thinned

    thin, _ = thinned(volume, factor)
    contenders: dict[str, Callable[[], np.ndarray]] = {
        f"hrinet {m}": (lambda m=m: interpolate(thin, factor=factor, method=m).array)
        for m in ("linear", "cubic", "flow")
    }
    contenders |= {
        "SimpleITK linear": lambda: with_sitk(sitk.sitkLinear),
        "SimpleITK B-spline": lambda: with_sitk(sitk.sitkBSpline),
        "scipy zoom order 1": lambda: ndimage.zoom(kept, (count / len(kept), 1, 1), order=1),
        "scipy zoom order 3": lambda: ndimage.zoom(kept, (count / len(kept), 1, 1), order=3),
    }
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(os.cpu_count() or 1)
    rows = []
    for name, work in contenders.items():
        started = time.perf_counter()
        result = work()
        elapsed = time.perf_counter() - started
        error = np.square(
            np.clip(result[synthetic], -1000, 1000).astype(np.float32) - truth[synthetic]
        )
        per_slice = 10 * np.log10(2000.0**2 / error.mean(axis=(1, 2)))
        rows.append([name, f"{elapsed:.2f}", f"{peak_mb(name):.0f}", f"{per_slice.mean():.2f}"])
    return table((f"{len(kept)} -> {count} slices", "s", "peak MB", "PSNR, dB"), rows)


_PEAK = """
import resource, sys
sys.path.insert(0, {folder!r})
from speed import peer_job
peer_job({name!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mb(name: str) -> float:
    """Peak resident size of a fresh process that reads the thin volume and does one job."""
    folder = str(Path(__file__).resolve().parent)
    output = subprocess.run(
        [sys.executable, "-c", _PEAK.format(folder=folder, name=name)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(output.stdout.split()[-1])


def peer_job(name: str) -> None:
    """One contender in memory, in its own process."""
    from quality import thinned

    volume = hrinet.read(ct("test/lidc_0001"))
    thin, _ = thinned(volume, 4)
    kept = np.ascontiguousarray(thin.array)
    del volume
    library, _, kind = name.partition(" ")
    count = (len(kept) - 1) * 4 + 1
    if library == "hrinet":
        interpolate(thin, factor=4, method=kind)
    elif library == "SimpleITK":
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(kept)
        image.SetSpacing((1.0, 1.0, 4.0))
        kinds = {"linear": sitk.sitkLinear, "B-spline": sitk.sitkBSpline}
        size = (kept.shape[2], kept.shape[1], count)
        sitk.Resample(
            image, size, sitk.Transform(), kinds[kind], image.GetOrigin(), (1.0, 1.0, 1.0)
        )
    else:
        from scipy import ndimage

        ndimage.zoom(kept, (count / len(kept), 1, 1), order=int(kind[-1]))


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
            "PSNR of the synthetic slices on [-1000, 1000] HU; peak is of a process that reads the "
            "scan and does the one job.",
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
