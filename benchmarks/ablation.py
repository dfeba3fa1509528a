"""What each part of hrinet-flow is worth: the shipped network with one part after another off.

Nothing is trained again, so a part's worth is the most that it can be: the others were never
asked to make up for it. Run: python benchmarks/ablation.py
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from common import ct, machine, publish, table
from torch import Tensor, nn

import hrinet
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.networks.flow_net import FlowNet, FlowNetConfig, Gaps
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.scene import PLAIN, VIEWS, Scene, View, scene_of
from hrinet.volume import Volume
from hrinet.weights import packaged_weights
from hrinet.weights.files import read_weights

SERIES = "validation/lidc_0002"
FACTORS = (2, 4)
GAPS = 6
"""Of the scan, spread over its length."""

UNMOVED, RESIDUAL = slice(0, 4), 8
_WINDOW = (-1000.0, 1000.0)


@dataclass(frozen=True)
class Variant:
    """The network with something off.

    Attributes:
        name: what is off.
        change: what is done to the network.
        blind: what is done to what it sees of a gap, and to the weights of the cubic in it.
        views: how the gap is looked at.
    """

    name: str
    change: Callable[[FlowNet], None] = lambda network: None
    blind: Callable[[Gaps, Tensor, float], tuple[Gaps, Tensor]] = lambda gaps, weights, _: (
        gaps,
        weights,
    )
    views: Sequence[View] = (PLAIN,)


def no_motion(network: FlowNet) -> None:
    nn.init.zeros_(network.decoder.motion_out.weight)
    nn.init.zeros_(network.decoder.motion_out.bias)


def no_residual(network: FlowNet) -> None:
    out = network.decoder.out  # channels in groups of four pixels
    with torch.no_grad():
        out.weight[4 * RESIDUAL :] = 0
        out.bias[4 * RESIDUAL :] = 0


def no_unmoved(network: FlowNet) -> None:
    """The unmoved slices get no more weight than the cubic gives them."""
    out = network.decoder.out
    with torch.no_grad():
        # The mean over all taps is taken from each; theirs is then that of the moved ones, twice.
        for values in (out.weight, out.bias):
            moved = values[16:32].reshape(4, 4, *values.shape[1:])
            values[:16] = moved.mean(0).repeat(4, *[1] * (values.dim() - 1))


def no_taps(network: FlowNet) -> None:
    with torch.no_grad():
        network.decoder.out.weight[: 4 * RESIDUAL] = 0
        network.decoder.out.bias[: 4 * RESIDUAL] = 0


def no_coarse(network: FlowNet) -> None:
    """Texture sees nothing of what spans many pixels."""
    nn.init.zeros_(network.encoder.to_texture.weight)


def no_fine(network: FlowNet) -> None:
    nn.init.zeros_(network.encoder.texture_in.weight)


def no_thickness(gaps: Gaps, weights: Tensor, t: float) -> tuple[Gaps, Tensor]:
    return gaps._replace(thickness=torch.zeros_like(gaps.thickness)), weights


def two_slices(gaps: Gaps, weights: Tensor, t: float) -> tuple[Gaps, Tensor]:
    """As where a scan has two slices alone: linear is then the cubic."""
    slices = gaps.slices[:, [1, 1, 2, 2]].contiguous()
    offsets = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])
    return Gaps(slices, offsets, gaps.thickness), torch.tensor([[0.0, 1 - t, t, 0.0]])


VARIANTS = (
    Variant("the shipped network"),
    Variant("no motion", no_motion),
    Variant("unmoved slices only as the cubic has them", no_unmoved),
    Variant("no weights of slices, only the residual", no_taps),
    Variant("no residual", no_residual),
    Variant("texture without coarse features", no_coarse),
    Variant("no texture at 1/2 resolution", no_fine),
    Variant("slice thickness unknown", blind=no_thickness),
    Variant("two slices instead of four", blind=two_slices),
    Variant("seen from both ends (2 views)", views=(PLAIN, View(from_above=True))),
    Variant("seen in all 8 ways", views=VIEWS),
)


def synthesized(network: FlowNet, variant: Variant, scene: Scene, t: float) -> np.ndarray:
    """One slice, the mean over the views."""
    total = None
    for view in variant.views:
        seen = scene.seen(view)
        position = view.position(t)
        gaps = Gaps(*(torch.from_numpy(a) for a in (seen.slices, seen.offsets, seen.thickness)))
        gaps, weights = variant.blind(gaps, torch.from_numpy(seen.weights(position)), position)
        with torch.inference_mode():
            found = network(gaps, torch.tensor([position]), weights).values[0, 0].numpy()
        rows, columns = scene.outside.shape
        values = view.mirrored(found)[:rows, :columns]
        total = values if total is None else total + values
    return total / len(variant.views)


def hidden_gaps(volume: Volume, factor: int) -> list[tuple[Scene, float, np.ndarray]]:
    """Scenes, positions and the true slices there, spread over the scan."""
    positions = volume.geometry.positions_mm
    starts = np.linspace(factor, len(volume) - 2 * factor - 1, GAPS).astype(int)
    found = []
    for number, start in enumerate(starts):
        shown = [start + factor * step for step in (-1, 0, 1, 2)]
        gap = Gap(
            slices=tuple(volume.array[index] for index in shown),
            positions_mm=tuple(float(positions[index]) for index in shown),
            left=1,
            slice_thickness_mm=volume.geometry.slice_thickness,
            pixel_spacing_mm=volume.geometry.pixel_spacing,
        )
        inner = 1 + number % (factor - 1)
        found.append(
            (scene_of(gap, knows_thickness=True), inner / factor, volume.array[start + inner])
        )
    return found


def beside_the_first(found: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Rows of a table: PSNR and SSIM by turns, and their differences from the first row's."""
    whole = next(iter(found.values()))
    digits = (2, 4) * (len(whole) // 2)
    return [
        [
            name,
            *(
                f"{value:.{n}f} ({value - full:+.{n}f})"
                for value, full, n in zip(values, whole, digits, strict=True)
            ),
        ]
        for name, values in found.items()
    ]


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(default_threads())
    tensors, description = read_weights(packaged_weights("hrinet-flow"))
    shipped = FlowNet(FlowNetConfig(**description.model))
    shipped.load_state_dict(tensors)
    shipped.eval().requires_grad_(False)
    volume = hrinet.read(ct(SERIES))
    scores: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for factor in FACTORS:
        hidden = hidden_gaps(volume, factor)
        for variant in VARIANTS:
            network = copy.deepcopy(shipped)
            variant.change(network)
            pairs = [
                (
                    np.clip(synthesized(network, variant, scene, t), *_WINDOW),
                    np.clip(true, *_WINDOW),
                )
                for scene, t, true in hidden
            ]
            scores[variant.name] += [
                float(np.mean([psnr(a, b, data_range=2000) for a, b in pairs])),
                float(np.mean([ssim(a, b, data_range=2000) for a, b in pairs])),
            ]
    head = ["hrinet-flow", *(f"{what}, x{f}" for f in FACTORS for what in ("PSNR, dB", "SSIM"))]
    parts = [
        "# What the parts of hrinet-flow are worth",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/ablation.py`.",
        "",
        f"The shipped network with one part off at a time, on {SERIES} ({GAPS} hidden slices a "
        "factor, spread over the scan; whole slices, PSNR and SSIM on [-1000, 1000] HU; in "
        "brackets the difference from the whole network). Nothing was trained again: the other "
        "parts never learnt to make up for what is off, so that the table says what the network "
        "relies on, which is more than what a part would be missed in a training without it.",
        "",
        table(head, beside_the_first(scores)),
    ]
    publish("ablation", "\n".join(parts))


if __name__ == "__main__":
    main()
