"""hrinet-flow: seconds a slice, share of the processor's own speed, memory, side by side.

Run: python benchmarks/network.py
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from common import ct, machine, publish, table

import hrinet
from hrinet.geometry import Geometry
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.hrinet_flow import HrinetFlow
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.registry import Precision
from hrinet.weights import packaged_weights
from hrinet.weights.flow import load_flow

ROUNDS = 2
FACTORS = (2, 4, 6)
GEMM_SIDE = 4096


def precisions() -> tuple[Precision, ...]:
    """Those that the processor computes in."""
    import openvino

    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if has_bf16 else ("f32",)


def gemm_gflops(precision: Precision) -> float:
    """The rate of a large matrix product on all cores, by the library that runs the network."""
    import openvino
    from openvino import opset13

    sides = [opset13.parameter([GEMM_SIDE, GEMM_SIDE], np.float32) for _ in range(2)]
    product = openvino.Model([opset13.matmul(*sides, False, False)], sides)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": default_threads(),
    }
    request = openvino.Core().compile_model(product, "CPU", settings).create_infer_request()
    values = np.random.default_rng(0).random((GEMM_SIDE, GEMM_SIDE), np.float32)

    def multiply() -> None:
        request.infer([values, values], share_inputs=True, share_outputs=True)

    multiply()
    return 2 * GEMM_SIDE**3 / min(timed(multiply) for _ in range(5)) / 1e9


def graph_gflop(side: int) -> tuple[float, float]:
    """Floating-point operations of the convolutions: once a gap, and once a slice."""
    import openvino

    models = load_flow(packaged_weights("hrinet-flow")).of_size(openvino.Core(), side, side)
    totals = []
    for model in models:
        total = 0.0
        for node in model.get_ops():
            if node.get_type_name() == "Convolution":
                kernel, made = node.input_value(1).get_shape(), node.output(0).get_shape()
                total += 2.0 * np.prod(made) * np.prod(kernel[1:])
        totals.append(total / 1e9)
    return totals[0], totals[1]


def torch_eager(volume: hrinet.Volume, factor: int) -> float:
    """Seconds a synthetic slice in PyTorch, channels last, on all cores."""
    import torch

    from hrinet.networks.flow_net import FlowNet, FlowNetConfig, Gaps
    from hrinet.weights.files import read_weights

    tensors, description = read_weights(packaged_weights("hrinet-flow"))
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.set_num_threads(default_threads())
    slices = torch.from_numpy(volume.array[10:14].astype(np.float32))[None]
    gaps = Gaps(slices, torch.tensor([[-1.0, 0.0, 1.0, 2.0]]), torch.tensor([0.5]))
    weights = torch.tensor([[-0.0625, 0.5625, 0.5625, -0.0625]])

    def gap() -> None:
        with torch.inference_mode():
            context = network.encoder(slices)
            for inner in range(1, factor):
                network.decoder(gaps, context, torch.tensor([inner / factor]), weights)

    gap()
    started = time.perf_counter()
    for _ in range(3):
        gap()
    return (time.perf_counter() - started) / 3 / (factor - 1)


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def contenders(volume: hrinet.Volume, factor: int) -> Iterator[tuple[str, Callable[[], float]]]:
    made = (len(volume) - 1) * (factor - 1)
    few = volume_of(volume, 17)
    few_made = (len(few) - 1) * (factor - 1)
    yield "cubic", lambda: timed(lambda: interpolate(volume, factor=factor, method="cubic")) / made
    yield "flow", lambda: timed(lambda: interpolate(few, factor=factor, method="flow")) / few_made
    for precision in precisions():
        chosen: Precision = precision
        yield (
            f"hrinet-flow, {chosen}",
            lambda p=chosen: (
                timed(lambda: interpolate(few, factor=factor, method="hrinet-flow", precision=p))
                / few_made
            ),
        )
        yield (
            f"hrinet-flow, {chosen}, engine alone",
            lambda p=chosen: engine(volume, factor, p),
        )
    if importlib.util.find_spec("torch"):
        yield "hrinet-flow, PyTorch eager", lambda: torch_eager(volume, factor)


def engine(volume: hrinet.Volume, factor: int, precision: Precision) -> float:
    """Seconds a synthetic slice in the engine: graphs compiled, slices in memory, gaps by turns."""
    threads = default_threads()
    graphs = load_flow(packaged_weights("hrinet-flow"))
    method = HrinetFlow(graphs, precision=precision)
    positions = volume.geometry.positions_mm
    gaps = [
        Gap(
            slices=tuple(volume.array[left - 1 : left + 3]),
            positions_mm=tuple(positions[left - 1 : left + 3].tolist()),
            left=1,
            pixel_spacing_mm=volume.geometry.pixel_spacing,
            slice_thickness_mm=volume.geometry.slice_thickness,
        )
        for left in range(8, 8 + 8 * threads)
    ]
    t = [inner / factor for inner in range(1, factor)]

    def fill(gap: Gap) -> int:
        return sum(1 for _ in running.synthesize_with_error(gap, t))

    with (
        method.using(gaps=threads, threads=1) as running,
        ThreadPoolExecutor(threads) as pool,
    ):
        list(pool.map(fill, gaps[:threads]))
        started = time.perf_counter()
        made = sum(pool.map(fill, gaps))
        return (time.perf_counter() - started) / made


def rounding() -> str:
    """What bfloat16 changes in synthetic slices of the validation scan, where there is any."""
    if "bf16" not in precisions():
        return ""
    volume = hrinet.read(ct("validation/lidc_0002"))
    rows = []
    for factor in FACTORS:
        exact, rounded = (
            interpolate(
                volume.subset(range(0, len(volume), factor)),
                factor=factor,
                method="hrinet-flow",
                precision=precision,
                max_gap_mm=1000,
            ).array.astype(np.int32)
            for precision in precisions()
        )
        inner = [index for index in range(len(exact)) if index % factor]
        off = np.abs(exact - rounded)[inner]
        high, most = np.percentile(off, 99), off.max()
        rows.append([f"x{factor}", f"{off.mean():.3f}", f"{high:.0f}", f"{most:.0f}"])
    head = ("validation/lidc_0002, bf16 against f32", "mean, HU", "99th percentile, HU", "most, HU")
    return "\n\n" + table(head, rows)


def on_a_gpu(volume: hrinet.Volume) -> str:
    """Slices a second and memory where PyTorch has CUDA; else nothing."""
    if not importlib.util.find_spec("torch"):
        return ""
    import torch

    if not torch.cuda.is_available():
        return ""
    from hrinet.synthesize.flow_torch import TorchEngine

    rows = []
    for side in (256, 512, 1024):
        method = HrinetFlow(
            load_flow(packaged_weights("hrinet-flow")),
            runs_on=TorchEngine(packaged_weights("hrinet-flow"), device="cuda"),
        )
        slices = tuple(cv2.resize(one, (side, side)) for one in volume.array[10:14])
        gap = Gap(slices, (0.0, 2.5, 5.0, 7.5), 1, (0.7, 0.7), 2.5)
        t = [inner / 6 for inner in range(1, 6)]
        with method.using(gaps=1, threads=1) as running:
            list(running.synthesize_with_error(gap, t))
            torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            for _ in range(20):
                list(running.synthesize_with_error(gap, t))
            rate = 100 / (time.perf_counter() - started)
        peak = torch.cuda.max_memory_allocated() / 1e6
        rows.append([f"{side} x {side}", f"{rate:.0f}", f"{peak:.0f}"])
    name = torch.cuda.get_device_name()
    return "\n\n" + table((f"{name}, float32, x6", "slices a second", "peak MB"), rows)


def volume_of(volume: hrinet.Volume, count: int) -> hrinet.Volume:
    g = volume.geometry
    geometry = Geometry(
        origins=g.origins[:count],
        row_direction=g.row_direction,
        column_direction=g.column_direction,
        pixel_spacing=g.pixel_spacing,
        rows=g.rows,
        columns=g.columns,
        slice_thickness=g.slice_thickness,
    )
    return hrinet.Volume(array=volume.array[:count], geometry=geometry)


def side_by_side(volume: hrinet.Volume) -> str:
    a_gap, a_slice = graph_gflop(512)
    rows = []
    for factor in FACTORS:
        work = a_slice + a_gap / (factor - 1)
        found: dict[str, list[float]] = {}
        rates: dict[Precision, list[float]] = {}
        for _ in range(ROUNDS):
            for precision in precisions():
                rates.setdefault(precision, []).append(gemm_gflops(precision))
            for name, run in contenders(volume, factor):
                found.setdefault(name, []).append(run())
        base = median(found["cubic"])
        for name, seconds in found.items():
            t = median(seconds)
            share = ""
            if "hrinet" in name:
                gemm = median(rates["bf16" if "bf16" in name else "f32"])
                share = f"{work / t:.0f} ({100 * work / t / gemm:.0f} %)"
            rows.append([f"x{factor} {name}", f"{t:.4f}", f"{t / base:.1f}", share])
        for precision, measured in rates.items():
            rate = f"{median(measured):.0f} (100 %)"
            rows.append([f"x{factor} matrix product, {precision}", "", "", rate])
    head = ("factor, method", "s a slice", "ratio to cubic", "GFLOP/s")
    return (
        f"Convolutions of hrinet-flow: {a_gap:.1f} GFLOP a gap, {a_slice:.1f} GFLOP a slice.\n\n"
        + table(head, rows)
    )


_PEAK = """
import sys
from common import ct, peak_mb
import hrinet
from network import volume_of
from hrinet.job import Options
from hrinet.pipeline import interpolate
volume = volume_of(hrinet.read(ct("test/lidc_0001")), 17)
before = peak_mb()
interpolate(volume, factor=4, method=sys.argv[1], threads=int(sys.argv[2]))
print(peak_mb() - before)
"""


def peaks() -> str:
    rows = []
    for method, threads in (("cubic", 2), ("flow", 2), ("hrinet-flow", 1), ("hrinet-flow", 2)):
        output = subprocess.run(
            [sys.executable, "-c", _PEAK, method, str(threads)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parent,
        )
        rows.append([method, threads, f"{float(output.stdout.split()[-1]):.0f}"])
    return table(("17 slices at x4, in memory", "threads", "MB beyond the volume read"), rows)


def whole_command(volume: hrinet.Volume) -> str:
    """A DICOM series of 100 slices to isotropic voxels, against the synthesis alone."""
    import shutil

    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series"
        series.mkdir()
        for path in sorted(ct("test/lidc_0001").iterdir())[:100]:
            shutil.copyfile(path, series / path.name)
        few = hrinet.read(series)
        whole = timed(
            lambda: interpolate_file(
                series, Outputs(volume=Path(folder) / "out.nii.gz", overwrite=True), Options()
            )
        )
        alone = timed(lambda: interpolate(few))
        made = len(interpolate(few, method="linear")) - len(few)
    return table(
        (f"{len(few)} slices, {made} synthetic", "s", "ratio"),
        [
            ["synthesis in memory", f"{alone:.1f}", "1.00"],
            ["read, synthesize, write .nii.gz", f"{whole:.1f}", f"{whole / alone:.2f}"],
        ],
    )


def main() -> None:
    cv2.setNumThreads(1)
    volume = hrinet.read(ct("test/lidc_0001"))
    text = "\n".join(
        [
            "# Speed and memory of hrinet-flow",
            "",
            f"Machine: {machine()}. Command: `python benchmarks/network.py`.",
            "",
            "512 x 512 slices of a chest scan, all cores; medians of "
            f"{ROUNDS} rounds in which everything ran by turns. hrinet-flow fills 16 gaps, and its "
            "time includes compiling the graphs and the check on six hidden slices, which weigh "
            "most with so few; 'engine alone' is without both: slices in memory in, slices and "
            "their estimated errors out. Shares are of a matrix product of the same precision, "
            f"{GEMM_SIDE} x {GEMM_SIDE}, by the same library in the same run; work counts the "
            "network's convolutions alone.",
            "",
            side_by_side(volume),
            "",
            peaks(),
            "",
            whole_command(volume) + rounding() + on_a_gpu(volume),
        ]
    )
    publish("network", text)


if __name__ == "__main__":
    main()
