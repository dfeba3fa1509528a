"""D2, the Markovian discriminator that judges patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hrinet.errors import RequestError
from hrinet.networks.blocks import NEGATIVE_SLOPE, initialise
from hrinet.networks.options import Norm, ReceptiveField, check_network_options

_HALVINGS = {16: 1, 70: 3, 142: 4}


@dataclass(frozen=True, slots=True)
class ConvolutionShape:
    """Geometry of one square convolution, pixels."""

    kernel: int
    stride: int
    padding: int

    def output_side(self, side: int) -> int:
        """Side of the map after this convolution."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def receptive_field_of(layers: Sequence[ConvolutionShape]) -> int:
    """Side of the patch that one prediction sees, pixels, by equation 3-2.

    ``l <- (l - 1) * stride + kernel``, from one prediction back through the layers to the image.
    """
    side = 1
    for layer in reversed(layers):
        side = (side - 1) * layer.stride + layer.kernel
    return side


def patchgan_layers(receptive_field: ReceptiveField, size: int = 256) -> list[ConvolutionShape]:
    """The convolutions of a receptive field (thesis 3.3.2.3).

    16, 70 and 142 are those of Isola et al. (2017), 4x4 throughout: one, three or four of stride
    2, then two of stride 1. 1 (PixelGAN) has three 1x1 convolutions. "full" (ImageGAN) halves
    until 4 to 7 pixels are left, which the last convolution takes as a whole: one prediction an
    image that sees all of it, where the usual 286 x 286 stack gives 6 x 6 at 256, of which those
    at the corners see a part.

    Args:
        receptive_field: which.
        size: side of the images, pixels; of use for "full" only.

    Raises:
        RequestError: there is no such receptive field.
    """
    if receptive_field == 1:
        return [ConvolutionShape(1, 1, 0)] * 3
    halve = ConvolutionShape(4, 2, 1)
    if receptive_field == "full":
        layers = []
        side = size
        while side >= 8:
            side = halve.output_side(side)
            layers.append(halve)
        return [*layers, ConvolutionShape(side, 1, 0)]
    if receptive_field not in _HALVINGS:
        raise RequestError(
            f"There is no receptive field {receptive_field!r}; choose 1, 16, 70, 142 or 'full'."
        )
    return [halve] * _HALVINGS[receptive_field] + [ConvolutionShape(4, 1, 1)] * 2


class PatchGAN(nn.Module):
    """D2 (thesis 3.1.3): a map of predictions, each for one patch of the image.

    Channels double from layer to layer up to 8 * ``width``; leaky ReLU between; the last layer is
    linear. At the default receptive field 70 x 70 an image of 256 x 256 gives 30 x 30 predictions.
    An instance or layer norm lets each prediction depend on the whole image through its
    statistics; only "none" keeps the receptive field exact, so it is the default.

    Input: shape (batch, channel, row, column), intensities around [0, 1].
    Output: shape (batch, 1, row', column'), unbounded: a Wasserstein score, or a logit in the log
    form. The losses average it (equation 3-3).

    Parameters, gray, width 64: 8 577 (1), 134 337 (16), 2 762 689 (70), 6 957 505 (142),
    11 152 321 (full, 256). An image of 256 x 256 takes 0.5e9, 2.2e9, 3.1e9, 2.6e9 and 2.0e9
    multiply-adds, one of 512 x 512 four times as many; at width 32 a quarter of both.

    Attributes:
        layers: geometry of the convolutions, image first.
    """

    def __init__(
        self,
        *,
        receptive_field: ReceptiveField = 70,
        size: int = 256,
        in_channels: int = 1,
        width: int = 64,
        norm: Norm = "none",
        rng: torch.Generator | None = None,
    ) -> None:
        """Build with random weights.

        Args:
            receptive_field: side of the patch, pixels, or "full".
            size: side of the training images, pixels; of use for "full" only.
            in_channels: 1 (gray) or 3 (RGB).
            width: channels of the first layer; 64 is that of Isola et al. (2017).
            norm: after every convolution but the first and the last. "layer" is over channels and
                pixels of a sample, with a scale and shift a channel, so that any size fits.
            rng: source of the weights; torch's global one if None.

        Raises:
            RequestError: an option is out of range.
        """
        super().__init__()
        check_network_options(in_channels=in_channels, size=size, width=width)
        self.layers = patchgan_layers(receptive_field, size)
        last = len(self.layers) - 1
        modules: list[nn.Module] = []
        before = in_channels
        for index, layer in enumerate(self.layers):
            after = 1 if index == last else width * min(2**index, 8)
            modules.append(nn.Conv2d(before, after, layer.kernel, layer.stride, layer.padding))
            if index < last:
                if index and norm != "none":
                    modules.append(_norm(norm, after))
                modules.append(nn.LeakyReLU(NEGATIVE_SLOPE))
            before = after
        self.stack = nn.Sequential(*modules)
        initialise(self, rng)

    def forward(self, x: Tensor) -> Tensor:
        """Judge every patch.

        Args:
            x: shape (batch, channel, row, column).

        Returns:
            Shape (batch, 1, row', column').

        Raises:
            RequestError: the image is too small for a single prediction.
        """
        side = min(x.shape[-2:])
        for layer in self.layers:
            side = layer.output_side(side)
            if side < 1:
                raise RequestError(
                    f"The image is {x.shape[-2]} x {x.shape[-1]} pixels, too small for a "
                    f"prediction that sees {receptive_field_of(self.layers)} pixels a side."
                )
        prediction: Tensor = self.stack(x)
        return prediction


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    raise RequestError(f"There is no norm {norm!r} for D2; choose 'none', 'instance' or 'layer'.")
