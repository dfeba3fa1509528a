"""The loss network: the first half of a trained encoder, frozen."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from hrinet.networks.generator import Generator


class LossNetwork(nn.Module):
    """A frozen copy of EN1..EN4 of a generator trained in stage 1 (thesis 3.2.3, 3.3.2.4).

    It shares nothing with the generator that it comes from, and its parameters want no gradient;
    gradients do pass through it to the image, or it could teach nothing. A trained encoder, not
    VGG, because its features are those of CT.

    Input: shape (batch, channel, row, column), intensities around [0, 1].
    Output: shape (batch, 8 * width, row/8, column/8), after activation, unbounded.
    """

    def __init__(self, generator: Generator) -> None:
        """Copy from ``generator`` as it is now."""
        super().__init__()
        self.encoder = copy.deepcopy(generator.encoder)
        # Only EN1..EN4 are used; the rest would be dead weight in memory and checkpoints.
        del self.encoder.blocks[4:]
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features after the 8th convolution, before the 4th pooling."""
        return self.encoder.features_en4(x)
