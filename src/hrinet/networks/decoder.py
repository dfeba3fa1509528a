"""The decoder blocks DE7..DE1, the mirror of the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrinet.networks.blocks import double_convolution


class Decoder(nn.Module):
    """DE7..DE1 or DE5..DE1: two 3x3 convolutions a block, nearest x2 upsampling between blocks.

    The deepest block takes the deepest mixed map. The others take the upsampled output of the
    block before; DE6 and DE5 concatenate their mixed map to it (thesis 3.1.2, equation 3-1).
    Nothing larger than N/16 reaches the decoder. DE1 ends in the image, without activation.

    Input: the mixed maps, largest first, each of shape (batch, channel, row, column).
    Output: shape (batch, out_channels, 16 * row, 16 * column) of the largest map, not clipped.

    Attributes:
        blocks: deepest first.
    """

    def __init__(
        self, *, out_channels: int, widths: tuple[int, ...], mixed_channels: tuple[int, ...]
    ) -> None:
        """Lay the blocks out.

        Args:
            out_channels: 1 (gray) or 3 (RGB).
            widths: channels of EN1, EN2, ...; as many blocks as these.
            mixed_channels: of the mixed maps, largest map first.
        """
        super().__init__()
        depth = len(widths)
        blocks = []
        for level in range(depth - 1, -1, -1):  # DE7 is level 6
            mixed_index = level - (depth - len(mixed_channels))
            inputs = mixed_channels[mixed_index] if mixed_index >= 0 else 0
            if level < depth - 1:
                inputs += widths[level]
            outputs = widths[level - 1] if level else out_channels
            blocks.append(double_convolution(inputs, widths[level], outputs, linear_end=level == 0))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The image of a set of mixed maps.

        Args:
            maps: largest first, as the encoder gives them; see the class for the shapes.

        Returns:
            The image, intensities around [0, 1], not clipped.
        """
        deepest_first = maps[::-1]
        image: Tensor = self.blocks[0](deepest_first[0])
        for index, block in enumerate(list(self.blocks)[1:], start=1):
            image = functional.interpolate(image, scale_factor=2.0, mode="nearest")
            if index < len(deepest_first):
                image = torch.cat([image, deepest_first[index]], dim=1)
            image = block(image)
        return image
