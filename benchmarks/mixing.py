"""What hrinet-flow gains by being mixed with the cubic, with flow, and with its other views."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from common import ct, machine, publish, table
from quality import thinned

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.flow import Flow
from hrinet.synthesize.flow_engine import NetworkRun
from hrinet.synthesize.flow_openvino import OpenVinoEngine
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.overlap import cubic_share, with_cubic
from hrinet.synthesize.scene import VIEWS, scene_of
from hrinet.synthesize.slice_trust import roughness
from hrinet.types import SliceArray
from hrinet.volume import Volume
from hrinet.weights import packaged_weights
from hrinet.weights.flow import load_flow

SERIES = (
    "validation/lidc_0002",
    "cases/cptac_C3L-00189",
    "cases/rider_0109",
    "cases/totalseg_example20",
    "test/lidc_0001",
    "test/aapm_L291",
)
"""The first chose the constants; none was trained on."""

THICK = (
    "validation/lidc_0002",
    "cases/cptac_C3L-00189",
    "cases/totalseg_example20",
    "train/readii_R01-001",
    "train/mirp_LIDC-0314",
    "train/ohif_NLST",
    "train/rider_0117",
    "train/cmb-crc_01068",
    "test/lidc_0001",
    "test/aapm_L291",
)
"""Those before the test patients chose the constants of the cubic; "train" were trained on."""

SLABS = ((2, 2), (3, 2), (3, 3))
"""Slices averaged, and one slab in how many kept: gaps as wide as the slices, or narrower."""

FACTORS = (2, 3, 4, 6)
GAPS = 6
_WINDOW = (-1000.0, 1000.0)

FLOW_SHARES = (0.1, 0.2)


def cubic_mixed(network: SliceArray, cubic: SliceArray, gap: Gap) -> SliceArray:
    rough = sum(map(roughness, gap.slices[gap.left : gap.left + 2])) / 2
    share = cubic_share(gap, roughness_hu=rough)
    return with_cubic(network, cubic, share=share, roughness_hu=rough)


def mixtures(
    views: SliceArray, flow: SliceArray, cubic: SliceArray, gap: Gap
) -> Iterator[tuple[str, SliceArray]]:
    """Name and slice of every mixture; views: (view, row, column), the plain one first."""
    for label, network in (("", views[0]), ("8 views, ", views.mean(0))):
        if label:
            yield "8 views", network
        for share in FLOW_SHARES:
            yield f"{label}flow {share:g}", network + np.float32(share) * (flow - network)
        quality = "best" if label else "standard"
        yield f"{label}cubic ({quality})", cubic_mixed(network, cubic, gap)


def gaps_of(volume: Volume, factor: int) -> Iterator[tuple[Gap, list[float], list[SliceArray]]]:
    """Gaps of the thinned volume, up to two positions in each, and what was measured there."""
    thin, _ = thinned(volume, factor)
    positions = thin.geometry.positions_mm
    steps = sorted({1, (factor + 1) // 2})
    steps = [step for step in steps if step < factor]
    for left in np.unique(np.linspace(1, len(thin) - 3, GAPS).round().astype(int)):
        around = range(left - 1, left + 3)
        gap = Gap(
            slices=tuple(thin.array[index].astype(np.float32) for index in around),
            positions_mm=tuple(float(positions[index]) for index in around),
            left=1,
            pixel_spacing_mm=thin.geometry.pixel_spacing,
            slice_thickness_mm=thin.geometry.slice_thickness,
        )
        truths = [volume.array[left * factor + step] for step in steps]
        yield gap, [step / factor for step in steps], truths


def scores(made: SliceArray, truth: SliceArray) -> tuple[float, float]:
    pair = [np.clip(values.astype(np.float64), *_WINDOW) for values in (made, truth)]
    return psnr(*pair, data_range=2000.0), ssim(*pair, data_range=2000.0)


def row(
    run: NetworkRun, name: str, volume: Volume, factor: int, *, averaged: int = 1
) -> dict[str, str]:
    volume = thickened(volume, averaged)
    found: dict[str, list[tuple[float, float]]] = {}
    for gap, t, truths in gaps_of(volume, factor):
        scene = scene_of(gap, knows_thickness=True)
        seen = [
            [values.copy() for values, _ in run.iterate(scene, t, "f32", view=view)]
            for view in VIEWS
        ]
        others = zip(Flow().synthesize(gap, t), Cubic().synthesize(gap, t), strict=True)
        for views, (flow, cubic), truth in zip(
            np.swapaxes(seen, 0, 1), others, truths, strict=True
        ):
            found.setdefault("alone", []).append(scores(views[0], truth))
            for label, made in mixtures(views, flow, cubic, gap):
                found.setdefault(label, []).append(scores(made, truth))
    means = {label: np.mean(values, axis=0) for label, values in found.items()}
    alone = means.pop("alone")
    gap_mm = factor * volume.geometry.spacing_mm
    thick = volume.geometry.slice_thickness
    simulated = "" if averaged == 1 else f", simulated {thick:.3g} mm thick"
    return {
        "series, factor (gap)": f"{name} x{factor} ({gap_mm:.3g} mm{simulated})",
        "network alone: PSNR, SSIM": f"{alone[0]:.2f}, {alone[1]:.4f}",
    } | {label: "{:+.3f}, {:+.4f}".format(*(mean - alone)) for label, mean in means.items()}


def main() -> None:
    cv2.setNumThreads(1)
    engine = OpenVinoEngine(load_flow(packaged_weights("hrinet-flow")))
    run = engine.ready(gaps=1, threads=default_threads())
    rows = []
    for name in SERIES:
        volume = hrinet.read(ct(name))
        for factor in FACTORS:
            if len(volume) // factor > 4:
                rows.append(row(run, name, volume, factor))
                print(rows[-1], flush=True)
    for name in THICK:
        volume = hrinet.read(ct(name))
        for averaged, factor in SLABS:
            if (len(volume) - averaged) // factor > 4:
                rows.append(row(run, name, volume, factor, averaged=averaged))
                print(rows[-1], flush=True)
    publish(
        "mixing",
        "\n".join(
            [
                "# What hrinet-flow gains by being mixed",
                "",
                f"Machine: {machine()}. Command: `python benchmarks/mixing.py`.",
                "",
                f"Up to {GAPS} gaps of each series, one or two hidden slices in each; whole "
                "slices, [-1000, 1000] HU. PSNR (dB) and SSIM of the network alone, and what is "
                "added by mixing in: flow by a fixed share; the cubic where slices overlap in a "
                "noisy scan, which is the standard quality; the mean of eight views, alone and "
                "with each of the two, the last of which is the best quality. Metal and padding "
                "are left to the network here. Scans as they are taken have gaps as wide as their "
                "slices are thick, or narrower, which hiding slices never leaves: the last rows "
                "simulate them, as means of neighbouring slices. Those of all but the test "
                "patients chose the constants of the cubic. The network was trained on train/ "
                "alone.",
                "",
                table(tuple(rows[0]), [list(one.values()) for one in rows]),
            ]
        ),
    )


if __name__ == "__main__":
    main()
