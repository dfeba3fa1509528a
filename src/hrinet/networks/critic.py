"""D1, the critic that predicts the interpolation coefficient from an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrinet.networks.blocks import initialise
from hrinet.networks.encoder import Encoder
from hrinet.networks.options import Mixing, check_network_options, depth_of, mixed_channels


class Critic(nn.Module):
    """D1 (thesis 3.1.1, 3.2.1): the shape of the encoder, averaged to one number a sample.

    The design is ACAI's (Berthelot et al., 2018, arXiv 1807.07543): the encoder down to its
    deepest bottleneck, whose last convolution stays linear, and the mean over channels and pixels.
    It has five or seven blocks as the generator has, and weights of its own.

    Input: shape (batch, channel, row, column), intensities around [0, 1].
    Output: shape (batch,), unbounded; trained towards [0, 0.5] (folded) or [0, 1].

    Parameters, gray, width 16: 1 179 768 with three sizes (1 179 252 for 512), 590 464 with one.
    An image takes 0.9e9 multiply-adds at 256 x 256 and 3.8e9 at 512 x 512.
    """

    def __init__(
        self,
        *,
        mixing: Mixing = "three",
        size: int = 256,
        in_channels: int = 1,
        width: int = 16,
        rng: torch.Generator | None = None,
    ) -> None:
        """Build with random weights; the arguments are those of the generator.

        Raises:
            RequestError: an option is out of range.
        """
        super().__init__()
        check_network_options(in_channels=in_channels, size=size, width=width)
        self.encoder = Encoder(in_channels=in_channels, width=width, depth=depth_of(mixing))
        channels = mixed_channels(mixing, size)[-1]
        self.bottleneck = nn.Conv2d(self.encoder.widths[-1], channels, 1)
        initialise(self, rng)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the coefficient of each image.

        Args:
            x: shape (batch, channel, row, column); sides of 64 pixels or more (16 with one size).

        Returns:
            Shape (batch,).

        Raises:
            RequestError: the image is too small.
        """
        deepest = self.encoder(x)[-1]  # (batch, 8 * width, row/64, column/64)
        prediction: Tensor = self.bottleneck(deepest)  # (batch, 8 or 4, row/64, column/64)
        return prediction.mean(dim=(1, 2, 3))  # (batch,)
