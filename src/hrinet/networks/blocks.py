"""What the encoder, the decoder and the critics are made of."""

from __future__ import annotations

import torch
from torch import nn

NEGATIVE_SLOPE = 0.2
"""Of every leaky ReLU, as in ACAI and PatchGAN; the thesis gives no value."""


def block_widths(width: int, blocks: int) -> tuple[int, ...]:
    """Channels of EN1, EN2, ...: doubling with every halving of the map, up to 8 * ``width``.

    The thesis gives channels for the mixed maps only. Doubling is ACAI's rule; the ceiling keeps
    the blocks that work on tiny maps from holding nearly all parameters.
    """
    return tuple(width * min(2**index, 8) for index in range(blocks))


def double_convolution(
    in_channels: int, middle_channels: int, out_channels: int, *, linear_end: bool = False
) -> nn.Sequential:
    """Two 3x3 convolutions of the same size of map, each with a leaky ReLU.

    No batch normalisation: it brings artifacts under adversarial training (thesis 3.1.2).

    Args:
        in_channels: of the input.
        middle_channels: after the first convolution.
        out_channels: after the second.
        linear_end: leave the last activation out, as where the block ends in an image.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, middle_channels, 3, padding=1),
        nn.LeakyReLU(NEGATIVE_SLOPE),
        nn.Conv2d(middle_channels, out_channels, 3, padding=1),
    ]
    if not linear_end:
        layers.append(nn.LeakyReLU(NEGATIVE_SLOPE))
    return nn.Sequential(*layers)


def initialise(network: nn.Module, rng: torch.Generator | None = None) -> None:
    """Draw He-normal weights for leaky ReLU (He et al., 2015), and zero biases, in place.

    Without normalisation the depth lives on this: each layer keeps the variance of its input.

    Args:
        network: any module; its convolutions are drawn in the order of ``network.modules()``.
        rng: source of the randomness, on the same device; torch's global one if None.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
