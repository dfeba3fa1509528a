"""The encoder blocks EN1..EN7, shared by the generator, D1 and the loss network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hrinet.errors import RequestError
from hrinet.networks.blocks import block_widths, double_convolution

_UNMIXED = 4
"""EN1..EN4 are never mixed: maps larger than N/16 would interpolate in data space (3.1.2)."""


class Encoder(nn.Module):
    """EN1..EN5 or EN1..EN7: two 3x3 convolutions a block, 2x2 average pooling between blocks.

    Block k works at N / 2^(k-1), so that EN1..EN4 are at N, N/2, N/4, N/8 (thesis Table 3-3) and
    the blocks whose maps are mixed at N/16, N/32, N/64 (Table 3-2). EN4 ends with the 8th
    convolution, just before the 4th pooling. The kind of pooling is ACAI's.

    Input: shape (batch, channel, row, column), intensities in [0, 1].
    Output: the maps of EN5, EN6, EN7 after activation, unbounded.

    Attributes:
        blocks: EN1 first.
        widths: channels of every block.
        multiple: sides of the input that halve evenly are multiples of this, pixels.
    """

    def __init__(self, *, in_channels: int, width: int, depth: int) -> None:
        """Lay the blocks out.

        Args:
            in_channels: 1 (gray) or 3 (RGB).
            width: channels of EN1; see :func:`hrinet.networks.blocks.block_widths`.
            depth: number of blocks, 5 or 7.
        """
        super().__init__()
        self.widths = block_widths(width, depth)
        self.multiple: int = 2 ** (depth - 1)
        inputs = (in_channels, *self.widths[:-1])
        self.blocks = nn.ModuleList(
            double_convolution(before, after, after)
            for before, after in zip(inputs, self.widths, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of EN5 and deeper, largest first.

        Args:
            x: shape (batch, channel, row, column), [0, 1]; sides that do not halve evenly lose
                their last row or column at the pooling.

        Returns:
            Shapes (batch, widths[k], row / 2^k, column / 2^k) for k = 4, 5, ...

        Raises:
            RequestError: a side is shorter than ``multiple``, so that nothing would be left.
        """
        if min(x.shape[-2:]) < self.multiple:
            raise RequestError(
                f"The image is {x.shape[-2]} x {x.shape[-1]} pixels; {len(self.blocks)} encoder "
                f"blocks need at least {self.multiple} x {self.multiple}."
            )
        features = self.features_en4(x)  # (batch, widths[3], row/8, column/8)
        maps = []
        for block in list(self.blocks)[_UNMIXED:]:
            features = block(functional.avg_pool2d(features, 2))
            maps.append(features)  # (batch, widths[k], row/2^k, column/2^k)
        return tuple(maps)

    def features_en4(self, x: Tensor) -> Tensor:
        """The map at the end of EN4: what the perceptual loss compares (thesis 3.3.2.4).

        Args:
            x: shape (batch, channel, row, column), [0, 1].

        Returns:
            Shape (batch, widths[3], row/8, column/8), after activation.
        """
        features = x
        for index, block in enumerate(list(self.blocks)[:_UNMIXED]):
            if index:
                features = functional.avg_pool2d(features, 2)
            features = block(features)
        return features
