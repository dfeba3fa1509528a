"""Put the weights of a finished training of hrinet-flow into the package.

    python tools/ship_flow.py RUN_FOLDER CALIBRATION_JSON [--licence Apache-2.0]

RUN_FOLDER holds ``weights.safetensors`` and ``weights.json`` as ``hrinet train hrinet-flow`` leaves
them, CALIBRATION_JSON comes from ``tools/calibrate_flow.py``. The package gets the weights, the two
graphs that run without PyTorch, the JSON that describes them all, and the model card, with the
figures of ``benchmarks/results``: ship once more after the benchmarks. ``--output FILE`` writes to
another place than the package; ``hrinet interpolate --weights FILE`` reads them there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

from hrinet.networks.flow_net import FlowNet, FlowNetConfig
from hrinet.weights import packaged_weights
from hrinet.weights.description import Description, count_parameters, read_description
from hrinet.weights.files import read_weights, save_weights
from hrinet.weights.flow import load_flow
from hrinet.weights.graphs import export_graphs

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def ship(run: Path, calibration: Path, target: Path, *, licence: str) -> list[Path]:
    """Write the files.

    Args:
        run: folder of the run.
        calibration: the file.
        target: where the safetensors file goes; the others lie beside it.
        licence: of the weights.

    Returns:
        The files written.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        files = _written(run, calibration, Path(folder) / target.name, licence=licence)
        return [file.replace(target.with_name(file.name)) for file in files]


def _written(run: Path, calibration: Path, target: Path, *, licence: str) -> list[Path]:
    tensors, description = read_weights(run / "weights.safetensors")
    # Kernels that bfloat16 holds exactly: one difference less between the two arithmetics, and no
    # loss, for the training in bfloat16 rounded them as well.
    tensors = {
        name: tensor.bfloat16().float() if tensor.ndim > 1 else tensor
        for name, tensor in tensors.items()
    }
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    graphs = export_graphs(network.eval(), target)
    parts = ("encoder", "decoder")
    told = {
        **description.values,
        "licence": licence,
        "graphs": {
            part: hashlib.sha256(path.read_bytes()).hexdigest()
            for part, path in zip(parts, graphs, strict=True)
        },
        "calibration": json.loads(calibration.read_text("utf-8")),
    }
    save_weights(target, tensors, told)
    load_flow(target)  # What does not load is not shipped.
    card = target.with_suffix(".md")
    card.write_text(model_card(read_description(target), target), "utf-8")
    return [target, target.with_suffix(".json"), card, *graphs]


def model_card(description: Description, weights: Path) -> str:
    """What a user has to know about the weights, in Markdown."""
    values = description.values
    calibration = values["calibration"]
    collections = [f"| {c.collection} | {c.licence} | {c.scans} |" for c in description.collections]
    return "\n".join(
        [
            f"# {description.name}",
            "",
            "Two motions are estimated across a gap; the four slices around it are moved along "
            "them, and a convolutional network weighs moved and unmoved slices voxel by voxel, "
            "adds what is left, and estimates its own error. In noisy scans whose slices overlap, "
            "`hrinet interpolate` mixes the result with `cubic`.",
            "",
            "| | |",
            "|---|---|",
            f"| parameters | {count_parameters(weights)} |",
            f"| stored as | {description.precision} |",
            f"| training steps | {description.steps} of {values['config']['batch']} crops |",
            f"| trained on | {description.scans} scans of {description.patients} patients |",
            f"| errors calibrated on | {', '.join(calibration['series'])}, gaps up to "
            f"{calibration['largest_gap_mm']:g} mm |",
            f"| SHA-256 | `{description.sha256}` |",
            f"| licence | {description.licence} |",
            *(["", f"History: {values['history']}"] if "history" in values else []),
            "",
            "## Training data",
            "",
            "| collection | licence | scans |",
            "|---|---|--:|",
            *collections,
            "",
            "## Figures",
            "",
            *_figures(),
            "",
            "## Intended use",
            "",
            "Making slices between those of a CT scan for research, display, planning and "
            "printing, with the estimated error at hand.",
            "",
            "## Limits",
            "",
            "* Synthetic slices carry less noise than measured ones. Where the noise matters "
            "(texture analysis, dose), use measured slices alone.",
            "* What lies wholly between two slices cannot be seen and is not invented; small "
            "structures that only one slice shows fade rather than move.",
            "* Adult chest, abdomen and pelvis with and without contrast were trained on. Heads, "
            "children, limbs and other modalities were not.",
            "* The estimated errors were calibrated on few patients; on scans unlike them the "
            "intervals may be too narrow or too wide.",
            "",
            "Not a medical device; not for diagnosis.",
            "",
        ]
    )


def _figures() -> list[str]:
    """How good it was on scans that it never saw, by scan, gap and tissue."""
    quality = json.loads((RESULTS / "quality.json").read_text("utf-8"))
    trust = json.loads((RESULTS / "trust.json").read_text("utf-8"))
    tissues = list(next(iter(trust.values()))["tissues"])
    head = ["scan, gap", "PSNR over cubic, dB", "SSIM over cubic", "error found, HU"]
    head += ["expected, HU", "interval holds, %", *tissues]
    rows = []
    for scan, by_gap in quality.items():
        for gap, methods in by_gap.items():
            ours, cubic = methods["hrinet-flow"], methods["cubic"]
            told = trust[f"{scan} {gap.split()[0]}"]
            by_tissue = [(told["tissues"][name] or {}).get("covered") for name in tissues]
            shares = [told["covered"], *by_tissue]
            rows.append(
                [
                    f"{Path(scan).name} {gap}",
                    f"{ours[0] - cubic[0]:+.2f}",
                    f"{ours[3] - cubic[3]:+.4f}",
                    f"{told['found']:.1f}",
                    f"{told['expected']:.1f}",
                    *("" if share is None else f"{100 * share:.0f}" for share in shares),
                ]
            )
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return [
        "Every second to sixth slice kept, the others hidden and synthesized; lidc_0002 chose and "
        "calibrated, the other scans were only measured. PSNR on [-1000, 1000] HU; error: mean "
        "absolute, over the whole slice; then how often the 90 % interval held the truth, over all "
        "and by tissue. From `benchmarks/quality.py` and `benchmarks/trust.py`.",
        "",
        *("| " + " | ".join(line) + " |" for line in lines),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION_JSON")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights")
    parser.add_argument(
        "--output", type=Path, default=packaged_weights("hrinet-flow"), metavar="FILE.safetensors"
    )
    arguments = parser.parse_args()
    target = arguments.output
    for path in ship(arguments.run, arguments.calibration, target, licence=arguments.licence):
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")


if __name__ == "__main__":
    main()
