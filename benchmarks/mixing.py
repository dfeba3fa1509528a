"""What second opinions gain hrinet-flow: the cubic, and flow by fixed shares or by distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

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
from hrinet.synthesize.scene import scene_of
from hrinet.synthesize.second_opinion import cubic_share, flow_share, with_cubic, with_flow
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

Mix: TypeAlias = Callable[[SliceArray, SliceArray, SliceArray, Gap], SliceArray]


def fixed(share: float) -> Mix:
    return lambda network, flow, cubic, gap: network + np.float32(share) * (flow - network)


def by_distance(network: SliceArray, flow: SliceArray, cubic: SliceArray, gap: Gap) -> SliceArray:
    return with_flow(network, flow, share=flow_share(gap))


def standard(network: SliceArray, flow: SliceArray, cubic: SliceArray, gap: Gap) -> SliceArray:
    rough = sum(map(roughness, gap.slices[gap.left : gap.left + 2])) / 2
    share = cubic_share(gap, roughness_hu=rough)
    return with_cubic(network, cubic, share=share, roughness_hu=rough)


def both(network: SliceArray, flow: SliceArray, cubic: SliceArray, gap: Gap) -> SliceArray:
    return standard(by_distance(network, flow, cubic, gap), flow, cubic, gap)


MIXES: dict[str, Mix] = {
    "cubic (standard)": standard,
    "flow 0.1": fixed(0.1),
    "flow 0.2": fixed(0.2),
    "flow 0.3": fixed(0.3),
    "flow by distance": by_distance,
    "both": both,
}


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


def row(run: NetworkRun, name: str, volume: Volume, factor: int, *, averaged: int = 1) -> list[str]:
    volume = thickened(volume, averaged)
    found: dict[str, list[tuple[float, float]]] = {}
    for gap, t, truths in gaps_of(volume, factor):
        scene = scene_of(gap, knows_thickness=True)
        alone = [values for values, _ in run.run(scene, t, "f32")]
        others = zip(Flow().synthesize(gap, t), Cubic().synthesize(gap, t), strict=True)
        for network, (flow, cubic), truth in zip(alone, others, truths, strict=True):
            found.setdefault("alone", []).append(scores(network, truth))
            for label, mix in MIXES.items():
                made = mix(network, flow, cubic, gap)
                found.setdefault(label, []).append(scores(made, truth))
    means = {label: np.mean(values, axis=0) for label, values in found.items()}
    changes = [means[label] - means["alone"] for label in MIXES]
    gap_mm = factor * volume.geometry.spacing_mm
    thick = volume.geometry.slice_thickness
    simulated = "" if averaged == 1 else f", simulated {thick:.3g} mm thick"
    return [
        f"{name} x{factor} ({gap_mm:.3g} mm{simulated})",
        f"{means['alone'][0]:.2f}, {means['alone'][1]:.4f}",
        *(f"{change[0]:+.3f}, {change[1]:+.4f}" for change in changes),
    ]


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
    head = ("series, factor (gap)", "network alone: PSNR, SSIM", *MIXES)
    publish(
        "mixing",
        "\n".join(
            [
                "# What second opinions gain hrinet-flow",
                "",
                f"Machine: {machine()}. Command: `python benchmarks/mixing.py`.",
                "",
                f"Up to {GAPS} gaps of each series, one or two hidden slices in each; whole "
                "slices, [-1000, 1000] HU. PSNR (dB) and SSIM of the network alone, and what "
                "mixing adds: the cubic where slices overlap in a noisy scan, which is what ships; "
                "flow by a fixed share, and by its distance from the network; the cubic and flow "
                "by distance, as in --quality best. Scans as they are taken have gaps as wide as "
                "their slices are thick, or narrower, which hiding slices never leaves: the last "
                "rows simulate them, as means of neighbouring slices. validation/lidc_0002 chose "
                "the constants of flow, the simulated thick slices of all but the test patients "
                "those of the cubic. The network was trained on train/ alone.",
                "",
                table(head, rows),
            ]
        ),
    )


if __name__ == "__main__":
    main()
