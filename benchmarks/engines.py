"""OpenVINO and ONNX Runtime on the two graphs of hrinet-flow, by turns in one run.

Run: pip install onnxruntime && python benchmarks/engines.py
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import ct, machine, publish, table

import hrinet
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.flow_openvino import OpenVinoEngine
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.scene import Scene, scene_of
from hrinet.types import SliceArray
from hrinet.weights import packaged_weights
from hrinet.weights.flow import FlowGraphs, load_flow

ROUNDS = 5
FACTORS = (2, 4, 6)

Fill = Callable[[tuple[float, ...]], list[SliceArray]]


def a_scene() -> Scene:
    volume = hrinet.read(ct("validation/lidc_0002")).subset(range(60, 72, 3))
    positions = tuple(float(place) for place in volume.geometry.positions_mm)
    slices = tuple(np.asarray(one, np.float32) for one in volume.array)
    return scene_of(Gap(slices, positions, 1, (0.7, 0.7), 2.5), knows_thickness=True)


def openvino(graphs: FlowGraphs, scene: Scene, precision: str) -> Fill:
    run = OpenVinoEngine(graphs).ready(gaps=1, threads=default_threads())
    return lambda t: [values.copy() for values, _ in run.iterate(scene, t, precision)]


def onnx_runtime(graphs: FlowGraphs, scene: Scene) -> Fill:
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = default_threads()
    encoder, decoder = (
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for graph in (graphs.encoder, graphs.decoder)
    )

    def fill(t: tuple[float, ...]) -> list[SliceArray]:
        motion, texture = encoder.run(None, {"slices": scene.slices})
        made = []
        for position in t:
            given = scene.decoder_inputs(position, motion=motion, texture=texture)
            made.append(decoder.run(None, given)[0][0, 0])
        return made

    return fill


def installed_mb(package: str) -> float:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed; run: pip install {package}")
    files = Path(spec.origin).parent.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def seconds(fill: Fill, t: tuple[float, ...]) -> float:
    started = time.perf_counter()
    fill(t)
    return (time.perf_counter() - started) / len(t)


def main() -> None:
    sizes = {name: installed_mb(name) for name in ("openvino", "onnxruntime")}
    graphs, scene = load_flow(packaged_weights("hrinet-flow")), a_scene()
    engines = {
        "OpenVINO, f32": openvino(graphs, scene, "f32"),
        "ONNX Runtime, f32": onnx_runtime(graphs, scene),
    }
    if OpenVinoEngine(graphs).has_bf16:
        engines["OpenVINO, bf16"] = openvino(graphs, scene, "bf16")
    exact = engines["OpenVINO, f32"]((0.5,))[0]
    rows = []
    for factor in FACTORS:
        t = tuple(step / factor for step in range(1, factor))
        times: dict[str, list[float]] = {name: [] for name in engines}
        for fill in engines.values():
            fill(t)
        for _ in range(ROUNDS):
            for name, fill in engines.items():
                times[name].append(seconds(fill, t))
        first = statistics.median(times["OpenVINO, f32"])
        for name, taken in times.items():
            median = statistics.median(taken)
            off = np.abs(engines[name]((0.5,))[0] - exact)
            rows.append(
                [f"x{factor} {name}", f"{median:.3f}", f"{median / first:.2f}", f"{off.max():.3f}"]
            )
            print(rows[-1], flush=True)
    has = "" if "OpenVINO, bf16" in engines else " This processor has no bf16."
    publish(
        "engines",
        "\n".join(
            [
                "# What computes the network of hrinet-flow",
                "",
                f"Machine: {machine()}. Command: `python benchmarks/engines.py`.",
                "",
                "One gap of a 512 x 512 chest scan, encoder once and decoder for every position, "
                f"all cores, medians of {ROUNDS} by turns; the network alone. ONNX Runtime has no "
                f"bf16 on a CPU.{has} Installed: OpenVINO {sizes['openvino']:.0f} MB, ONNX "
                f"Runtime {sizes['onnxruntime']:.0f} MB. Both have wheels for Linux and Windows on "
                "x86-64, Linux on AArch64 and macOS on Apple silicon.",
                "",
                table(
                    ("factor, engine", "s a slice", "ratio", "largest difference, HU"),
                    rows,
                ),
            ]
        ),
    )


if __name__ == "__main__":
    main()
