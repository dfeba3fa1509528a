"""The feature maps on their way through the generator (thesis, Fig. 3-8 and Table 3-3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrinet.explore.sheet import Sheet, gray_of_hu, normalised
from hrinet.networks.generator import Generator
from hrinet.networks.padding import pad_to_multiple
from hrinet.report.drawing import Pixels
from hrinet.train import UnitArray, Window, to_hu

SHOWN_CHANNELS = (2, 4, 8)
"""Of Table 3-3, counted from 1."""

_LATENT_COLUMNS = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureMap:
    """What leaves one block of the generator for one image.

    Attributes:
        name: ``EN1``..``EN7`` for the blocks of the encoder, ``mixed EN5``.. for what crosses to
            the decoder, ``DE7``..``DE1`` for the blocks of the decoder.
        values: after activation (``DE1`` is the image and has none), shape (channel, row, column).
    """

    name: str
    values: NDArray[np.float32]


@torch.no_grad()
def feature_maps(generator: Generator, image: UnitArray) -> tuple[FeatureMap, ...]:
    """All maps of one image, in the order in which they arise.

    Args:
        generator: trained, for gray images.
        image: shape (row, column), [0, 1]; padded to what the generator needs, so that the maps
            are those of the padded image.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, block: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            found[name] = output

        return block.register_forward_hook(hook)

    encoder = list(generator.encoder.blocks)
    depth = len(encoder)
    handles = [keep(f"EN{k}", block) for k, block in enumerate(encoder, 1)]
    handles += [
        keep(f"DE{depth - k}", block) for k, block in enumerate(list(generator.decoder.blocks))
    ]
    try:
        x = pad_to_multiple(torch.from_numpy(image)[None, None], generator.multiple)
        maps = generator.encode(x)
        generator.decode(maps)
    finally:
        for handle in handles:
            handle.remove()
    first = depth - len(maps) + 1
    mixed = {f"mixed EN{first + k}": values for k, values in enumerate(maps)}
    names = [*(f"EN{k}" for k in range(1, depth + 1)), *mixed]
    names += [f"DE{k}" for k in range(depth, 0, -1)]
    found.update(mixed)
    return tuple(
        FeatureMap(name=name, values=np.asarray(found[name][0].numpy(), np.float32))
        for name in names
    )


def size_table(maps: Iterable[FeatureMap]) -> str:
    """The sizes as a Markdown table."""
    lines = ["| map | size (W x H) | channels |", "|---|--:|--:|"]
    for one in maps:
        channels, rows, columns = one.values.shape
        lines.append(f"| {one.name} | {columns} x {rows} | {channels} |")
    return "\n".join(lines)


def draw_features(maps: Iterable[FeatureMap], *, subtitle: str) -> Sheet:
    """Three channels of every block, encoder beside decoder, one size a row (Table 3-3)."""
    by_name = {one.name: one.values for one in maps}
    depth = sum(name.startswith("EN") for name in by_name)
    rows, labels = [], []
    for level in range(1, depth + 1):
        pair = by_name[f"EN{level}"], by_name[f"DE{level}"]
        # DE1 has none of the channels that are shown, only the image.
        image = normalised(pair[1][0]) if len(pair[1]) == 1 else None
        rows.append([*(tile for values in pair for tile in _channels(values)), image])
        size = f"{pair[0].shape[2]} x {pair[0].shape[1]}"
        channels = f"{pair[0].shape[0]} and {pair[1].shape[0]} channels"
        labels.append((f"EN{level}, DE{level}", size, channels))
    heads = [f"{side} channel {c}" for side in ("EN", "DE") for c in SHOWN_CHANNELS]
    heads.append("DE1, the image")
    return Sheet(
        title="Feature maps of the encoder (left) and the decoder (right)",
        subtitle=subtitle,
        rows=rows,
        row_labels=labels,
        column_labels=heads,
        side=144,
        breaks=(len(SHOWN_CHANNELS), 2 * len(SHOWN_CHANNELS)),
        note="After activation, each map from its lowest to its highest value; DE1 has none.",
    )


def draw_latent(
    maps: Iterable[FeatureMap], image: UnitArray, *, window: Window, subtitle: str
) -> Sheet:
    """Every channel of the maps that are mixed, beside the image (Fig. 3-8)."""
    rows: list[list[Pixels | None]] = []
    labels: list[tuple[str, ...]] = []
    for one in maps:
        if not one.name.startswith("mixed"):
            continue
        channels, height, width = one.values.shape
        for start in range(0, channels, _LATENT_COLUMNS):
            end = min(start + _LATENT_COLUMNS, channels)
            tiles = [normalised(values) for values in one.values[start:end]]
            rows.append([None, *tiles])
            span = f"channels {start + 1} to {end}"
            labels.append((one.name.removeprefix("mixed "), f"{width} x {height}", span))
    rows[0][0] = gray_of_hu(to_hu(image, window))
    return Sheet(
        title="The feature maps that are mixed, before mixing",
        subtitle=subtitle,
        rows=rows,
        row_labels=labels,
        column_labels=("image",),
        framed={(0, 0)},
        breaks=(1,),
        note="After activation, each map from its lowest to its highest value.",
    )


def _channels(values: NDArray[np.float32]) -> list[Pixels | None]:
    """The shown channels; None where there are fewer."""
    return [normalised(values[c - 1]) if c <= len(values) else None for c in SHOWN_CHANNELS]
